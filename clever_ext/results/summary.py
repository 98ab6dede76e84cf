"""What a result comes to: in sentences, as a short table, and in numbers for a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

#: Rows that a notebook shows.
_SHOWN = 20
#: Columns of these, and what stands above them.
_COLUMNS = {
    "label": "label",
    "predicted": "predicted",
    "target": "target",
    "norm": "norm",
    "score": "score",
    "nearest_flip": "nearest flip",
    "status": "status",
}


def words(
    metadata: Mapping[str, Any], deciding: pd.DataFrame, scores: Mapping[float, Floats]
) -> Iterator[str]:
    """Say what the scores come to.

    Args:
        metadata: Of the result.
        deciding: The row of each image and norm that decides.
        scores: The score of each image by norm.
    """
    name, n_images = metadata.get("model", {}).get("name"), deciding["image_id"].nunique()
    yield f"CleverResult: {n_images:,} images" + (f", scored by {name}" if name else "")
    if n_images:
        for norm, each in scores.items():
            known = each[~np.isnan(each)]
            mean = f"mean score {known.mean():.4g}" if len(known) else "no score"
            yield f"norm {norm:g}: {mean} of {len(known):,}"
        counts = deciding["status"].value_counts()
        yield "status: " + ", ".join(f"{status} {n:,}" for status, n in counts.items())
    for warning in metadata.get("warnings", ()):
        yield f"! {warning['said']}"


def numbers(
    table: pd.DataFrame,
    deciding: pd.DataFrame,
    scores: Mapping[float, Floats],
    flips: Mapping[float, Floats],
) -> dict[str, float]:
    """Return a flat dictionary, as `CleverResult.summary` explains it."""
    found = {"images": deciding["image_id"].nunique(), "gradients": table["n_gradients"].sum()}
    for norm, each in scores.items():
        known, seen = each[~np.isnan(each)], flips[norm][np.isfinite(flips[norm])]
        rows = deciding[deciding["norm"] == norm]
        values = {
            "scored": len(known) / len(each),
            "score_mean": known.mean() if len(known) else np.nan,
            "score_median": np.median(known) if len(known) else np.nan,
            "capped": rows["capped"].mean(),
            "flip_seen": len(seen) / len(each),
            "flip_median": np.median(seen) if len(seen) else np.nan,
        }
        labelled = rows[rows["label"].notna()]
        if len(labelled):
            values["misclassified"] = (labelled["status"] == "misclassified").mean()
        found |= {f"l{norm:g}/{name}": value for name, value in values.items()}
    return {name: float(value) for name, value in found.items()}


def first_rows(deciding: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Return the head and the first rows of a short table, and a sentence on those left out."""
    rows = [
        [row["image"] or str(row["image_id"]), *(_cell(row[name]) for name in _COLUMNS)]
        for _, row in deciding.head(_SHOWN).iterrows()
    ]
    left = len(deciding) - len(rows)
    more = f"and {left:,} rows more; all rows: .table" if left else "all rows: .table"
    return ["image", *_COLUMNS.values()], rows, more


def _cell(value: Any) -> str:
    """Return a value as text; of what is missing or not a number nothing."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}" if value == value else ""
    return "" if value is None or str(value) == "<NA>" else str(value)
