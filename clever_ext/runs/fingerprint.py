"""What a model computes, by its logits at fixed points: other code may have the same weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..engine.engine import Engine
from ..inputs.batch import Batch
from ..kernels.balls import sample_lp_ball

#: Points, drawn by a seed of their own, and digits of a logit that are kept.
_POINTS, _SEED, _DIGITS = 2, 0x5EED, 7
#: How far logits may differ, relative to the largest, and be called rounding: by the number's type
#: on a CPU, and on a GPU, where convolutions in float32 may be made in TF32.
_ROUNDING = {
    "cpu": {"float64": 1e-6, "float32": 1e-4, "float16": 0.02, "bfloat16": 0.1},
    "cuda": {"float64": 1e-6, "float32": 0.02, "float16": 0.02, "bfloat16": 0.1},
}


def fingerprint(engine: Engine, batch: Batch) -> list[str]:
    """Return the logits at fixed points of [0, 1] in the images' shape, a line for each point."""
    center = torch.full_like(batch.images[0], 0.5)
    points = sample_lp_ball(center, _POINTS, math.inf, 0.5, seed=_SEED)
    with engine.running(points.device):
        logits = engine.own.oracle.logits(points).double().cpu().tolist()
    return [" ".join(f"{value:.{_DIGITS}g}" for value in row) for row in logits]


def difference(there: Sequence[str], here: Sequence[str], device: str, dtype: str) -> float | None:
    """Return by how much of the largest logit two fingerprints differ; None where it is rounding.

    Args:
        there: The one.
        here: The other.
        device: "cpu" or "cuda".
        dtype: Of the numbers.
    """
    a, b = (np.array([line.split() for line in lines], dtype=np.float64) for lines in (there, here))
    if a.shape != b.shape:
        return math.inf
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=math.inf))
    largest = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    share = float(off.max() / largest) if largest else float(off.max())
    return None if share <= _ROUNDING[device][dtype] else share
