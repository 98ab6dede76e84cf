"""Where the paper's estimate will lie, from few batch maxima: a prediction with an interval.

What is predicted is a number: the location that `fit_reverse_weibull` finds in the maxima of 500
other batches of 1,024 samples, an independent run of the paper's estimator with all its habits
(penalty, downward bias for heavy tails, largest maximum where the fit is rejected).

The maxima follow an extreme value law with index xi: the reverse Weibull law of shape -1/xi and end
point a for xi < 0, the Frechet law above an end point a for xi > 0 (as good as reached by gradient
norms whose tail has not ended yet). With z_i the distances from a, c = -1/xi, and flat priors on a
and on log(scale), the scale integrates out:

    p(a, xi | S) ~ prior(xi) |c|^(n-1) prod(z_i)^(c-1) / sum(z_i^c)^n.

Given xi such intervals are exact, whatever location and scale (right Haar prior). Draws from this
posterior on a grid, by a fixed low-discrepancy sequence, are passed through what the paper's
estimator does under each law, tabulated by tools/calibrate_credible.py. The measured coverage is in
docs/studies/tolerance-coverage.md. Nothing is random: the same maxima give the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .reverse_weibull import REJECT_BELOW, ReverseWeibullFit, fit_reverse_weibull

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TABLES = Path(__file__).with_name("credible_tables.npz")
#: The paper's run: N_b and N_s.
PAPER_BATCHES, PAPER_SAMPLES = 500, 1024

_FEWEST_JOINED = 12  # batches are joined to larger ones while so many are left
# Prior of xi: mode and deviations to its left and right, of usual rows and of heavy ones, and the
# share of the latter, which is larger where the maxima are seen to follow no extreme value law.
# Chosen on the networks CHOOSING of benchmarks/published.py.
_USUAL, _HEAVY = (-0.08, 0.17, 0.08), (0.2, 0.2, 0.2)
_SHARE_HEAVY, _SHARE_HEAVY_IRREGULAR = 0.1, 0.5
_PLACES = 32  # of the end point
_HALF_WIDTH = 6.0  # of their grid, over sqrt(n), in log(distance from the median)
_DRAWS = 2048
_WIDEST_INDEX = 0.45  # from 0.5 on a Frechet law has no standard deviation
_ROUNDING = 2e-7  # equal norms differ by so much with the way in which a pass is made
_FEW_TIES = 0.01  # share of maxima that may be equal by chance
_CHUNK = 1 << 21  # numbers worked on at once


@dataclass(frozen=True)
class Prediction:
    """Predictions of the paper's location, one per row of maxima: arrays [rows].

    Attributes:
        location: Its median, or the largest maximum where the row is irregular; in the units of the
            maxima, and never below the largest of them, like the two ends.
        low: Lower end of the interval.
        high: Upper end of it.
        irregular: Whether the maxima are seen to follow no extreme value law: their fit is rejected
            (p < 0.001), or some are equal, as where norms take few values.
        fit: The reverse Weibull law of the batches, joined as the prediction used them; its
            location and interval are not the prediction's.
    """

    location: Floats
    low: Floats
    high: Floats
    irregular: Bools
    fit: ReverseWeibullFit


class _Posterior(NamedTuple):
    """Over a grid of indices and places of the end point, [R, X, G], in units of the range."""

    log_weight: Floats
    end: Floats
    log_sum: Floats  # of z^c


def predict_location(
    maxima: Floats,
    batch_samples: int,
    confidence: float = 0.95,
    of_batches: int = PAPER_BATCHES,
    of_samples: int = PAPER_SAMPLES,
) -> Prediction:
    """Predict the location that a fit to more maxima gives.

    Batches are joined to larger ones, up to the size that is predicted, as long as twelve are left:
    maxima of more samples follow the law better, and few of them say nearly as much as many.

    Args:
        maxima: [rows, n], n of at least 5, in the order in which they were drawn; rows are
            independent of each other.
        batch_samples: N_s, of how many samples each is the largest.
        confidence: Of the interval.
        of_batches: How many maxima the fit has that is predicted, 50 to 500.
        of_samples: Of how many samples each of those is the largest.

    Returns:
        The predictions. Where all maxima are equal it is that value without any width; where one is
        not finite all is NaN.

    Example:
        >>> import numpy as np
        >>> maxima = 10 - np.random.default_rng(0).weibull(6.0, size=(1, 40))
        >>> found = predict_location(maxima, 1024)
        >>> bool(found.low[0] < 10 < found.high[0])
        True
    """
    joined = _joined(maxima, of_samples // batch_samples)
    growth = of_samples / (batch_samples * (maxima.shape[1] // joined.shape[1]))
    fit = fit_reverse_weibull(joined)
    largest = maxima.max(axis=1, initial=-np.inf)
    numbers = np.stack([largest] * 3)
    numbers[:, fit.status == "non-finite"] = np.nan
    irregular = (fit.p_value < REJECT_BELOW) | _tied(joined)
    varied = np.flatnonzero(np.isin(fit.status, ("ok", "max-fallback")))
    step = max(1, _CHUNK // (_PLACES * joined.shape[1]))
    tail = (1 - confidence) / 2
    for start in range(0, len(varied), step):
        part = varied[start : start + step]
        drawn = _draws(joined[part], growth, of_batches, irregular[part])
        found = np.quantile(drawn, [0.5, tail, 1 - tail], axis=1)
        # What a run that rejects its fit reports is its largest maximum, here known from below.
        found[:2, irregular[part]] = -np.inf
        numbers[:, part] = np.maximum(found, largest[part])
    return Prediction(numbers[0], numbers[1], numbers[2], irregular, fit)


def predicted_fit(maxima: Floats, batch_samples: int, confidence: float) -> ReverseWeibullFit:
    """Fit maxima [rows, n], and put predictions in the place of the locations and their intervals.

    Where the maxima follow no law the largest of them stands in ("max-fallback"), as with all the
    batches; a sample that is too short for an interior optimum is no such case.
    """
    found = predict_location(maxima, batch_samples, confidence)
    fallback = np.where(found.irregular, "max-fallback", "ok")
    status = np.where(np.isin(found.fit.status, ("ok", "max-fallback")), fallback, found.fit.status)
    return replace(
        found.fit, location=found.location, ci_low=found.low, ci_high=found.high, status=status
    )


def _tied(maxima: Floats) -> Bools:
    """Tell where more maxima are equal, up to rounding, than chance makes so."""
    gaps = np.diff(np.sort(maxima, axis=1), axis=1)
    equal = gaps <= _ROUNDING * np.abs(maxima).max(axis=1, keepdims=True)
    tied: Bools = equal.sum(axis=1) > _FEW_TIES * maxima.shape[1]
    return tied


def _joined(maxima: Floats, most: int) -> Floats:
    """Join up to so many neighbouring batches, by powers of two; a rest is left out."""
    rows, n = maxima.shape
    most = max(1, min(n // _FEWEST_JOINED, most))
    factor = 1 << (most.bit_length() - 1)
    kept = n // factor
    joined: Floats = maxima[:, : kept * factor].reshape(rows, kept, factor).max(axis=2)
    joined[~np.isfinite(maxima).all(axis=1)] = np.nan  # in the rest, too
    return joined


def _draws(rows: Floats, growth: float, of_batches: int, irregular: Bools) -> Floats:
    """Draw the paper's estimate, [R, draws], given maxima [R, n] of batches `growth` times smaller.

    Fixed draws: by quantiles of the posterior and a low-discrepancy sequence.
    """
    rows = np.sort(rows, axis=1)  # makes every sum independent of the order of the maxima
    low, spread = rows[:, :1], rows[:, -1:] - rows[:, :1]
    posterior = _posterior((rows - low) / spread)
    indices, _, _ = _tables()
    shapes = -1 / indices
    weight = _weights(posterior, irregular)
    places, log_gamma, part = _sequence(rows.shape[1])
    distances = _distances(of_batches)
    drawn = np.empty((len(rows), _DRAWS))
    for r, cumulated in enumerate(np.cumsum(weight, axis=1)):
        cell = np.searchsorted(cumulated, places * cumulated[-1]).clip(max=weight.shape[1] - 1)
        index = cell // _PLACES
        c = shapes[index]
        # Given the end point scale^c is sum(z^c) over a Gamma(n) variable; the largest of m times
        # as many samples has the m-th part of it.
        log_power = posterior.log_sum[r].ravel()[cell] - log_gamma - math.log(growth)
        scale = np.exp(log_power / c)
        k = part.astype(np.int64).clip(0, distances.shape[1] - 2)
        before, after = distances[index, k], distances[index, k + 1]
        distance = before + (part - k) * (after - before)
        drawn[r] = posterior.end[r].ravel()[cell] - np.sign(c) * scale * distance
    return low + spread * drawn


def _posterior(y: Floats) -> _Posterior:
    """Evaluate the posterior without its prior, on sorted maxima [R, n] in units of their range."""
    n = y.shape[1]
    indices, _, _ = _tables()
    found = _Posterior(*(np.empty((len(y), len(indices), _PLACES)) for _ in range(3)))
    median, deviation = np.median(y, axis=1), y.std(axis=1)
    steps = np.linspace(0, 1, _PLACES)
    for i, index in enumerate(indices):
        c = -1 / index
        # The end point lies beyond the nearest maximum by exp(tau). Its distance from the median is
        # known up to a factor of about 1 +- 1/sqrt(n), from the standard deviation.
        gaps, nearest = (1 - y, 1 - median) if c > 0 else (y, median)
        per_deviation = _median_per_deviation(min(float(index), _WIDEST_INDEX))
        guess, factor = deviation * per_deviation, math.exp(_HALF_WIDTH / math.sqrt(n))
        first = np.log(np.maximum(guess / factor - nearest, 1e-3 / n))
        last = np.log(np.maximum(guess * factor - nearest, 0.3))
        tau = first[:, None] + (last - first)[:, None] * steps
        log_z = np.log(np.exp(tau)[:, :, None] + gaps[:, None, :])
        power = c * log_z
        top = power.max(axis=2)
        log_sum = np.log(np.exp(power - top[:, :, None]).sum(axis=2)) + top
        found.log_weight[:, i] = (
            (n - 1) * math.log(abs(c)) + (c - 1) * log_z.sum(axis=2) - n * log_sum
            + tau + np.log(last - first)[:, None]
        )  # fmt: skip
        found.log_sum[:, i] = log_sum
        found.end[:, i] = 1 + np.exp(tau) if c > 0 else -np.exp(tau)
    return found


def _median_per_deviation(index: float) -> float:
    """Distance of a law's median from its end point, over its standard deviation."""
    mean, square = math.gamma(1 - index), math.gamma(1 - 2 * index)
    return math.exp(-index * math.log(math.log(2.0))) / math.sqrt(square - mean**2)


