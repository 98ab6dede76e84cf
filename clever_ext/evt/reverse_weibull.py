"""Fit of the reverse Weibull law to batch maxima: the end point of the gradient norms.

The batch maxima S_1..S_Nb follow, for large batches, F(x) = exp(-((a - x) / scale)^c) for x <= a,
with location a, scale and shape c (Weng et al. 2018, arXiv:1801.10578, section 4.1). In units of
their range, y = (S - min) / (max - min), the penalised log-likelihood

    l(a, scale, c) - 0.01 c^2,   c >= 1

is maximised by its profile over the location. With t = a - 1 and d_i = a - y_i, the best scale at
a fixed (a, c) is scale^c = mean(d_i^c), and the best shape at a fixed a is the root of a decreasing
function, so that one dimension is left: tau = log t. A grid over it finds every hill, Newton's
method climbs the highest one.

For c < 1 the likelihood is unbounded as a comes down to max S, hence the bound (Smith 1985). At
c = 1 it has a finite supremum, at a = max S: that boundary point is compared with the interior
optimum, and where it wins there is no fit. The measured bias and coverage:
docs/studies/fit-location.md and docs/studies/fit-interval.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import CleverError

Array = npt.NDArray[np.float64]

PENALTY = 0.01  # of the squared shape, against the sum of the log-densities
REJECT_BELOW = 1e-3  # p-values below it turn the fit down
TABLES = Path(__file__).with_name("evt_tables.npz")

_CHUNK = 1 << 16  # maxima worked on at once: their temporaries stay in the level-2 cache
_GRID_POINTS = 28
_GRID_TOP = 30.0  # ranges; the penalty keeps every optimum far below it
_NEWTON_STEPS = 6
_CROSSING_STEPS = 7
_HUGE = np.finfo(np.float64).max
_MAX_LOG_SHAPE = 8.0  # a guard of exp(); the penalty alone costs 90,000 nats there


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


class _Optimum(NamedTuple):
    """Optima of M samples, in units of the range: arrays [M], and the grid they came from."""

    excess: Array  # t = a - max, 0 at the boundary
    log_shape: Array
    value: Array  # penalised log-likelihood per maximum
    grid: Array  # tau, [G]
    grid_values: Array  # profile over the grid, [G, M]
    grid_log_shapes: Array
    work: Array  # see profile()


def fit_reverse_weibull(maxima: Any) -> ReverseWeibullFit:
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
    p_value = _p_value(ks * np.sqrt(n), best.log_shape, n)
    low, high = _interval(gaps, best, upper=False), _interval(gaps, best, upper=True)
    kept = (best.excess > 0) & (p_value >= REJECT_BELOW)

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
        p_value,
        place(np.where(kept, low, 0.0)),
        place(high),
    ]
    return np.stack(numbers), np.where(kept, "ok", "max-fallback")


def maximise(gaps: Array) -> _Optimum:
    """Finds the global optimum of the penalised likelihood of samples in units of their range.

    Args:
        gaps: [M, N_b], (max - S) / (max - min), so that each row has a 0 and a 1.

    Returns:
        The optima; `excess` is 0 where the boundary (location = max, shape = 1) is the best.
    """
    n = gaps.shape[-1]
    grid = np.linspace(np.log(1e-3 / n), np.log(_GRID_TOP), _GRID_POINTS)
    work = np.empty((3, *gaps.shape))
    values, log_shapes = _scan(gaps, grid, work)
    # The peaks of the parabolas through each local maximum of the grid and its two neighbours.
    left, mid, right = values[:-2], values[1:-1], values[2:]
    hill = (mid > left) & (mid >= right)
    shift = 0.5 * (right - left) / np.where(hill, 2 * mid - left - right, np.inf)
    height = np.where(hill, mid + (right - left) * shift / 4, -np.inf)
    pick, column = height.argmax(axis=0), np.arange(len(gaps))
    found, shift = hill[pick, column], shift[pick, column]
    tau = grid[pick + 1] + shift * (grid[1] - grid[0])
    log_shape = log_shapes[pick + 1, column]
    log_shape += shift * (log_shapes[pick + 2, column] - log_shapes[pick, column]) / 2
    tau, log_shape, value = _climb(gaps, tau, log_shape, grid[pick], grid[pick + 2], work)
    boundary = -np.log(gaps.mean(axis=-1)) - 1 - PENALTY / n
    interior = found & (value > boundary) & (log_shape > 0)
    excess, log_shape = np.where(interior, [np.exp(tau), log_shape], 0.0)
    value = np.where(interior, value, boundary)
    return _Optimum(excess, log_shape, value, grid, values, log_shapes, work)


def _scan(gaps: Array, grid: Array, work: Array) -> tuple[Array, Array]:
    """Profile likelihood and best log-shape over the grid of tau: two arrays [G, M]."""
    values = np.empty((len(grid), len(gaps)))
    log_shapes = np.empty_like(values)
    start = np.zeros(len(gaps))
    for i, tau in enumerate(grid):
        # The best shape grows smoothly with tau: two former points give a close start.
        place = np.full(len(gaps), tau)
        values[i], log_shapes[i] = profile(gaps, place, start, 8 if i == 0 else 2, work)
        start = log_shapes[i] + (log_shapes[i] - log_shapes[i - 1] if i else 0.0)
    return values, log_shapes


def profile(
    gaps: Array, tau: Array, log_shape: Array, steps: int, work: Array
) -> tuple[Array, Array]:
    """Best penalised log-likelihood per maximum, over scale and shape, at a fixed location.

    Args:
        gaps: [M, N_b], (max - S) / (max - min).
        tau: [M], log of (location - max) in units of the range.
        log_shape: [M], where the search for the shape starts.
        steps: Newton steps; the value's error is cubic in the last of them.
        work: [3, M, N_b], scratch: fresh memory for every call would cost as much as the sums.

    Returns:
        The value and its log-shape, [M] each.
    """
    n = gaps.shape[-1]
    t = np.exp(tau)[:, None]
    log_d, power, _ = work
    np.divide(np.add(t, gaps, out=log_d), 1 + t, out=log_d)  # at most 1: no power overflows
    np.log(log_d, out=log_d)
    mean_log = log_d.mean(axis=-1)
    v = np.clip(log_shape, 0.0, _MAX_LOG_SHAPE)
    for _ in range(steps):
        c = np.exp(v)
        np.exp(np.multiply(c[:, None], log_d, out=power), out=power)
        total = power.sum(axis=-1)
        power *= log_d
        first = power.sum(axis=-1) / total
        second = np.einsum("ij,ij->i", power, log_d) / total
        penalty = PENALTY / n * c**2
        value = v - np.log(total / n) + (c - 1) * mean_log - 1 - np.log1p(t[:, 0]) - penalty
        gradient = 1 + c * (mean_log - first) - 2 * penalty
        curvature = c * (mean_log - first) - c**2 * (second - first**2) - 4 * penalty
        move = np.clip(v + np.clip(-gradient / curvature, -1, 1), 0.0, _MAX_LOG_SHAPE) - v
        value = value + gradient * move + 0.5 * curvature * move**2
        v = v + move
    return value, v


def _climb(
    gaps: Array, tau: Array, v: Array, low: Array, high: Array, work: Array
) -> tuple[Array, Array, Array]:
    """Newton's method on (tau, log-shape) within brackets; returns tau, log-shape and value."""
    n = gaps.shape[-1]
    log_d, weight, ratio = work
    for _ in range(_NEWTON_STEPS):
        t, c = np.exp(tau)[:, None], np.exp(v)
        np.add(t, gaps, out=log_d)
        np.divide(t, log_d, out=ratio)  # its derivative by tau is ratio - ratio^2
        log_d /= 1 + t
        np.log(log_d, out=log_d)
        np.exp(np.multiply(c[:, None], log_d, out=weight), out=weight)
        weight /= weight.sum(axis=-1)[:, None]
        r, l = (np.einsum("ij,ij->i", weight, x) for x in (ratio, log_d))
        pairs = (ratio, ratio), (ratio, log_d), (log_d, log_d)
        rr, rl, ll = (np.einsum("ij,ij,ij->i", weight, x, y) for x, y in pairs)
        mean_r, mean_l = ratio.mean(axis=-1), log_d.mean(axis=-1)
        mean_rr = np.einsum("ij,ij->i", ratio, ratio) / n
        penalty = PENALTY / n * c**2
        by_tau = (c - 1) * mean_r - c * r
        by_v = 1 + c * (mean_l - l) - 2 * penalty
        tau_tau = (c - 1) * (mean_r - mean_rr) - c * (r - rr) - c**2 * (rr - r**2)
        tau_v = c * (mean_r - r - c * (rl - r * l))
        v_v = c * (mean_l - l) - c**2 * (ll - l**2) - 4 * penalty
        bound = (v <= 0) & (by_v <= 0)  # the shape stays at 1: the profile moves with tau alone
        slope = np.where(bound, by_tau, by_tau - tau_v * by_v / v_v)
        bend = np.where(bound, tau_tau, tau_tau - tau_v**2 / v_v)
        # Where the profile bends up, or Newton goes far, half the way to the bracket's end.
        aim = tau - slope / np.where(bend < 0, bend, np.copysign(1e-300, -slope))
        new = np.clip(aim, (tau + low) / 2, (tau + high) / 2)
        v = np.clip(v - np.clip((by_v + tau_v * (new - tau)) / v_v, -1, 1), 0.0, _MAX_LOG_SHAPE)
        tau = new
    value, v = profile(gaps, tau, v, 2, work)
    return tau, v, value


