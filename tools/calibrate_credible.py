"""Tabulates bias and scatter of the penalised location, for clever_ext.credible; half a minute.

python tools/calibrate_credible.py
"""

from __future__ import annotations

import numpy as np

from clever_ext.credible import TABLES
from clever_ext.evt import fit_reverse_weibull

N_BATCHES = (25, 100, 500)
SHAPES = np.array([1.0, 1.5, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 42, 60])
REPEATS = 400


def main() -> None:
    """Simulate, and write the table."""
    rng = np.random.default_rng(0)
    bias, scatter = np.empty((2, len(N_BATCHES), len(SHAPES)))
    for i, n in enumerate(N_BATCHES):
        for j, shape in enumerate(SHAPES):
            found = fit_reverse_weibull(-rng.weibull(shape, size=(REPEATS, n))).location
            bias[i, j], scatter[i, j] = found.mean(), found.std()
    np.savez(TABLES, n_batches=N_BATCHES, shapes=SHAPES, bias=bias, scatter=scatter)
    print(np.round(bias, 3), np.round(scatter, 3), sep="\n")


if __name__ == "__main__":
    main()
