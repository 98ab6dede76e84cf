"""Statistics of paired scores: intervals, tests, ranks, power. Arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

#: Resamples of a bootstrap, and the seed of all of them: the same numbers on every call.
RESAMPLES, SEED = 10_000, 0
#: Values that a chunk of resamples may gather at a time.
_AT_ONCE = 2**20
#: Share of real differences of the size told that a test finds.
POWER = 0.8
#: The rank test needs at most 1 / 0.864 times the images of the t-test, whatever the differences'
#: law (Hodges & Lehmann 1956).
_RANK_EFFICIENCY = 0.864
#: Differing pairs below which no signed-rank test can reach p < 0.05: 2 * 2^-5 = 0.0625.
FEWEST_PAIRS = 6


def resampled_means(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Means of paired values [n] over images drawn with replacement, [RESAMPLES] each.

    Memory does not grow with RESAMPLES * n.
    """
    n = len(a)
    random, means = np.random.default_rng(SEED), np.empty(RESAMPLES, dtype=np.complex128)
    pairs = a + 1j * b  # so that one look-up fetches both
    chunk = max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, chunk):
        part = means[start : start + chunk]
        drawn = random.integers(n, size=(len(part), n), dtype=np.int32)
        part[:] = pairs.take(drawn).mean(axis=1)
    return means.real, means.imag


def accelerated(
    estimate: float, resampled: Floats, left_out: Floats, confidence: float
) -> Interval:
    """Bias-corrected and accelerated interval (BCa; Efron 1987).

    Args:
        estimate: The statistic of the sample.
        resampled: [R], that of each resample.
        left_out: [n], that of the sample without one image each.
        confidence: Of the interval.

    Returns:
        Low and high; both NaN where the statistic is not finite.
    """
    from scipy.special import ndtr, ndtri

    if not math.isfinite(estimate) or not np.isfinite(resampled).all():
        return math.nan, math.nan
    below = np.mean(resampled < estimate) + np.mean(resampled == estimate) / 2
    if not 0 < below < 1:
        return float(resampled.min()), float(resampled.max())
    influence = left_out.mean() - left_out
    spread = float(np.sum(influence**2))
    acceleration = float(np.sum(influence**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    bias = float(ndtri(below))
    tail = (1 - confidence) / 2
    z = bias + ndtri(np.array([tail, 1 - tail]))
    low, high = np.quantile(resampled, ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def median_interval(values: Floats, confidence: float) -> Interval:
    """Percentile bootstrap interval of the median of values [n], without resampling.

    The median of a resample is at most the j-th smallest value if at least half of the draws are,
    which has a binomial probability; so the quantiles are known exactly. Where n is even the lower
    middle value counts for the lower end, the upper one for the upper end.
    """
    from scipy.stats import binom

    n = len(values)
    if n == 0:
        return math.nan, math.nan
    ordered, share = np.sort(values), np.arange(1, n + 1) / n
    tail = (1 - confidence) / 2
    # P(at least m of n draws are among the j smallest), m the rank of the median
    lower = binom.sf((n + 1) // 2 - 1, n, share)
    upper = binom.sf(n // 2, n, share)
    low, high = int(np.searchsorted(lower, tail)), int(np.searchsorted(upper, 1 - tail))
    return float(ordered[min(low, n - 1)]), float(ordered[min(high, n - 1)])


def mean_intervals(
    a: Floats, b: Floats, confidence: float
) -> dict[str, tuple[float, float, float]]:
    """Means of paired scores [n], their difference a - b and ratio, each with low and high."""
    names = ("mean_a", "mean_b", "difference", "ratio")
    if len(a) == 0:
        return dict.fromkeys(names, (math.nan, math.nan, math.nan))
    draws_a, draws_b = resampled_means(a, b)
    n = len(a)
    left_a, left_b = ((x.sum() - x) / max(1, n - 1) for x in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        triples = {
            "mean_a": (a.mean(), draws_a, left_a),
            "mean_b": (b.mean(), draws_b, left_b),
            "difference": (a.mean() - b.mean(), draws_a - draws_b, left_a - left_b),
            "ratio": (a.mean() / b.mean(), draws_a / draws_b, left_a / left_b),
        }
    return {
        name: (float(estimate), *accelerated(float(estimate), draws, left_out, confidence))
        for name, (estimate, draws, left_out) in triples.items()
    }


def signed_ranks(differences: Floats) -> tuple[float, float]:
    """Wilcoxon's signed-rank test of differences [n] against a law symmetric around 0.

    Differences of 0 take part in the ranking and are then left out (Pratt 1959): many ties make
    the others count for less.

    Returns:
        Two-sided p-value, and the matched-pairs rank correlation in [-1, 1]: the share of the ranks
        that speaks for positive differences less that for negative ones. (1, 0) where all are 0.
    """
    from scipy.stats import rankdata, wilcoxon

    if not differences.any():
        return 1.0, 0.0
    ranks = rankdata(np.abs(differences))
    ranks[differences == 0] = 0
    found: Any = wilcoxon(differences, zero_method="pratt")
    return float(found.pvalue), float((ranks * np.sign(differences)).sum() / ranks.sum())


def rank_agreement(a: Floats, b: Floats) -> float:
    """Kendall's tau-b of two rankings of the same images; NaN where one has a single value."""
    from scipy.stats import kendalltau

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    found: Any = kendalltau(a, b)
    return float(found.statistic)


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's correction: p-values under which all tests together err as often as one would.

    NaN, no test, stays NaN and counts for nothing.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    times = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(times * p[order]))
    return corrected


def detectable(differences: Floats, alpha: float) -> float:
    """Smallest true mean difference that so many images show with a probability of 80 %.

    (t[1 - alpha / 2] + t[0.8]) * sd / sqrt(0.864 n), t the quantiles of Student's law with n - 1
    degrees of freedom: that of the paired t-test, and 1 / 0.864 times the images, the most that
    the rank test can need more. NaN for fewer than two images.
    """
    from scipy.special import stdtrit

    n = len(differences)
    if n < 2:
        return math.nan
    quantiles = stdtrit(n - 1, 1 - alpha / 2) + stdtrit(n - 1, POWER)
    return float(quantiles * differences.std(ddof=1) / math.sqrt(_RANK_EFFICIENCY * n))