def scale_and_distance(gaps: Array, excess: Array, shape: Array) -> tuple[Array, Array]:
    """Log-scale in units of the range, and the Kolmogorov-Smirnov distance; [M] each."""
    n = gaps.shape[-1]
    t = excess[:, None]
    power = ((t + gaps) / (1 + t)) ** shape[:, None]
    mean = power.mean(axis=-1)
    law = np.exp(-power / mean[:, None])  # ascending, for the gaps of sorted maxima descend
    steps = np.arange(n + 1) / n
    ks = np.maximum((steps[1:] - law).max(axis=-1), (law - steps[:-1]).max(axis=-1))
    return np.log1p(excess) + np.log(mean) / shape, ks


def _interval(gaps: Array, best: _Optimum, upper: bool) -> Array:
    """End of the 95 % interval of the location, as excess over the largest maximum, [M].

    A location is outside if the root of its likelihood ratio passes the 97.5 % point that this root
    has under the law fitted with that location held. The calibration so needs no guess of the true
    shape: with the location given, the shape is known to a few per cent.
    """
    n = gaps.shape[-1]
    given_shapes, bounds, _ = _table("root", n)
    away = slice(None, None, 1 if upper else -1)  # the peak comes before the end that is sought
    grid, values, log_shapes = best.grid[away], best.grid_values[away], best.grid_log_shapes[away]
    with np.errstate(divide="ignore"):
        peak = np.log(best.excess)

    def outside(value: Array, log_shape: Array) -> Array:
        root: Array = np.sqrt(2 * n * np.maximum(best.value - value, 0.0))
        return root - np.interp(log_shape, given_shapes, bounds[:, int(upper)])

    beyond = outside(values, log_shapes)
    side = grid[:, None] > peak if upper else grid[:, None] < peak
    crossed = side & (beyond > 0)
    far, column = crossed.argmax(axis=0), np.arange(len(gaps))
    near = np.maximum(far - 1, 0)
    from_peak = ~side[near, column] & np.isfinite(peak)  # no grid point between the two
    x0 = np.where(from_peak, peak, grid[near])
    v0 = np.where(from_peak, best.log_shape, log_shapes[near, column])
    f0 = np.where(from_peak, outside(best.value, best.log_shape), beyond[near, column])
    x1, v1, f1 = grid[far], log_shapes[far, column], beyond[far, column]
    for _ in range(_CROSSING_STEPS):  # regula falsi, the end that stays halved
        part = f1 / np.where(f1 > f0, f1 - f0, np.inf)
        x = x1 - part * (x1 - x0)
        value, v = profile(gaps, x, v1 - part * (v1 - v0), 2, best.work)
        f = outside(value, v)
        out = f > 0
        x0, v0, f0 = np.where(out, [x0, v0, f0 / 2], [x, v, f])
        x1, v1, f1 = np.where(out, [x, v, f], [x1, v1, f1 / 2])
    return np.where(crossed.any(axis=0), np.exp(x), _GRID_TOP if upper else 0.0)


