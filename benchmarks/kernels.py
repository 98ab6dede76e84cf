"""Time of the CPU kernels at 3 x 224 x 224 on one thread: samples and gradient norms.

Sampling, a batch of 8 points of [0, 1] clamped to it:

- the toolbox: art.utils.random_sphere, the centre added, cast to float32 and clipped, as its
  clever_t does. It draws in float64; p = 1 by sorting uniforms, p = 2 by the incomplete gamma
  function.
- plain torch: for p = 2 normals, their norm, and a radius of u^(1/d); for p = inf uniforms; then
  radius, centre and clamp, in float32.
- `sample_lp_ball`. It and plain torch write into a buffer that stays, as the loop of a score does.

Norms, a batch of 8 gradients in one buffer that stays the same: torch.linalg.vector_norm of each
row and amax over the rows against `grad_norm_max`; and all three norms in one read against the
read of one, where the figure is how many times longer the three take than the longest of the ones.

    pip install -e .[bench]
    python benchmarks/kernels.py --out benchmarks/results/kernels-cpu.json
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from side_by_side import arguments, figure, interleaved, parsed, show, spread, write
from torch import Tensor

from clever_ext.kernels import ops
from clever_ext.kernels.balls import dual_exponent

SHAPE = (3, 224, 224)
DIMENSION = math.prod(SHAPE)
BATCH = 8
NORMS = (1.0, 2.0, math.inf)
RADII = {1.0: 40.0, 2.0: 2.0, math.inf: 0.01}
#: At least so many times the toolbox's and plain torch's speed, and vector_norm's for the dual.
SAMPLING = {1.0: (40.0, None), 2.0: (10.0, 4.0), math.inf: (3.0, 2.0)}
REDUCTION = {1.0: 2.0, 2.0: 1.0, math.inf: 5.0}
THREE_NORMS = 1.3


def toolbox_samples(center: Tensor, p: float) -> Any:
    """Draw as art.metrics.clever_t does."""
    from art.utils import random_sphere

    points = random_sphere(BATCH, DIMENSION, RADII[p], p).reshape(BATCH, *SHAPE)
    points += np.repeat(center.numpy()[None], BATCH, 0)
    points = points.astype(np.float32)
    return np.clip(points, 0.0, 1.0, out=points)


def torch_samples(points: Tensor, center: Tensor, p: float) -> None:
    """Draw into [BATCH, DIMENSION] with torch's own functions, in as few passes as they allow."""
    if p == 2:
        points.normal_()
        radii = RADII[p] * torch.rand(BATCH, 1).pow(1 / DIMENSION)
        points *= radii / torch.linalg.vector_norm(points, dim=1, keepdim=True)
    else:
        points.uniform_(-RADII[p], RADII[p])
    points.add_(center.flatten()).clamp_(0.0, 1.0)


def samplings(rounds: int, calls: int) -> list[dict[str, Any]]:
    """Measure the drawing of samples."""
    center, points = torch.rand(SHAPE), torch.empty(BATCH, *SHAPE)
    rows = points.flatten(1)
    figures = []
    for p in NORMS:
        draw = partial(ops.sample_lp_ball, points, center, p, RADII[p], 0, 0, 0, 0.0, 1.0)
        works: dict[str, Callable[[], object]] = {
            "the toolbox": partial(toolbox_samples, center, p),
            "plain torch": partial(torch_samples, rows, center, p),
            "ours": partial(repeated, draw, calls),
        }
        others = {
            name: target
            for name, target in zip(works, SAMPLING[p], strict=False)
            if target is not None
        }
        found = interleaved({name: works[name] for name in (*others, "ours")}, rounds)
        found["ours"] = [seconds / calls for seconds in found["ours"]]
        each = {n: 1e6 * statistics.median(seconds) / BATCH for n, seconds in found.items()}
        for name, target in others.items():
            figures.append(
                figure(
                    f"sampling, {name} / sample_lp_ball",
                    f"p = {p:g}",
                    target,
                    found[name],
                    found["ours"],
                    us_per_sample={name: each[name], "ours": each["ours"]},
                )
            )
            show(figures[-1])
    return figures


def repeated(work: Callable[[], object], calls: int) -> None:
    """Call something several times."""
    for _ in range(calls):
        work()


def reductions(rounds: int, calls: int) -> list[dict[str, Any]]:
    """Measure norms one by one, and all three in one read."""
    grads = torch.randn(1, BATCH, *SHAPE)

    def ours(duals: list[float]) -> Callable[[], None]:
        maxima = torch.zeros(len(duals), 1, dtype=torch.float64)
        return lambda: repeated(lambda: ops.grad_norm_max(grads, duals, maxima), calls)

    def plain(q: float) -> Callable[[], None]:
        rows = grads.flatten(2)
        return lambda: repeated(lambda: torch.linalg.vector_norm(rows, q, dim=2).amax(1), calls)

    duals = [dual_exponent(p) for p in NORMS]
    works: dict[str, Callable[[], object]] = {f"torch {q:g}": plain(q) for q in duals}
    works |= {f"ours {q:g}": ours([q]) for q in duals} | {"ours, all": ours(duals)}
    found = interleaved(works, rounds)
    per_row = {name: 1e6 * statistics.median(s) / calls / BATCH for name, s in found.items()}
    figures = [
        figure(
            "norms, vector_norm and amax / grad_norm_max", f"q = {q:g}", REDUCTION[q],
            found[f"torch {q:g}"], found[f"ours {q:g}"],
            us_per_row={name: per_row[f"{name} {q:g}"] for name in ("torch", "ours")},
        )
        for q in duals
    ]  # fmt: skip
    longest = max((f"ours {q:g}" for q in duals), key=per_row.__getitem__)
    times = [a / b for a, b in zip(found["ours, all"], found[longest], strict=True)]
    figures.append(
        {
            "figure": "norms, all three in one read / the longest one alone",
            "case": "q = 1, 2, inf",
            "target": THREE_NORMS,
            "at_most": True,
            "ratio": spread(times),
            "rounds": {name: found[name] for name in ("ours, all", longest)},
            "us_per_row": {name: per_row[name] for name in per_row if name.startswith("ours")},
        }
    )
    for each in figures:
        show(each)
    return figures


def main() -> None:
    """Measure both on one thread."""
    args = parsed(arguments(__doc__))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    calls = 5 if args.quick else 20
    write(args.out, samplings(args.rounds, calls) + reductions(args.rounds, 10 * calls))


if __name__ == "__main__":
    main()
