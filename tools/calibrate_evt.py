"""Makes clever_ext/evt/evt_tables.npz: null laws of the fit's own statistics, by simulation.

Samples of true reverse Weibull laws (location 0, scale 1, a list of shapes) are fitted, and by
number of maxima N_b are tabulated

- the quantiles of sqrt(N_b) times the Kolmogorov-Smirnov distance to the fitted law, by *fitted*
  shape, all true shapes pooled. The distance is nearly independent of the true shape once the
  fitted one is given (the estimates are asymptotically sufficient), so that p-values read from
  this table are uniform whatever the true shape is, the penalty's pull on large ones included;
- the 97.5 % points of the root of the likelihood ratio of the true location, towards either side,
  by true shape, for the interval of the location.

With --report it makes no table but measures the fit as it is: the figures of docs/studies/fit-*.md.

Run: python tools/calibrate_evt.py [--repeats 25000] [--seed 1] [--report]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from clever_ext.evt.calibration import TABLES
from clever_ext.evt.likelihood import Array, maximise, profile, scale_and_distance
from clever_ext.evt.reverse_weibull import fit_reverse_weibull

SHAPES = (1, 1.12, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 14, 20, 30, 50, 100)
MAX_ROOT_SHAPE = 30  # the interval counts with shapes up to it: each further one widens it
N_BATCHES = (5, 7, 10, 14, 20, 35, 50, 100, 200, 500, 2000)
FITTED_SHAPES = (1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8.5, 10, 12, 14, 17, 20, 25, 30)
P_VALUES = (
    *(1.0, 0.999, 0.99, 0.975, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1),
    *(0.07, 0.05, 0.035, 0.025, 0.015, 0.01, 0.005, 0.003, 0.002, 0.001, 0.0005),
)
TAIL = 0.025  # outside the interval on either side
REPORT_SHAPES = (0.5, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
REPORT_N_BATCHES = (10, 20, 50, 100, 200, 500)
MIN_WINDOW = 4_000  # fits that a window of fitted shapes needs for its far quantiles


def simulate(
    shape: float, n: int, repeats: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Fitted log-shapes, sqrt(n) ks and signed roots at the true location, [repeats] each."""
    results = np.empty((3, repeats))
    step = max(1, (1 << 16) // n)
    for start in range(0, repeats, step):
        part = slice(start, min(start + step, repeats))
        maxima = np.sort(-rng.weibull(shape, size=(part.stop - start, n)), axis=-1)
        top, spread = maxima[:, -1], maxima[:, -1] - maxima[:, 0]
        gaps = (top[:, None] - maxima) / spread[:, None]
        best = maximise(gaps)
        ks = scale_and_distance(gaps, best.excess, np.exp(best.log_shape))[1]
        true = -top / spread
        start_shape = np.full(len(gaps), np.log(shape))
        value, _ = profile(gaps, np.log(true), start_shape, 8, best.work)
        root = np.sqrt(2 * n * np.maximum(best.value - value, 0.0))
        results[:, part] = best.log_shape, ks * np.sqrt(n), np.copysign(root, best.excess - true)
    return results[0], results[1], results[2]


def root_bounds(root: Array) -> tuple[float, float]:
    """Bounds at the lower and the upper end of the interval, from signed roots at the truth."""
    # Fits above the truth put it at their lower end, and the other way round. Never negative: the
    # interval holds the fitted location.
    return max(np.quantile(root, 1 - TAIL), 0.0), max(-np.quantile(root, TAIL), 0.0)


def distance_quantiles(log_shape: Array, distance: Array) -> Array:
    """Quantiles [fitted shape, p-value] of the distances of fits with about that fitted shape."""
    nodes = np.log(FITTED_SHAPES)
    table = np.empty((len(nodes), len(P_VALUES)))
    edges = np.concatenate([[0.0], (nodes[1:-1] + nodes[2:]) / 2, [np.inf]])
    for i in range(len(nodes)):
        # The first node is an atom: the fits whose likelihood rises to the largest maximum.
        inside = log_shape <= 0 if i == 0 else (log_shape > edges[i - 1]) & (log_shape <= edges[i])
        if inside.sum() < MIN_WINDOW and i > 0:
            table[i] = table[i - 1]  # out of reach at this N_b: the last window within it stands in
        else:
            table[i] = np.quantile(distance[inside], 1 - np.asarray(P_VALUES))
    table[:, 0] = 0.0
    return table


def report(repeats: int, seed: int) -> None:
    """Prints bias, coverage and p-values over true shapes and N_b, as rows of Markdown."""
    print("| N_b | shape | bias | quartiles | interval | covers | below | above | p < .05 | ok |")
    print("| --- " * 10 + "|")
    for n in REPORT_N_BATCHES:
        for shape in REPORT_SHAPES:
            rng = np.random.default_rng([seed, n, int(100 * shape)])
            fit = fit_reverse_weibull(-rng.weibull(shape, size=(repeats, n)))
            unit = np.log(2) ** (1 / shape)  # from the law's median to its end point, 0
            low, mid, high = np.quantile(fit.location, (0.25, 0.5, 0.75)) / unit
            width = np.median(fit.ci_high - fit.ci_low) / unit
            # The true end point lies below the interval, or above it.
            below, above = (fit.ci_low > 0).mean(), (fit.ci_high < 0).mean()
            cells = f"{mid:+.3f} | {low:+.2f}, {high:+.2f} | {width:.2f}"
            shares = (1 - below - above, below, above, (fit.p_value < 0.05).mean())
            percent = " | ".join(f"{100 * x:.1f}" for x in (*shares, (fit.status == "ok").mean()))
            print(f"| {n} | {shape:g} | {cells} | {percent} |", flush=True)


def calibrate(most: int, seed: int) -> None:
    """Simulates every cell, with at most `most` samples, and writes the tables."""
    root_shapes = [shape for shape in SHAPES if shape <= MAX_ROOT_SHAPE]
    distances = np.empty((len(N_BATCHES), len(FITTED_SHAPES), len(P_VALUES)))
    roots = np.empty((len(N_BATCHES), len(root_shapes), 2))
    for i, n in enumerate(N_BATCHES):
        begin = time.perf_counter()
        repeats = min(most, max(most // 5, most * 500 // n))
        fits = [
            simulate(shape, n, repeats, np.random.default_rng([seed, i, j]))
            for j, shape in enumerate(SHAPES)
        ]
        roots[i] = [root_bounds(root) for _, _, root in fits[: len(root_shapes)]]
        distances[i] = distance_quantiles(*(np.concatenate([f[k] for f in fits]) for k in (0, 1)))
        print(
            f"N_b {n:5d}: {repeats} fits a shape, {time.perf_counter() - begin:.0f} s", flush=True
        )
    np.savez_compressed(
        TABLES,
        n_batches=np.asarray(N_BATCHES),
        p_values=np.asarray(P_VALUES),
        distance_shapes=np.asarray(FITTED_SHAPES),
        distance_quantiles=distances.round(4),  # far below their simulation error
        root_shapes=np.asarray(root_shapes),
        root_quantiles=roots.round(4),
    )


def main() -> None:
    """Makes the tables, or the report."""
    parser = argparse.ArgumentParser(description="Makes the tables of the reverse Weibull fit.")
    parser.add_argument("--repeats", type=int, default=25_000, help="samples per cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="measure instead of tabulating")
    args = parser.parse_args()
    if args.report:
        report(args.repeats, args.seed)
    else:
        calibrate(args.repeats, args.seed)


if __name__ == "__main__":
    main()