@lru_cache(maxsize=256)
def _table(name: str, n: int) -> tuple[Array, Array, Array]:
    """A table of tools/calibrate_evt.py for n maxima: over 1/sqrt(n) linear, held at its ends.

    Args:
        name: "distance": quantiles of sqrt(n) ks by fitted shape, [F, P]; or "root": 97.5 % points
            of the likelihood root at the lower and upper end of the interval, [F, 2].
        n: Number of maxima.

    Returns:
        The log-shapes [F], the table, and log p of its quantiles, descending.
    """
    with np.load(TABLES) as file:
        log_shapes, values = np.log(file[f"{name}_shapes"]), file[f"{name}_quantiles"]
        nodes, log_p = 1 / np.sqrt(file["n_batches"]), np.log(file["p_values"])
    place = np.interp(-1 / np.sqrt(n), -nodes, np.arange(len(nodes)))
    i = min(int(place), len(nodes) - 2)
    return log_shapes, values[i] + (place - i) * (values[i + 1] - values[i]), log_p


def _p_value(distance: Array, log_shape: Array, n: int) -> Array:
    """P(sqrt(n) ks >= distance) given the fitted shape, [M]; log p is linear in its square."""
    fitted, distances, log_p = _table("distance", n)
    v = np.clip(log_shape, fitted[0], fitted[-1])
    i = np.clip(np.searchsorted(fitted, v, side="right") - 1, 0, len(fitted) - 2)
    i = np.where((i == 0) & (v > 0), 1, i)  # the first row is for shape = 1 alone
    part = np.maximum((v - fitted[i]) / (fitted[i + 1] - fitted[i]), 0.0)[:, None]
    squares = ((1 - part) * distances[i] + part * distances[i + 1]) ** 2
    k = np.clip((squares < distance[:, None] ** 2).sum(axis=-1), 1, squares.shape[-1] - 1)
    below, above = (squares[np.arange(len(k)), j] for j in (k - 1, k))
    # Past the last quantile the part exceeds 1: the tail goes on at its last slope.
    part = np.maximum(distance**2 - below, 0.0) / np.maximum(above - below, 1e-9)
    result: Array = np.exp(log_p[k - 1] + part * (log_p[k] - log_p[k - 1]))
    return result
