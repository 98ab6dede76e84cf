"""Makes clever_ext/evt/credible_tables.npz: how the paper's estimate scatters under known laws.

Batch maxima of standard laws of every sign of the extreme value index are drawn, the penalised
location is fitted to N_b of them as `clever_score` does, largest-maximum fallback included, and its
quantiles are tabulated. About two minutes on one core:

    python tools/calibrate_credible.py
"""

from __future__ import annotations

import argparse

import numpy as np

from clever_ext.evt.credible import TABLES
from clever_ext.evt.reverse_weibull import fit_reverse_weibull

#: Extreme value indices -1 / shape; 0, the limit without a shape, is left out.
INDICES = np.round(np.arange(-0.795, 0.6, 0.03), 3)
N_BATCHES = np.array([50, 100, 200, 500])
PROBABILITIES = (np.arange(64) + 0.5) / 64


def main() -> None:
    """Simulate and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    quantiles = np.empty((len(N_BATCHES), len(INDICES), len(PROBABILITIES)))
    for n, n_batches in enumerate(N_BATCHES):
        drawn = rng.exponential(size=(args.repeats, n_batches))
        for i, index in enumerate(INDICES):
            # End point 0 and scale 1: the upper one for a negative index, else the lower one.
            distance = drawn**-index
            location = fit_reverse_weibull(np.copysign(distance, index)).location
            quantiles[n, i] = np.quantile(np.copysign(1.0, index) * location, PROBABILITIES)
        print(f"N_b = {n_batches}: done", flush=True)
    np.savez_compressed(
        TABLES,
        indices=INDICES,
        n_batches=N_BATCHES,
        distances=quantiles.astype(np.float32),
    )


if __name__ == "__main__":
    main()
