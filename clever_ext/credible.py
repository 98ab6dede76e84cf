"""What the paper's estimator would say after all its gradients, told from a few: with an interval.

The paper takes 500 batches of 1,024 samples. From n batch maxima the law's end point a, scale and
shape c have a posterior distribution, and each such law predicts what the penalised fit
(`clever_ext.evt`) of 500 maxima of 1,024 gives: a plus its scale times a bias and a scatter, which
depend on the shape and are tabulated by simulation. The estimate is the median of that prediction.

Priors: flat in the location and in the log of the scale, with which intervals would cover exactly
if the shape were known (right Haar measure of a location-scale family), and log-normal in the
shape: n maxima say little about it, and it decides how far the end point lies beyond them. The
scale is integrated in closed form: with d_i = a - S_i the posterior of (a, c) is

    c^(n-1) prod d_i^(c-1) (sum d_i^c)^(-n) prior(c).

A posterior does not change with the reason for which sampling stopped, so that looking again and
again is paid for: docs/adaptive.md has the coverage that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from .evt import REJECT_BELOW, ReverseWeibullFit, fit_reverse_weibull

Floats = npt.NDArray[np.float64]

#: The paper's number of batches and of samples in each.
PAPER_BATCHES, PAPER_SAMPLES = 500, 1024
#: Mean and deviation of the log of the shape.
PRIOR = (float(np.log(9.0)), 0.8)
#: Power that the likelihood is raised to: gradient norms follow the law in their upper tail alone,
#: and a likelihood taken at its word covers too little. Chosen on benchmarks/published.CHOOSING.
_TRUST = 0.7
#: Tables of tools/calibrate_credible.py.
TABLES = Path(__file__).with_name("credible_tables.npz")

_SHAPES = np.geomspace(1.0, 60.0, 28)
_EXCESSES = np.geomspace(1e-4, 300.0, 56)  # of the end point over the largest maximum, in ranges
_BISECTIONS = 40
_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Prediction:
    """Of the paper's location, [rows] each.

    Attributes:
        location: Median.
        low: Lower end of the interval; never below the largest maximum.
        high: Upper end.
        shape: Posterior mean of the shape (of its log).
    """

    location: Floats
    low: Floats
    high: Floats
    shape: Floats


@lru_cache
def _table(n_batches: int) -> tuple[Floats, Floats]:
    """Bias and scatter of the penalised location at _SHAPES, in scales of the maxima's law."""
    with np.load(TABLES) as file:
        known, log_shapes = file["n_batches"].tolist(), np.log(file["shapes"])
        bias, scatter = file["bias"], file["scatter"]
    row = known.index(n_batches)
    at = np.log(_SHAPES)
    return np.interp(at, log_shapes, bias[row]), np.interp(at, log_shapes, scatter[row])


def predict_location(
    maxima: Floats,
    batch_samples: int,
    confidence: float = 0.95,
    of_batches: int = PAPER_BATCHES,
    of_samples: int = PAPER_SAMPLES,
    prior: tuple[float, float] = PRIOR,
) -> Prediction:
    """Predict the location that a fit to more maxima gives.

    Args:
        maxima: [rows, n] finite ones, n of at least 5; rows are independent of each other.
        batch_samples: N_s, of how many samples each is the largest.
        confidence: Of the interval.
        of_batches: How many maxima the fit has that is predicted.
        of_samples: Of how many samples each of those is the largest.
        prior: Mean and deviation of the log of the shape.

    >>> import numpy as np
    >>> maxima = 10 - np.random.default_rng(0).weibull(6.0, size=(1, 40))
    >>> found = predict_location(maxima, 1024)
    >>> bool(found.low[0] < 10 < found.high[0])
    True
    """
    parts = [
        _predict(maxima[i : i + _ROWS_AT_ONCE], of_samples / batch_samples, confidence,
                 of_batches, prior)
        for i in range(0, len(maxima), _ROWS_AT_ONCE)
    ]  # fmt: skip
    return Prediction(*np.concatenate(parts, axis=1)) if parts else Prediction(*np.empty((4, 0)))


