"""Scores of pictures held against distances that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from bracket import rounded
from scipy.stats import spearmanr
from side_by_side import quantity, share

Floats = npt.NDArray[np.float64]

#: An upper end within so many times the nearest flip's distance is near.
_NEAR = 1.05
#: Roundings of distances: networks are scored in float32 and solved in float64.
_SAME = 1e-5


@dataclass(frozen=True)
class Known:
    """Distances of nearest flips [N]: of one that was found, and the proven bound of all."""

    distance: Floats
    bound: Floats


def ends(
    lower: Floats, upper: Floats, known: Known, case: str, counts: bool
) -> list[dict[str, Any]]:
    """Hold both ends [N] of brackets against what is known; `counts`: with targets."""
    holds = (lower <= known.distance * (1 + _SAME)) & (upper >= known.bound * (1 - _SAME))
    near = upper <= _NEAR * known.distance
    return [
        share("exact between the ends", case, 0.97 if counts else None, holds,
              exact=rounded(known.distance), upper=rounded(upper)),
        share("upper at least exact", case, 1.0, upper >= known.bound * (1 - _SAME)),
        share("upper within 5 %", case, 0.9 if counts else None, near),
        quantity("upper / exact", case, None, upper / known.distance),
        *scores(lower, known, case),
    ]  # fmt: skip


def scores(score: Floats, known: Known, case: str) -> list[dict[str, Any]]:
    """Hold scores [N] against what is known."""
    ranks = np.array([spearmanr(score, known.distance).statistic])
    return [
        share("score above exact", case, None, score > known.distance * (1 + _SAME),
              exact=rounded(known.distance), score=rounded(score)),
        quantity("score / exact", case, None, score / known.distance),
        quantity("rank correlation", case, None, ranks),
    ]  # fmt: skip
