"""Gradients per second of our sampling loop against the bare passes of the same model.

The bare loop does what no estimator can do without: forward pass, margin, backward pass to the
input, over one fixed batch, parameters frozen. Both run in one process, in turn, at the same batch
and memory format. Three figures for each network and norm:

- nothing switched on: our loop with the model as it is, both under the C library's own malloc;
- auto: our loop as `clever_score` runs it, prepared by "auto" and under `memory.held`, against the
  bare passes of the model as it is in the memory format that auto chose, under the own malloc;
- the same, where the bare passes run under `memory.held` as well.

    python benchmarks/overhead.py --out benchmarks/results/overhead-cpu.json
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from networks import efficientnet_lite0, lenet, mnist_7_layer, tiny
from side_by_side import arguments, figure, interleaved, parsed, seconds, show, write
from torch import Tensor, nn

from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine.engine import Engine
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.plan import Plan
from clever_ext.kernels.balls import as_layout
from clever_ext.machine import memory


@dataclass(frozen=True)
class Case:
    """A model, the shape of its input, device batch and steps of a round, and what to reach."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    steps: int
    plain_target: float
    auto_target: float | None


CASES = [
    Case("EfficientNet-Lite0", efficientnet_lite0, (3, 224, 224), 8, 4, 0.97, 1.2),
    Case("7-layer MNIST network", mnist_7_layer, (1, 28, 28), 128, 6, 0.93, None),
    Case("LeNet5", lenet, (1, 28, 28), 128, 12, 0.93, None),
    Case("four linear layers", tiny, (64,), 512, 200, 0.75, None),
]


def bare(model: nn.Module, x: Tensor, steps: int) -> None:
    """Forward, margin and backward, over and over."""
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)


def ours(plan: Plan, x: Tensor, steps: int, p: float) -> None:
    """Sample, differentiate and reduce as many points."""
    sampling = Sampling(p, 0.5, 1, len(x) * steps, 0, (0.0, 1.0))
    zero, one = torch.zeros(1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64)
    ids = np.zeros(1, dtype=np.int64)
    for drawn in sample_maxima(plan, x[:1], zero, one, ids, sampling, lambda _: None):
        drawn()


def held(work: Callable[[], None], first: Callable[[], None]) -> Callable[[], float]:
    """Make work run under `memory.held`; a first pass faults the memory in and is not timed."""

    def under() -> float:
        with memory.held():
            first()
            return seconds(work)

    return under


def measure(case: Case, p: float, rounds: int) -> list[dict[str, Any]]:
    """Run the loops in turn, with nothing switched on and as `auto` would have it."""
    torch.manual_seed(0)
    model, x = case.model(), torch.rand(case.batch, *case.shape)
    plain = Plan(TorchOracle(model), case.batch)
    engine = Engine(model, "auto", case.batch)
    with engine.running(x.device):
        engine.check(x)
        engine.ready(x, torch.tensor([0]), torch.tensor([[1]]), 512_000)
    auto_x = as_layout(x, engine.memory_format)
    bare_model = copy.deepcopy(model).requires_grad_(False)
    like = copy.deepcopy(bare_model)  # in the memory format that auto chose
    like.to(memory_format=engine.memory_format)  # type: ignore[call-overload]

    def loop(model: nn.Module, x: Tensor, steps: int) -> Callable[[], None]:
        return lambda: bare(model, x, steps)

    def auto(steps: int) -> Callable[[], None]:
        return lambda: ours(engine.plan, auto_x, steps, p)

    steps = case.steps
    found = interleaved(
        {
            "bare": loop(bare_model, x, steps),
            "ours": lambda: ours(plain, x, steps, p),
            "bare_like_auto": loop(like, auto_x, steps),
            "bare_held": held(loop(like, auto_x, steps), loop(like, auto_x, 1)),
            "auto": held(auto(steps), auto(1)),
        },
        rounds,
    )
    gradients = case.batch * steps
    more = {
        "device_batch": case.batch,
        "options": list(engine.options),
        "gradients_per_s": {n: gradients / statistics.median(s) for n, s in found.items()},
    }
    name = f"{case.name}, p = {p:g}"
    rows = (
        ("nothing switched on, against bare passes", case.plain_target, "bare", "ours"),
        ("auto, against bare passes", case.auto_target, "bare_like_auto", "auto"),
        ("auto, against bare passes that keep freed memory too", None, "bare_held", "auto"),
    )
    return [
        figure(title, name, target, found[slower], found[faster], **more)
        for title, target, slower, faster in rows
    ]


def main() -> None:
    """Measure the cases and write the raw rounds."""
    args = parsed(arguments(__doc__))
    figures = []
    for case in CASES[1:] if args.quick else CASES:
        for p in [2.0] if args.quick else [1.0, 2.0, math.inf]:
            found = measure(case, p, args.rounds)
            for each in found:
                show(each)
            figures += found
    write(args.out, figures, floor="the bare passes: 1 is the floor with the model as it is")


if __name__ == "__main__":
    main()