def _weights(posterior: _Posterior, irregular: Bools) -> Floats:
    """Return the posterior's weights [R, X * G] under the prior that suits each row."""
    indices, _, _ = _tables()
    heavy = np.where(irregular, _SHARE_HEAVY_IRREGULAR, _SHARE_HEAVY)[:, None]
    prior = (1 - heavy) * _split_normal(indices, *_USUAL)
    prior += heavy * _split_normal(indices, *_HEAVY)
    log_weight = posterior.log_weight + np.log(prior)[:, :, None]
    log_weight -= log_weight.max(axis=(1, 2), keepdims=True)
    weight: Floats = np.exp(log_weight).reshape(len(prior), -1)
    return weight


def _split_normal(x: Floats, mode: float, left: float, right: float) -> Floats:
    density = np.exp(-0.5 * ((x - mode) / np.where(x < mode, left, right)) ** 2)
    normalised: Floats = density / density.sum()
    return normalised


@lru_cache(maxsize=64)
def _sequence(n: int) -> tuple[Floats, Floats, Floats]:
    """Return the draws' places in the posterior, log Gamma(n) variables, and places in the table.

    The last two by the low-discrepancy sequence of the plastic number, the Gamma variables by
    Wilson and Hilferty's cube of a normal one.
    """
    k = np.arange(_DRAWS)
    uniform = (0.5 + 0.7548776662466927 * k) % 1, (0.5 + 0.5698402909980532 * k) % 1
    normal = np.array([NormalDist().inv_cdf(min(max(u, 1e-4), 1 - 1e-4)) for u in uniform[0]])
    root = 1 - 1 / (9 * n) + normal / (3 * math.sqrt(n))
    log_gamma = math.log(n) + 3 * np.log(np.maximum(root, 0.05))
    return (k + 0.5) / _DRAWS, log_gamma, uniform[1] * _tables()[2].shape[2] - 0.5


@lru_cache(maxsize=1)
def _tables() -> tuple[Floats, Floats, Floats]:
    """Read indices [X], N_b [M], and quantiles [M, X, Q] of the location's distance from the end.

    In units of the scale, at the probabilities (k + 1/2) / Q.
    """
    with np.load(TABLES) as file:
        return file["indices"], file["n_batches"], file["distances"].astype(np.float64)


@lru_cache(maxsize=64)
def _distances(n_batches: int) -> Floats:
    """Return the quantiles [X, Q] for some N_b: linear in 1/sqrt(N_b), held at the table's ends."""
    _, nodes, values = _tables()
    place = np.interp(-1 / math.sqrt(n_batches), -1 / np.sqrt(nodes), np.arange(len(nodes)))
    i = min(int(place), len(nodes) - 2)
    found: Floats = values[i] + (place - i) * (values[i + 1] - values[i])
    return found
