"""Time of a fit beside SciPy's: fit_reverse_weibull against seven starts of weibull_max.fit.

The authors' code fits each sample of maxima, shifted and scaled to its range, from the starts 0.1,
1, 5, 10, 20, 50 and 100, and keeps the best. So does `scipy_fit`, by likelihood, with SciPy's own
optimiser. Ours fits all samples in one call, and its time has the distance, p-value and interval in
it; SciPy's has none of them. Samples are of 500 maxima of reverse Weibull laws, shapes from 2 to
20. One thread.

SciPy fits a few of the samples in each round, others in each; its time per sample times all of them
is the baseline: 10,000 would take it a quarter of an hour.

    pip install -e .[bench]
    python benchmarks/fit.py --out benchmarks/results/fit.json
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy
import torch
from scipy import stats
from side_by_side import arguments, figure, interleaved, parsed, show, write

import clever_ext as cx
from clever_ext.evt.likelihood import PENALTY

Array = npt.NDArray[np.float64]

N_MAXIMA = 500
STARTS = (0.1, 1, 5, 10, 20, 50, 100)


def samples(count: int) -> Array:
    """Draw [count, N_MAXIMA] maxima with end point 10 and scale 1, shapes even over 2..20."""
    rng = np.random.default_rng(0)
    shapes = rng.permutation(np.linspace(2, 20, count))
    return 10.0 - rng.weibull(shapes[:, None], size=(count, N_MAXIMA))


def scipy_fit(maxima: Array) -> tuple[float, float]:
    """Return the best log-likelihood over the starts, in units of the maxima, and its shape."""
    spread = np.ptp(maxima)
    units = (maxima - maxima.min()) / spread
    best = (-np.inf, np.nan)
    for start in STARTS:
        with np.errstate(all="ignore"):
            shape, location, scale = stats.weibull_max.fit(units, start)
            value = stats.weibull_max.logpdf(units, shape, location, scale).sum()
        if np.isfinite(value):
            best = max(best, (float(value - len(units) * np.log(spread)), float(shape)))
    return best


def main() -> None:
    """Measure both and compare their likelihoods."""
    args = parsed(arguments(__doc__))
    torch.set_num_threads(1)  # neither runs in torch; NumPy's sums and powers have one thread
    count, at_a_time = (1_000, 2) if args.quick else (10_000, 8)
    maxima = samples(count)
    best: list[tuple[float, float]] = []

    def parts() -> Iterator[Array]:
        for start in range(0, count, at_a_time):
            yield maxima[start : start + at_a_time]

    turn = parts()

    def scipy_fits() -> None:
        best.extend(scipy_fit(sample) for sample in next(turn))

    found = interleaved(
        {"scipy": scipy_fits, "ours": lambda: cx.fit_reverse_weibull(maxima)}, args.rounds
    )
    whole = [seconds * count / at_a_time for seconds in found["scipy"]]
    values, shapes = np.array(best).T
    fit = cx.fit_reverse_weibull(maxima[: len(best)])
    # What ours maximises, of both. SciPy maximises without the penalty, and may go below shape 1.
    ahead = (fit.log_likelihood - PENALTY * fit.shape**2) - (values - PENALTY * shapes**2)
    made = figure(
        "weibull_max.fit from seven starts / fit_reverse_weibull",
        f"{count:,} samples of {N_MAXIMA} maxima, one thread", 100, whole, found["ours"],
        scipy_samples_per_round=at_a_time,
        scipy_ms_per_sample=[1e3 * seconds / at_a_time for seconds in found["scipy"]],
        ours_ms_per_sample=[1e3 * seconds / count for seconds in found["ours"]],
        penalised_likelihoods={
            "samples": len(best),
            "ours_at_least_scipys": float((ahead >= -1e-3).mean()),
            "ours_ahead_by_nats_median": float(np.median(ahead)),
            "ours_ahead_by_nats_min": float(ahead.min()),
            "scipys_shape_below_1": float((shapes < 1).mean()),
        },
    )  # fmt: skip
    show(made)
    write(args.out, [made], scipy=scipy.__version__)


if __name__ == "__main__":
    main()
