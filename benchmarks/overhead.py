"""Gradients per second of our sampling loop against the bare passes of the same model.

The bare loop does what no estimator can do without: forward pass, margin, backward pass to the
input, over one fixed batch, parameters frozen. Both run in one process, in turn, at the same batch
and memory format; each round gives its ratios, and their medians are the figures: of our loop under
the same malloc as the bare one, and as `clever_score` runs it, with `clever_ext.memory.held`.

    python benchmarks/overhead.py --out benchmarks/results/overhead-cpu.json
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import clever_ext as cx
from clever_ext import memory
from clever_ext.gradients import TorchOracle, frozen
from clever_ext.maxima import Sampling, sample_maxima


@dataclass(frozen=True)
class Case:
    """A model, the shape of its input, the device batch and the steps of one round."""

    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    steps: int


def lite0() -> nn.Module:
    """EfficientNet-Lite0 with its published weights."""
    from clever_ext.models import load_model

    return load_model("efficientnet-lite0").model


def lenet() -> nn.Module:
    """A convolutional network of the usual size for MNIST; weights do not matter for speed."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 200), nn.ReLU(), nn.Linear(200, 10),
    ).eval()  # fmt: skip


def tiny() -> nn.Module:
    """Four linear layers."""
    sizes = [64, 64, 64, 64, 10]
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))).eval()


CASES = {
    "efficientnet-lite0": Case(lite0, (3, 224, 224), batch=8, steps=4),
    "lenet": Case(lenet, (1, 28, 28), batch=128, steps=12),
    "tiny": Case(tiny, (64,), batch=512, steps=200),
}


def bare(model: nn.Module, x: Tensor, steps: int) -> None:
    """Forward, margin and backward, over and over."""
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)


def ours(model: nn.Module, x: Tensor, steps: int, p: float) -> None:
    """Sample, differentiate and reduce as many points."""
    samples = len(x) * steps
    sampling = Sampling(p, 0.5, 1, samples, 0, (0.0, 1.0), len(x))
    target = torch.ones(1, 1, dtype=torch.int64)
    maxima = sample_maxima(
        TorchOracle(model), x[:1], torch.zeros(1, dtype=torch.int64), target,
        np.zeros(1, dtype=np.int64), sampling, lambda _: None,
    )  # fmt: skip
    for _ in maxima:
        pass


def seconds(work: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(case: Case, p: float, rounds: int) -> dict[str, Any]:
    """Run both loops in turn."""
    torch.manual_seed(0)
    model, x = case.model(), torch.rand(case.batch, *case.shape)
    with frozen(model):
        ours(model, x, 2, p)
        bare(model, x, 2)
        raw = [
            {
                "bare_s": seconds(lambda: bare(model, x, case.steps)),
                "ours_s": seconds(lambda: ours(model, x, case.steps, p)),
                "as_scored_s": as_scored(model, x, case.steps, p),
            }
            for _ in range(rounds)
        ]
    gradients = case.batch * case.steps
    return {
        "norm": "inf" if p == math.inf else p,
        "device_batch": case.batch,
        "gradients_per_round": gradients,
        "bare_gradients_per_s": gradients / statistics.median(e["bare_s"] for e in raw),
        "ours_gradients_per_s": gradients / statistics.median(e["ours_s"] for e in raw),
        "as_scored_gradients_per_s": gradients / statistics.median(e["as_scored_s"] for e in raw),
        "ratio": spread([entry["bare_s"] / entry["ours_s"] for entry in raw]),
        "ratio_as_scored": spread([entry["bare_s"] / entry["as_scored_s"] for entry in raw]),
        "rounds": raw,
    }


def as_scored(model: nn.Module, x: Tensor, steps: int, p: float) -> float:
    """Seconds of our loop once freed memory is held; a first pass faults it in."""
    with memory.held():
        ours(model, x, 1, p)
        return seconds(lambda: ours(model, x, steps, p))


def spread(ratios: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def main() -> None:
    """Measure the cases and write the raw rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--norms", nargs="+", type=float, default=[1, 2, math.inf])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    for name in args.cases:
        for p in args.norms:
            found = measure(CASES[name], p, args.rounds)
            results.setdefault(name, []).append(found)
            print(
                f"{name:20} p={p:<4g} bare {found['bare_gradients_per_s']:10,.1f}/s, times",
                *(
                    f"{words} {r['median']:.3f} ({r['min']:.3f} to {r['max']:.3f})"
                    for words, r in (
                        ("ours", found["ratio"]),
                        ("as scored", found["ratio_as_scored"]),
                    )
                ),
                flush=True,
            )
    if args.out:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "date": date.today().isoformat(),
            "machine": f"{platform.processor() or platform.machine()}, "
            f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
            "versions": {"clever_ext": cx.__version__, "torch": torch.__version__},
            "floor": "the bare loop: ratio 1 is the floor",
        }
        args.out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
