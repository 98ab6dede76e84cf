"""How scores stand to a truth: distances of nearest flips, exact radii, verified ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: A score is near the truth within the first share of it, and above it by more than the second: as
#: far as attacks stop short of the boundary, and rounding reaches.
NEAR, ABOVE = 0.05, 1e-3
#: Pictures that a rank correlation needs.
_FEWEST = 3


@dataclass(frozen=True)
class Against:
    """Scores of pictures against their truth.

    Attributes:
        n: Pictures that have both.
        above: Of how many the score is above the truth, by more than 0.1 %: it promises more than
            is true.
        near: Of how many it is within 5 % of the truth.
        ratio: Median of score / truth.
        low: The smallest of these ratios ...
        high: ... and the largest.
        spearman: Rank correlation of score and truth; NaN of fewer than 3 pictures.
    """

    n: int
    above: int
    near: int
    ratio: float
    low: float
    high: float
    spearman: float


def against(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Against:
    """Hold scores against a truth; pictures that lack one of them are left out.

    Args:
        scores: [N]; NaN: there is none.
        truth: [N], distances; 0, infinite or NaN: it is not known.

    >>> against([1.0, 2.5, 2.9, 9.0], [2.0, 2.5, 2.0, float("inf")])
    Against(n=3, above=1, near=1, ratio=1.0, low=0.5, high=1.45, spearman=0.0)
    """
    s, t = (np.asarray(each, dtype=np.float64) for each in (scores, truth))
    known = ~np.isnan(s) & np.isfinite(t) & (t > 0)
    s, t = s[known], t[known]
    if not len(s):
        return Against(0, 0, 0, *[float("nan")] * 4)
    ratios = s / t
    return Against(
        len(s),
        int((ratios > 1 + ABOVE).sum()),
        int((abs(ratios - 1) <= NEAR).sum()),
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
        _spearman(s, t),
    )


def _spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    if len(a) < _FEWEST or (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    return float(spearmanr(a, b).statistic)
