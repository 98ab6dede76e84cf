"""Several runs side by side: differences of the scores of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .reading import Run
from .summary import mean_interval


@dataclass(frozen=True)
class Pair:
    """Two runs in one norm, over the images that have a score in both.

    Attributes:
        first: Name of the one run.
        second: Name of the other.
        norm: p.
        images: How many have a score in both.
        dropped: How many have one in one of the runs only.
        difference: Mean of second minus first; misclassified images count as 0.
        low: 95 % bootstrap interval of that mean ...
        high: ... and its upper end.
        higher: Share of the images whose score is higher in the second run.
    """

    first: str
    second: str
    norm: float
    images: int
    dropped: int
    difference: float
    low: float
    high: float
    higher: float


def compared(runs: Sequence[Run]) -> list[Pair]:
    """Compare each two runs in each norm that both have; nothing for a single run."""
    return [
        _pair(one, other, norm)
        for one, other in combinations(runs, 2)
        for norm in one.result.scores
        if norm in other.result.scores
    ]


def _pair(one: Run, other: Run, norm: float) -> Pair:
    import pandas as pd

    scores = [
        pd.Series(run.result.scores[norm], run.result.table["image_id"].unique()).dropna()
        for run in (one, other)
    ]
    both = scores[0].index.intersection(scores[1].index)
    differences = (scores[1][both] - scores[0][both]).to_numpy(dtype=np.float64)
    dropped = len(scores[0]) + len(scores[1]) - 2 * len(both)
    if len(both) == 0:
        return Pair(one.name, other.name, norm, 0, dropped, *[float("nan")] * 4)
    mean, higher = float(differences.mean()), float((differences > 0).mean())
    low, high = mean_interval(differences)
    return Pair(one.name, other.name, norm, len(both), dropped, mean, low, high, higher)


def as_cells(pairs: Sequence[Pair]) -> tuple[list[str], list[list[str]]]:
    """Write pairs for a reader: the head of a table, and its lines."""
    head = ["runs", "norm", "images in both", "in one only", "mean difference (95 %)", "higher in"]
    lines = []
    for pair in pairs:
        difference, higher = "no image in both", ""
        if pair.images:
            difference = f"{pair.difference:+.4g} ({pair.low:+.4g}, {pair.high:+.4g})"
            higher = f"{pair.second}: {pair.higher:.0%} of images"
        names = f"{pair.second} minus {pair.first}"
        norm = f"{pair.norm:g}"
        lines.append([names, norm, str(pair.images), str(pair.dropped), difference, higher])
    return head, lines
