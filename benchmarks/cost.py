"""Cost of clever_score: linear in gradients, in targets and in images, and what comes on top.

Whole calls as a user makes them. In each round all sizes run once, in turn, and a line, seconds =
intercept + slope * size, is fitted to their times, by least squares on the relative residuals: the
noise of a time grows with it, and plain least squares would let the longest calls, whose noise is
as large as the intercept, decide the intercept.

- Gradients: N_b x N_s, one image, one target. The intercept is what a call costs before and after
  its gradients: checks and first passes of the model, its preparation and digest, the fit, the
  table, and the memory that the passes touch for the first time. The figure is the intercept in per
  cent of the time of 1,000 gradients, to be below 2. EfficientNet-Lite0 at device batch 8, prepared
  as "auto" prepares it for longer runs and not at all; LeNet-5 at device batch 64, whose 1,000
  gradients take a fifth of a second.
- Targets, LeNet-5, 250 points for all of them. One forward pass of a point serves all its targets
  and each takes one backward pass: so the intercept is sampling, forward passes and the constant
  part of a call, the slope the backward passes and the fit of one more target.
- Images, LeNet-5, 250 gradients each: the intercept is the constant part of a call again.

All calls are for one model. What the first of them, with the most gradients, finds out about it by
trials serves the others and is in none of the lines: it is in the warm-up. For the targets the
model is left as it is (prepare="none"), or each number of targets might get other passes.

For targets and images the figure is the largest distance of a size's median time from the line
through the medians, in per cent of the line. The line through the medians is kept for all.

Two more figures: the seconds that `import clever_ext` takes beyond `import torch`, in processes of
their own, and the milliseconds of a score of four linear layers with 20 gradients.

    python benchmarks/cost.py --out benchmarks/results/cost-cpu.json
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from networks import NETWORKS
from side_by_side import arguments, interleaved, parsed, show, spread, write
from torch import nn

import clever_ext as cx
from clever_ext.engine.preparation import Prepare
from clever_ext.inputs.targets import TargetWord

N_BATCHES = 10


@dataclass(frozen=True)
class Line:
    """A line through times, and how far they are from it."""

    intercept_s: float
    slope_s: float
    r_squared: float
    largest_residual_percent: float

    @classmethod
    def through(cls, sizes: Sequence[int], seconds: Sequence[float]) -> Line:
        """Fit by least squares on the relative residuals, (line - seconds) / seconds."""
        x, y = np.array(sizes, dtype=np.float64), np.array(seconds)
        design = np.stack([np.ones_like(x), x], axis=1)
        intercept, slope = np.linalg.lstsq(design / y[:, None], np.ones_like(y), rcond=None)[0]
        line = intercept + slope * x
        r_squared = 1 - ((y - line) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        residual = 100 * np.abs(y / line - 1).max()
        return cls(float(intercept), float(slope), float(r_squared), float(residual))

    def intercept_percent(self, size: int) -> float:
        """The intercept, in per cent of the whole at a size."""
        return 100 * self.intercept_s / (self.intercept_s + size * self.slope_s)


@dataclass(frozen=True)
class Scored:
    """A network, and how it is scored."""

    network: str
    device_batch: int
    prepare: Prepare = "auto"

    @cached_property
    def model(self) -> nn.Module:
        """The network, the same for all calls."""
        torch.manual_seed(0)
        return NETWORKS[self.network].build()

    def __call__(self, n_images: int, n_targets: int, gradients: int) -> None:
        """Score random images against the classes ranked next to the predicted one."""
        images = torch.rand(n_images, *NETWORKS[self.network].shape)
        cx.clever_score(
            self.model, images, targets=cast(TargetWord, f"top-{n_targets + 1}"), clip=(0.0, 1.0),
            n_batches=N_BATCHES, batch_samples=gradients // N_BATCHES,
            device_batch=self.device_batch, prepare=self.prepare,
        )  # fmt: skip

    def __str__(self) -> str:
        how = self.prepare if isinstance(self.prepare, str) else " and ".join(self.prepare)
        return f"{self.network}, device batch {self.device_batch}, prepare {how}"


def times(
    work: Callable[[int], None], sizes: Sequence[int], rounds: int
) -> tuple[dict[str, list[float]], Line, list[Line]]:
    """Return the seconds of each size, the line through the medians, and each round's line."""
    found = interleaved({str(size): partial(work, size) for size in sizes}, rounds)
    medians = [statistics.median(seconds) for seconds in found.values()]
    each = [Line.through(sizes, seconds) for seconds in zip(*found.values(), strict=True)]
    return found, Line.through(sizes, medians), each


