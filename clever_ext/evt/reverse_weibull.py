"""Fit of the reverse Weibull law to batch maxima: the end point of the gradient norms.

The batch maxima S_1..S_Nb follow, for large batches, F(x) = exp(-((a - x) / scale)^c) for x <= a,
with location a, scale and shape c (Weng et al. 2018, arXiv:1801.10578, section 4.1).
likelihood.py finds the law, calibration.py tells how well it fits and how far off it may be.
The measured bias and coverage: docs/studies/fit-location.md and docs/studies/fit-interval.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from .calibration import interval, p_value
from .likelihood import PENALTY, Array, maximise, scale_and_distance

REJECT_BELOW = 1e-3  # p-values below it turn the fit down

_CHUNK = 1 << 16  # maxima worked on at once: their temporaries stay in the level-2 cache
_HUGE = np.finfo(np.float64).max


@dataclass(frozen=True)
class ReverseWeibullFit:
    """The fitted laws, one per sample of maxima; every field has the leading shape [...].

    Attributes:
        location: End point a, in the units of the maxima; never below the largest maximum.
        scale: Scale, in the units of the maxima; 0 where all maxima are equal.
        shape: Shape c >= 1; infinite where all maxima are equal (the law is a point mass).
        log_likelihood: Sum of the log-densities of the maxima in their own units, the penalty left
            out; infinite where all maxima are equal.
        ks: Kolmogorov-Smirnov distance between the maxima and the fitted law.
        p_value: P(a distance at least this large) under a reverse Weibull law fitted the same way.
        ci_low: Lower end of the 95 % interval of the location; at least the largest maximum.
        ci_high: Upper end of it, always finite.
        status: "ok"; "degenerate" (all maxima equal: the location is that value); "max-fallback"
            (p_value < 0.001, or the likelihood rises all the way to the largest maximum: that
            maximum is the location and ci_low; the other fields, ci_high among them, describe the
            optimum that was turned down); "non-finite" (one is NaN or infinite: all fields NaN).
    """

    location: Array
    scale: Array
    shape: Array
    log_likelihood: Array
    ks: Array
    p_value: Array
    ci_low: Array
    ci_high: Array
    status: npt.NDArray[np.str_]

    def rows(self, which: Any) -> ReverseWeibullFit:
        """Return some of the samples' fits, by an index into the leading dimension."""
        return ReverseWeibullFit(*(getattr(self, f.name)[which] for f in fields(self)))

    @classmethod
    def concatenate(cls, fits: Sequence[ReverseWeibullFit]) -> ReverseWeibullFit:
        """Join fits along the leading dimension."""
        names = [f.name for f in fields(cls)]
        return cls(*(np.concatenate([getattr(fit, name) for fit in fits]) for name in names))


