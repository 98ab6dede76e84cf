"""Intervals and p-values of a fit, by the tables of tools/calibrate_evt.py.

The tables hold, by number of maxima and shape, the quantiles that the fit's own statistics have in
samples of true reverse Weibull laws; docs/studies/fit-interval.md has the measured coverage.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from .likelihood import GRID_TOP, Array, Optimum, profile

TABLES = Path(__file__).with_name("evt_tables.npz")

_CROSSING_STEPS = 7


def interval(gaps: Array, best: Optimum, upper: bool) -> Array:
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
    return np.where(crossed.any(axis=0), np.exp(x), GRID_TOP if upper else 0.0)


def p_value(distance: Array, log_shape: Array, n: int) -> Array:
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