def predicted_fit(maxima: Floats, batch_samples: int, confidence: float) -> ReverseWeibullFit:
    """Fit maxima [rows, n], and put predictions in the place of the locations and their intervals.

    Where the law was rejected (p < 0.001) the largest norm stands in, as with all the batches; a
    sample that is too short for an interior optimum is no such case.
    """
    fit = fit_reverse_weibull(maxima)
    usable = (fit.status == "ok") | ((fit.status == "max-fallback") & (fit.p_value >= REJECT_BELOW))
    rows = np.flatnonzero(usable)
    found = predict_location(maxima[rows], batch_samples, confidence)
    location, low, high = fit.location.copy(), fit.ci_low.copy(), fit.ci_high.copy()
    location[rows], low[rows], high[rows] = found.location, found.low, found.high
    status = np.where(usable, "ok", fit.status)
    return replace(fit, location=location, ci_low=low, ci_high=high, status=status)


def _predict(
    maxima: Floats, growth: float, confidence: float, of_batches: int, prior: tuple[float, float]
) -> Floats:
    """Return location, low, high and shape, [4, rows]."""
    top = maxima.max(axis=1)
    spread = top - maxima.min(axis=1)
    same = spread <= 0
    gaps = (top[:, None] - maxima) / np.where(same, 1.0, spread)[:, None]
    weight, log_scale = _posterior(gaps, prior)
    bias, scatter = _table(of_batches)
    # The largest of m times as many samples has the same law with a scale of m^(-1/c).
    scale = np.exp(log_scale - np.log(growth) / _SHAPES)
    middle = _EXCESSES[None, :, None] + scale * bias
    quantiles = _quantiles(
        weight, middle, scale * scatter, (0.5 - confidence / 2, 0.5, 0.5 + confidence / 2)
    )
    low, location, high = np.where(same, 0.0, np.maximum(quantiles, 0.0)) * spread + top
    shape = np.exp((weight.sum(axis=1) * np.log(_SHAPES)).sum(axis=1))
    return np.stack([location, low, high, np.where(same, np.inf, shape)])


def _posterior(gaps: Floats, prior: tuple[float, float]) -> tuple[Floats, Floats]:
    """Weights over (row, excess, shape), and the log of the scale there, in ranges."""
    n = gaps.shape[1]
    log_d = np.log(_EXCESSES[None, :, None] + gaps[:, None, :])  # [rows, excesses, n]
    largest = log_d.max(axis=2, keepdims=True)
    total = log_d.sum(axis=2)
    log_t = np.empty((*total.shape, len(_SHAPES)))
    for i, c in enumerate(_SHAPES):
        powers = np.exp(c * (log_d - largest))
        log_t[:, :, i] = np.log(powers.sum(axis=2)) + c * largest[:, :, 0]
    log_c = np.log(_SHAPES)
    log_prior = -0.5 * ((log_c - prior[0]) / prior[1]) ** 2
    log_weight = (n - 1) * log_c + (_SHAPES - 1) * total[:, :, None] - n * log_t
    log_weight = _TRUST * log_weight + log_prior
    log_weight += np.log(_EXCESSES)[None, :, None]  # flat in the excess, on a grid of its log
    weight = np.exp(log_weight - log_weight.max(axis=(1, 2), keepdims=True))
    return weight / weight.sum(axis=(1, 2), keepdims=True), (log_t - np.log(n)) / _SHAPES


def _quantiles(weight: Floats, middle: Floats, scatter: Floats, p: tuple[float, ...]) -> Floats:
    """Quantiles [len(p), rows] of mixtures of normal laws."""
    found = np.empty((len(p), len(weight)))
    for i, share in enumerate(p):
        low = (middle - 8 * scatter).min(axis=(1, 2))
        high = (middle + 8 * scatter).max(axis=(1, 2))
        for _ in range(_BISECTIONS):
            at = (low + high) / 2
            z = (at[:, None, None] - middle) / np.maximum(scatter, 1e-12)
            below = (weight * torch.special.ndtr(torch.from_numpy(z)).numpy()).sum(axis=(1, 2))
            low, high = np.where(below < share, [at, high], [low, at])
        found[i] = (low + high) / 2
    return found
