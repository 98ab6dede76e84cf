"""What a tolerance keeps: scores against those of many gradients, coverage of the intervals.

On the maxima that uniform.py drew: the reference of a row is the location fitted to all of its
batches of 1,024, and the intervals predict a fit to as many. A row is reproducible where the
reference's bootstrap deviation is at most 2.5 %; heavy-tailed else. Runs with a tolerance are
replayed on the first maxima, as the loop would draw them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from side_by_side import arguments, parsed, quantity, share, show, write
from uniform import BLOCK

import clever_ext as cx
from clever_ext.credible import predict_location

Floats = npt.NDArray[np.float64]
NORMS = (1.0, 2.0, np.inf)
#: Samples of a batch in the replayed runs, and gradients of the intervals whose coverage is told.
SAMPLES, BUDGETS = 256, (1_024, 4_096, 16_384, 65_536)
REPRODUCIBLE, TOLERANCE = 0.025, 0.05


def joined(blocks: Floats, samples: int) -> Floats:
    """Join maxima of blocks to those of batches."""
    each = samples // BLOCK
    whole = blocks[:, : blocks.shape[1] // each * each]
    maxima: Floats = whole.reshape(len(blocks), -1, each).max(axis=2)
    return maxima


def replayed(blocks: Floats, n_reference: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Location, low, high and gradients at the stop of each row."""
    maxima = joined(blocks, SAMPLES)
    found = np.full((4, len(maxima)), np.nan)
    active, n = np.arange(len(maxima)), 8
    while len(active):
        got = predict_location(maxima[active, :n], SAMPLES, of_batches=n_reference)
        found[:, active] = [got.location, got.low, got.high, np.full(len(active), n * SAMPLES)]
        with np.errstate(divide="ignore"):
            width = (1 / got.low - 1 / got.high) * got.location / 2  # of scores
        active = active[width > TOLERANCE]
        if n == maxima.shape[1]:
            break
        n = min(int(max(n + 1, n * 1.5)), maxima.shape[1])
    return found[0], found[1], found[2], found[3]


def study(name: str, folder: Path) -> list[dict[str, Any]]:
    """Make the figures of one network."""
    table = cx.CleverResult.load(folder / f"{name}.parquet").table
    rng = np.random.default_rng(0)
    figures = []
    for p in NORMS:
        blocks = np.stack(list(table[table["norm"] == p]["maxima"]))
        batches = joined(blocks, 1024)
        n = batches.shape[1]
        fit = cx.fit_reverse_weibull(batches)
        again = np.stack(
            [cx.fit_reverse_weibull(batches[:, rng.integers(0, n, n)]).location for _ in range(30)]
        )
        scatter = again.std(axis=0) / fit.location
        light = scatter <= REPRODUCIBLE
        location, low, high, gradients = replayed(blocks, n)
        error = fit.location / location - 1  # of the score
        inside = (low <= fit.location) & (fit.location <= high)
        limit = gradients >= blocks.shape[1] * BLOCK - SAMPLES
        what = f"{name}, p = {p:g}"
        raw = {
            "shape": float(np.median(fit.shape)),
            "reference_scatter": [round(float(v), 4) for v in scatter],
            "error": [round(float(v), 4) for v in error],
            "gradients": [int(v) for v in gradients],
            "reference_status": fit.status.tolist(),
        }
        if light.any():
            figures += [
                share("reproducible: score within 5 % of the reference", what, 0.95,
                      abs(error[light]) <= 0.05, **raw),
                quantity("reproducible: 512,000 / gradients", what, 40, 512_000 / gradients[light]),
            ]  # fmt: skip
        if not light.all():
            figures += [
                share("heavy-tailed: interval holds the reference", what, 0.93, inside[~light]),
                share("heavy-tailed: stopped at the limit and says so", what, None, limit[~light]),
            ]
        for budget in BUDGETS:
            samples = 128 if budget < 4_096 else SAMPLES
            got = predict_location(
                joined(blocks, samples)[:, : budget // samples], samples, of_batches=n
            )
            holds = (got.low <= fit.location) & (fit.location <= got.high)
            figures.append(share(f"coverage at {budget:,} gradients", what, 0.93, holds))
    return figures


def main() -> None:
    """Study the networks that are named."""
    parser = arguments(__doc__ or "")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--uniform", type=Path, required=True, help="folder of uniform.py's files")
    args = parsed(parser)
    figures = [figure for name in args.names for figure in study(name, args.uniform)]
    for figure in figures:
        show(figure)
    write(args.out, figures)


if __name__ == "__main__":
    main()
