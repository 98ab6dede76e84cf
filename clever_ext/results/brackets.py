"""What only brackets have: two ends of each image, and the points that decided them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .result import CleverResult

if TYPE_CHECKING:
    import pandas as pd

#: Columns that hold points, flattened.
POINTS = ("witness", "steepest")


def is_bracket(metadata: dict[str, Any]) -> bool:
    """Tell whether a result's scores are the lower ends of brackets, its nearest flips the upper.

    Args:
        metadata: Of a `CleverResult`.
    """
    settings = metadata.get("settings", {})
    return settings.get("estimator") == "steepest" and "auto" in settings.get("radii", ())


def decisive_with_upper(result: CleverResult) -> pd.DataFrame:
    """Return the deciding rows, and in the column `upper` the nearest flip over all targets.

    It is 0 for misclassified images, inf where no flip is known, and NaN where nothing is.
    """
    table = result.table
    flips = table["nearest_flip"].mask(table["status"] == "misclassified", 0.0)
    upper = flips.groupby([table["image_id"], table["norm"]]).min().rename("upper")
    return result.decisive().join(upper, on=["image_id", "norm"])


def with_deciding_points(result: CleverResult) -> CleverResult:
    """Return a result that keeps points where they decide alone: for each image and norm.

    The point of the smallest score stays; of a bracket, that and the nearest flip of all targets.
    All of them would take megabytes for each photograph.
    """
    table = result.table
    lowest = table.index.isin(result.decisive().index)
    nearest = lowest
    if is_bracket(result.metadata):
        flips = table["nearest_flip"].fillna(np.inf)
        groups = flips.groupby([table["image_id"], table["norm"]], sort=False)
        nearest = table.index.isin(groups.idxmin())
    kept = {
        name: [x if keep else x[:0] for x, keep in zip(table[name], which, strict=True)]
        for name, which in zip(POINTS, (nearest, lowest), strict=True)
    }
    return CleverResult(table.assign(**kept), result.metadata)