def lines(rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Measure the lines; the largest size first: it is the first call."""
    lite0 = Scored("efficientnet-lite0", 8, ("fold_batch_norm", "channels_last"))
    lite0_bare = Scored("efficientnet-lite0", 8, "none")
    lenet, lenet_bare = (Scored("lenet", 64, name) for name in ("auto", "none"))
    works: list[tuple[str, Scored, list[int], Callable[[int], None]]] = [
        ("gradients", lite0, [400, 200, 100, 50], lambda n: lite0(1, 1, n)),
        ("gradients", lite0_bare, [400, 200, 100, 50], lambda n: lite0_bare(1, 1, n)),
        ("gradients", lenet, [4000, 2000, 1000, 500, 250], lambda n: lenet(1, 1, n)),
        ("targets", lenet_bare, [8, 4, 2, 1], lambda n: lenet_bare(1, n, 250)),
        ("images", lenet, [16, 8, 4, 2, 1], lambda n: lenet(n, 1, 250)),
    ]
    figures = []
    for what, scored, sizes, work in works[2:] if quick else works:
        found, line, each = times(work, sizes[-3:] if quick else sizes, rounds)
        if what == "gradients":
            name, target = "constant part of a call, per cent of 1,000 gradients", 2.0
            percent = [of_round.intercept_percent(1000) for of_round in each]
        else:
            name, target = f"largest distance from a line in the {what}, per cent", None
            percent = [line.largest_residual_percent]
        figures.append(
            {
                "figure": name,
                "case": f"{scored}, {what} {sizes[-1]} to {sizes[0]}",
                "target": target,
                "at_most": True,
                "ratio": spread(percent),
                "rounds": {f"{size}_{what}_s": seconds for size, seconds in found.items()},
                "line_of_medians": asdict(line),
            }
        )
        show(figures[-1])
        print(
            f"    {1e3 * line.intercept_s:.1f} ms + {1e3 * line.slope_s:.4g} ms each, "
            f"R^2 {line.r_squared:.5f}, largest residual {line.largest_residual_percent:.2f} %",
            flush=True,
        )
    return figures


def import_seconds(modules: str) -> float:
    """Time of importing modules in a process of its own."""
    program = (
        f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    )
    return float(subprocess.check_output([sys.executable, "-c", program], text=True))


def starts(rounds: int) -> list[dict[str, Any]]:
    """Measure what comes before any work: the import, and a score with next to no gradients."""
    beyond = []
    for _ in range(rounds):
        beyond.append(import_seconds("torch, clever_ext") - import_seconds("torch"))
    tiny = Scored("tiny", 64)
    found = interleaved({"score": lambda: tiny(1, 1, 20)}, rounds)["score"]
    rows: list[tuple[str, str, float, list[float]]] = [
        ("import beyond torch's, seconds", "import torch, clever_ext", 0.2, beyond),
        ("a score of 20 gradients, milliseconds", str(tiny), 20.0, [1e3 * s for s in found]),
    ]
    figures = []
    for name, case, target, values in rows:
        figures.append(
            {
                "figure": name,
                "case": case,
                "target": target,
                "at_most": True,
                "ratio": spread(values),
                "rounds": values,
            }
        )
        show(figures[-1])
    return figures


def main() -> None:
    """Measure the lines and the starts."""
    args = parsed(arguments(__doc__))
    write(args.out, starts(args.rounds) + lines(args.rounds, args.quick))


if __name__ == "__main__":
    main()
