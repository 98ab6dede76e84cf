"""Which rows a page shows where there are more than it can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results.curves import thinned

if TYPE_CHECKING:
    import pandas as pd


def pick_images(tables: Sequence[pd.DataFrame], most: int) -> pd.Index[Any]:
    """Pick images: half of them for their small scores, the others evenly over all scores.

    The place of an image is its smallest rank among the images of a run and norm. Images without a
    score, and the misclassified ones, have no rank: they stand before all others when images are
    taken evenly, and are not among those with small scores.

    Args:
        tables: Of each run its deciding rows.
        most: How many images to pick.

    Returns:
        Image ids; all of them, where they are not more than `most`.
    """
    import pandas as pd

    ranks = pd.concat([_ranks(table) for table in tables])
    place = ranks.groupby("image_id", sort=False)["rank"].min()
    if len(place) <= most:
        return place.index
    ordered = place.sort_values(na_position="first", kind="stable")
    small = ordered.dropna().index[: most // 2]
    others = ordered.index.difference(small, sort=False)
    even = thinned(np.arange(len(others)), max(2, most - len(small)))
    return small.append(others[even])[:most]


def _ranks(table: pd.DataFrame) -> pd.DataFrame:
    score = table["score"].where(table["status"] != "misclassified")
    rank = score.groupby(table["norm"]).rank(pct=True)
    return table[["image_id"]].assign(rank=rank)
