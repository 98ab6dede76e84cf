"""Cost of clever_score: linear in gradients, in targets and in images, and what comes on top.

LeNet-5 on 28 x 28, device batch 64, whole calls as a user makes them. In each round all sizes run
once, in turn, and a line, seconds = intercept + slope * size, is fitted to their times, by least
squares on the relative residuals: the noise of a time grows with it, and plain least squares would
let the longest calls, whose noise is as large as the intercept, decide the intercept.

- Gradients: N_b x N_s with N_b = 10, one image, one target. The intercept is what a call costs
  before and after its gradients: checks and first passes of the model, its digest, the fit, the
  table, and the model's memory when it is first touched. The figure is the intercept in per cent of
  the time of 1,000 gradients, to be below 2.
- Targets, 250 points for all of them. One forward pass of a point serves all its targets, and each
  takes one backward pass: so the intercept is sampling and forward passes with the constant part
  of a call, the slope the backward passes and the fit of one more target.
- Images, 250 gradients each: the intercept is the constant part of a call again.

All calls are for one model. What the first of them, with the most gradients, finds out about
it by trials serves the others and is in none of the lines: it is in the warm-up. For the targets
the model is left as it is (prepare="none"), or each number of targets might get other passes.

For targets and images the figure is the largest distance of a size's median time from the line
through the medians, in per cent of the line. The line through the medians is kept for all three.

    python benchmarks/cost.py --out benchmarks/results/cost-cpu.json
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from networks import NETWORKS
from side_by_side import arguments, interleaved, show, spread, write
from torch import Tensor, nn

import clever_ext as cx

NETWORK = "lenet"
DEVICE_BATCH = 64
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


def score(
    model: nn.Module, images: Tensor, n_targets: int, gradients: int, prepare: str = "auto"
) -> None:
    """Score against the classes ranked next to the predicted one."""
    cx.clever_score(
        model, images, targets=f"top-{n_targets + 1}", clip=(0.0, 1.0), n_batches=N_BATCHES,
        batch_samples=gradients // N_BATCHES, device_batch=DEVICE_BATCH,
        prepare=prepare,
    )  # fmt: skip


def times(
    work: Callable[[int], None], sizes: Sequence[int], rounds: int
) -> tuple[dict[str, list[float]], Line, list[Line]]:
    """Return the seconds of each size, the line through the medians, and each round's line."""
    found = interleaved({str(size): partial(work, size) for size in sizes}, rounds)
    medians = [statistics.median(seconds) for seconds in found.values()]
    each = [Line.through(sizes, seconds) for seconds in zip(*found.values(), strict=True)]
    return found, Line.through(sizes, medians), each


def main() -> None:
    """Measure the three lines."""
    args = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    network = NETWORKS[NETWORK]
    model, images = network.build(), torch.rand(16, *network.shape)
    # The largest first: it is the first call.
    gradients, targets, pictures = [4000, 2000, 1000, 500, 250], [8, 4, 2, 1], [16, 8, 4, 2, 1]
    rounds = args.rounds
    if args.quick:
        gradients, targets, pictures = gradients[2:], targets[1:], pictures[2:]
        rounds = min(rounds, 3)
    one = images[:1]
    works: dict[str, tuple[list[int], Callable[[int], None]]] = {
        "gradients": (gradients, lambda n: score(model, one, 1, n)),
        "targets": (targets, lambda n: score(model, one, n, 250, "none")),
        "images": (pictures, lambda n: score(model, images[:n], 1, 250)),
    }
    figures: list[dict[str, Any]] = []
    for what, (sizes, work) in works.items():
        found, line, each = times(work, sizes, rounds)
        if what == "gradients":
            name, target = "constant part of a call, per cent of 1,000 gradients", 2.0
            percent = [of_round.intercept_percent(1000) for of_round in each]
        else:
            name, target = f"largest distance from a line in the {what}, per cent", None
            percent = [line.largest_residual_percent]
        made = {
            "figure": name,
            "case": f"{NETWORK}, device batch {DEVICE_BATCH}, {what} {sizes[-1]} to {sizes[0]}",
            "target": target,
            "at_most": True,
            "ratio": spread(percent),
            "rounds": {f"{size}_{what}_s": seconds for size, seconds in found.items()},
            "line_of_medians": asdict(line),
        }
        show(made)
        print(
            f"    {1e3 * line.intercept_s:.1f} ms + {1e3 * line.slope_s:.4g} ms each, "
            f"R^2 {line.r_squared:.5f}, largest residual {line.largest_residual_percent:.2f} %",
            flush=True,
        )
        figures.append(made)
    write(args.out, figures)


if __name__ == "__main__":
    main()
