"""What a tolerance keeps: scores against those of many gradients, coverage of the intervals.

On the maxima that uniform.py drew: the reference of a row is the location fitted to all of its
batches, of 1,024 samples unless said otherwise, and the intervals predict a fit to as many. A row
is reproducible where the reference's bootstrap deviation is at most 2.5 %; heavy-tailed else. Each
repeat takes the blocks of 64 in another random order, and runs with a tolerance are replayed on
them up to half of the samples. Coverage is counted a second, harder time against the location
fitted to the samples that the repeat did not take: the reference shares those that it did.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from side_by_side import arguments, parsed, quantity, share, show, write
from uniform import BLOCK, joined

import clever_ext as cx
from clever_ext.evt.credible import Prediction, predict_location

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NORMS = (1.0, 2.0, np.inf)
#: Samples of a batch, at most, and gradients of the intervals whose coverage is told.
SAMPLES, BUDGETS = 128, (1_024, 4_096, 12_288, 24_576, 49_152)
REPRODUCIBLE, TOLERANCE = 0.025, 0.05


class Reference(NamedTuple):
    """Locations [rows], and the batches that they were fitted to."""

    location: Floats
    batches: int
    samples: int

    @property
    def predicted_from(self) -> int:
        """Samples of the batches that predict them."""
        return min(SAMPLES, self.samples)

    def predicted(self, blocks: Floats) -> Prediction:
        """Predict them from blocks [rows, n]."""
        each = self.predicted_from
        return predict_location(
            joined(blocks, each), each, of_batches=self.batches, of_samples=self.samples
        )


def holds(found: Prediction, location: Floats) -> Bools:
    """Tell which intervals hold a location."""
    inside: Bools = (found.low <= location) & (location <= found.high)
    return inside


class Stop(NamedTuple):
    """Where runs with a tolerance ended, [rows] each."""

    error: Floats  # of the score, relative
    gradients: Floats
    inside: Bools  # whether the interval holds the reference
    at_limit: Bools


def replayed(blocks: Floats, reference: Reference) -> Stop:
    """Run with the tolerance on half of the samples."""
    each = reference.predicted_from // BLOCK
    limit = blocks.shape[1] // each // 2
    error, gradients = np.empty((2, len(blocks)))
    inside, at_limit = np.empty((2, len(blocks)), dtype=bool)
    active, n = np.arange(len(blocks)), 8
    while len(active):
        found, location = reference.predicted(blocks[active, : n * each]), reference.location
        width = (1 / found.low - 1 / found.high) * found.location / 2  # of scores
        error[active] = location[active] / found.location - 1
        gradients[active] = n * each * BLOCK
        inside[active] = holds(found, location[active])
        at_limit[active] = width > TOLERANCE
        active = active[(width > TOLERANCE) & (n < limit)]
        n = min(int(n * 1.5), limit)
    return Stop(error, gradients, inside, at_limit)


def scatter(batches: Floats, rng: np.random.Generator) -> Floats:
    """Return the reference's deviation, relative to it, by bootstrap."""
    n = batches.shape[1]
    again = [cx.fit_reverse_weibull(batches[:, rng.integers(0, n, n)]).location for _ in range(30)]
    deviation: Floats = np.std(again, axis=0) / cx.fit_reverse_weibull(batches).location
    return deviation


def study(name: str, folder: Path, samples: int, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Make the figures of one network."""
    table = cx.CleverResult.load(folder / f"{name}.parquet").table
    rng = np.random.default_rng(seed)
    figures = []
    for p in NORMS:
        blocks = np.stack(list(table[table["norm"] == p]["maxima"]))
        batches = joined(blocks, samples)
        fit = cx.fit_reverse_weibull(batches)
        reference = Reference(fit.location, batches.shape[1], samples)
        light = scatter(batches, rng) <= REPRODUCIBLE
        orders = [rng.permuted(blocks, axis=1) for _ in range(repeats)]
        runs = [replayed(order, reference) for order in orders]
        what = f"{name}, p = {p:g}"
        figures += stops(runs, fit, light, what)
        figures += [
            figure
            for budget in BUDGETS
            if 2 * budget <= blocks.shape[1] * BLOCK
            for figure in coverage(orders, reference, budget, what)
        ]
    return figures


def stops(
    runs: list[Stop], fit: cx.ReverseWeibullFit, light: Bools, what: str
) -> list[dict[str, Any]]:
    """Make the figures of runs with a tolerance, and keep the runs."""
    error, gradients, inside, at_limit = (np.stack(part) for part in zip(*runs, strict=True))
    raw = {
        "shape": fit.shape.round(1).tolist(), "reference_status": fit.status.tolist(),
        "reproducible": light.tolist(), "error": error.round(3).tolist(),
        "gradients": gradients.astype(int).tolist(), "inside": inside.astype(int).tolist(),
    }  # fmt: skip
    figures = []
    if light.any():
        spent = gradients[:, light].ravel()
        figures += [
            share("reproducible: score within 5 % of the reference", what, 0.95,
                  abs(error[:, light]).ravel() <= TOLERANCE, **raw),
            quantity("reproducible: 512,000 / gradients", what, 40, 512_000 / spent,
                     of_the_mean=512_000 / float(spent.mean())),
            share("reproducible: stopped at the limit", what, None, at_limit[:, light].ravel()),
        ]  # fmt: skip
    if not light.all():
        more = {} if light.any() else raw
        figures += [
            share("heavy-tailed: interval holds the reference", what, 0.93,
                  inside[:, ~light].ravel(), **more),
            share("heavy-tailed: stopped at the limit and says so", what, None,
                  at_limit[:, ~light].ravel()),
        ]  # fmt: skip
    return figures


def coverage(
    orders: list[Floats], reference: Reference, budget: int, what: str
) -> list[dict[str, Any]]:
    """Make the figures of the intervals after so many gradients."""
    of_all, of_rest, width = [], [], []
    for order in orders:
        taken = budget // BLOCK
        found = reference.predicted(order[:, :taken])
        rest = cx.fit_reverse_weibull(joined(order[:, taken:], reference.samples)).location
        of_all.append(holds(found, reference.location))
        of_rest.append(holds(found, rest))
        width.append((found.high - found.low) / (2 * found.location))
    name = f"coverage at {budget:,} gradients"
    return [
        share(name, what, 0.93, np.concatenate(of_all), half_width=float(np.median(width))),
        share(f"{name}, of the rest", what, None, np.concatenate(of_rest)),
    ]


def main() -> None:
    """Study the networks that are named."""
    parser = arguments(__doc__ or "", rounds=10)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--uniform", type=Path, required=True, help="folder of uniform.py's files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1024, help="of a reference's batch")
    args = parsed(parser)
    warnings.simplefilter("error", RuntimeWarning)
    figures = [
        figure
        for name in args.names
        for figure in study(name, args.uniform, args.samples, args.rounds, args.seed)
    ]
    for figure in figures:
        show(figure)
    write(args.out, figures)


if __name__ == "__main__":
    main()