def fit_reverse_weibull(maxima: npt.ArrayLike) -> ReverseWeibullFit:
    """Fits a reverse Weibull law to each sample of batch maxima.

    Maximises the log-likelihood minus 0.01 shape^2 over shape >= 1, on maxima shifted and scaled
    to their range (Weng et al. 2018, arXiv:1801.10578, and their code's choices). Samples are
    independent of each other: fitted together or alone, the numbers are the same.

    Args:
        maxima: [..., N_b] with N_b >= 2, real numbers: an array, a tensor or nested sequences.

    Returns:
        ReverseWeibullFit whose fields have the shape [...]; location, scale and the interval are
        in the units of the maxima.

    Raises:
        CleverError: `maxima` is not numeric, is complex, has no axis or N_b < 2. Values never
            raise: see `ReverseWeibullFit.status`.

    Example:
        >>> import numpy as np
        >>> maxima = 10.0 - np.random.default_rng(0).weibull(4.0, size=(2, 500))
        >>> fit = fit_reverse_weibull(maxima)
        >>> fit.status.tolist(), bool((fit.ci_low < 10).all() and (fit.ci_high > 10).all())
        (['ok', 'ok'], True)
    """
    samples = _as_samples(maxima)
    lead, n = samples.shape[:-1], samples.shape[-1]
    rows = samples.reshape(math.prod(lead), n)
    numbers = np.full((8, len(rows)), np.nan)
    status = np.full(len(rows), "non-finite", dtype="<U12")
    low, high = rows.min(axis=-1), rows.max(axis=-1)  # NaN where there is one: no comparison holds
    finite = np.isfinite(low) & np.isfinite(high)
    same = finite & (low == high)
    numbers[1:6, same] = [[0.0], [np.inf], [np.inf], [0.0], [1.0]]
    numbers[np.ix_([0, 6, 7], same)] = high[same]
    status[same] = "degenerate"
    varied = np.flatnonzero(finite & ~same)
    step = max(1, _CHUNK // n)
    for start in range(0, len(varied), step):
        part = varied[start : start + step]
        with np.errstate(under="ignore"):  # powers and p-values may be as good as 0
            numbers[:, part], status[part] = _fit_varied(rows[part])
    fields: list[Any] = [x.reshape(lead) for x in (*numbers, status)]
    return ReverseWeibullFit(*fields)


def _as_samples(maxima: Any) -> Array:
    """Converts to float64 [..., N_b]; tensors are recognised by their methods, without torch."""
    if hasattr(maxima, "detach"):
        maxima = maxima.detach().cpu()
        if maxima.is_floating_point():
            maxima = maxima.double()  # NumPy has no bfloat16
        maxima = maxima.numpy()
    expected = "an array [..., N_b] of real numbers with N_b >= 2"
    fix = "pass the batch maxima themselves, one sample along the last axis"
    try:
        array = np.asarray(maxima)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CleverError(f"maxima cannot be read as an array ({error})", expected, fix) from error
    if array.dtype.kind not in "iuf":
        raise CleverError(f"maxima have dtype {array.dtype}", expected, fix)
    if array.ndim == 0 or array.shape[-1] < 2:
        raise CleverError(f"maxima have shape {list(array.shape)}", expected, fix)
    with np.errstate(over="ignore"):  # a wider type's finite value may be infinite here
        return array.astype(np.float64, copy=False)


def _fit_varied(rows: Array) -> tuple[Array, npt.NDArray[np.str_]]:
    """Fits finite rows [M, N_b], none constant: the number fields [8, M] and the status [M]."""
    n = rows.shape[-1]
    rows = np.sort(rows, axis=-1)  # also makes every sum independent of the order of the maxima
    # A power of two brings the magnitudes to 1 without rounding: no overflow, no denormals.
    largest = rows[:, -1]
    exponent = np.frexp(np.maximum(-rows[:, 0], largest))[1]
    rows = np.ldexp(rows, -exponent[:, None])
    top = rows[:, -1]
    spread = top - rows[:, 0]
    gaps = (top[:, None] - rows) / spread[:, None]
    best = maximise(gaps)
    shape = np.exp(best.log_shape)
    log_scale, ks = scale_and_distance(gaps, best.excess, shape)
    p = p_value(ks * np.sqrt(n), best.log_shape, n)
    low, high = interval(gaps, best, upper=False), interval(gaps, best, upper=True)
    kept = (best.excess > 0) & (p >= REJECT_BELOW)

    def to_units(value: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.minimum(np.ldexp(value, exponent), _HUGE)

    def place(excess: Array) -> Array:  # scaling may have rounded the largest maximum
        return np.where(excess > 0, np.maximum(to_units(top + excess * spread), largest), largest)

    log_unit = np.log(spread) + exponent * np.log(2.0)
    numbers = [
        place(np.where(kept, best.excess, 0.0)),
        to_units(np.exp(log_scale) * spread),
        shape,
        n * (best.value - log_unit) + PENALTY * shape**2,
        ks,
        p,
        place(np.where(kept, low, 0.0)),
        place(high),
    ]
    return np.stack(numbers), np.where(kept, "ok", "max-fallback")
