"""The penalised likelihood of the reverse Weibull law, and its optimum.

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
optimum, and where it wins there is no fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PENALTY = 0.01  # of the squared shape, against the sum of the log-densities
GRID_TOP = 30.0  # ranges; the penalty keeps every optimum far below it

_GRID_POINTS = 28
_NEWTON_STEPS = 6
_MAX_LOG_SHAPE = 8.0  # a guard of exp(); the penalty alone costs 90,000 nats there


class Optimum(NamedTuple):
    """Optima of M samples, in units of the range: arrays [M], and the grid they came from."""

    excess: Array  # t = a - max, 0 at the boundary
    log_shape: Array
    value: Array  # penalised log-likelihood per maximum
    grid: Array  # tau, [G]
    grid_values: Array  # profile over the grid, [G, M]
    grid_log_shapes: Array
    work: Array  # see profile()


def maximise(gaps: Array) -> Optimum:
    """Finds the global optimum of the penalised likelihood of samples in units of their range.

    Args:
        gaps: [M, N_b], (max - S) / (max - min), so that each row has a 0 and a 1.

    Returns:
        The optima; `excess` is 0 where the boundary (location = max, shape = 1) is the best.
    """
    n = gaps.shape[-1]
    grid = np.linspace(np.log(1e-3 / n), np.log(GRID_TOP), _GRID_POINTS)
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
    return Optimum(excess, log_shape, value, grid, values, log_shapes, work)


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
