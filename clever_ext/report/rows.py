"""The rows of the page's table: what stands in their cells, and what they open to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results.curves import location_interval
from .figures import of_row
from .flips import Flips
from .reading import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One image and norm of a run, with the target that has the smallest score.

    Attributes:
        run: Name of the run.
        image_id: The image's number.
        picture: Its name.
        norm: p; empty where the picture could not be scored.
        label: True class, by name.
        predicted: Predicted class, by name.
        target: By name.
        margin: Written out.
        score: Written out, with a remark where it is R.
        interval: The score's, written out; brackets have none.
        upper: The upper end of a bracket, written out.
        status: One of `glossary.STATUSES`.
        flags: Some of `glossary.FLAGS`.
        n_gradients: Written out.
        sort: What the columns that hold numbers are sorted by.
        details: What the page's scripts show when the row is opened.
    """

    run: str
    image_id: int
    picture: str
    norm: str
    label: str
    predicted: str
    target: str
    margin: str
    score: str
    interval: str
    upper: str
    status: str
    flags: list[str]
    n_gradients: str
    sort: dict[str, str]
    details: dict[str, Any]


def make_rows(run: Run, images: Collection[int], flips: Flips) -> list[Row]:
    """Make the rows of some images of a run.

    Args:
        run: The run.
        images: Ids of the images to show.
        flips: Nearest flips that can be shown.
    """
    return [_row(run, row, flips) for _, row in run.decisive(images).iterrows()]


def _row(run: Run, row: pd.Series[Any], flips: Flips) -> Row:
    error = row["status"] == "error"
    capped = " (no slope)" if run.brackets else " = R"
    flip = flips.get((int(row["image_id"]), float(row["norm"])))
    return Row(
        run=run.name,
        image_id=int(row["image_id"]),
        picture=row["image"] or str(row["image_id"]),
        norm=_number(row["norm"]),
        label=run.class_name(row["label"]),
        predicted=run.class_name(row["predicted"]),
        target=run.class_name(row["target"]),
        margin=_number(row["margin"]),
        score=_number(row["score"]) + (capped if row["capped"] else ""),
        interval="" if run.brackets else _interval(row["score_low"], row["score_high"]),
        upper=_upper(row) if run.brackets else "",
        status=row["status"],
        flags=[flag for flag in row["flags"].split(",") if flag],
        n_gradients="" if error else f"{int(row['n_gradients']):,}",
        sort={
            name: "" if np.isnan(row[name]) else f"{row[name]:.6g}".replace("inf", "Infinity")
            for name in ("norm", "margin", "score", "n_gradients", *["upper"] * run.brackets)
        },
        details={"facts": _facts(run, row)} | of_row(row) | ({"flip": flip} if flip else {}),
    )


def _upper(row: pd.Series[Any]) -> str:
    return _number(row["upper"]).replace("inf", "no flip found")


def _facts(run: Run, row: pd.Series[Any]) -> list[tuple[str, str]]:
    """Say what is known of a row, the reason of an error first; what is not known is left out."""
    steepest = row["estimator"] == "steepest"
    sampled = not steepest and row["estimator"] != "first-order"
    between = "between" if steepest else "95 % interval"
    lower, flip = "score", "nearest flip seen"
    if run.brackets:
        lower, flip = "lower end", "nearest flip of this target"
    constant = "location (Lipschitz estimate)" if sampled else "steepest seen (L')"
    said: Sequence[tuple[str, str]] = (
        ("error", row["error"]),
        ("label", run.class_name(row["label"])),
        ("predicted", run.class_name(row["predicted"])),
        ("target", run.class_name(row["target"])),
        (lower, _number(row["score"])),
        ("upper end", _upper(row) if run.brackets else ""),
        (between, "" if run.brackets else _interval(row["score_low"], row["score_high"])),
        ("radius R", "" if run.brackets else _number(row["radius"])),
        ("margin", _number(row["margin"])),
        (constant, _number(row["lipschitz"])),
        ("its 95 % interval", _interval(*location_interval(row)) if sampled else ""),
        ("largest gradient norm", _number(row["max_norm"])),
        ("gradient norm at the picture", _number(row["norm_at_image"])),
        ("first order", _number(row["first_order"]) if row["norm_at_image"] >= 0 else ""),
        (flip, _number(row["nearest_flip"]).replace("inf", "none")),
        ("shape", _number(row["shape"])),
        ("scale", _number(row["scale"])),
        ("KS p-value", _number(row["p_value"])),
        ("no lower target, probability", _number(row["p_lowest"])),
        ("gradients", f"{int(row['n_gradients']):,}" if row["n_gradients"] > 0 else ""),
        ("batches", f"{int(row['n_batches'])} of {int(row['batch_samples'])} samples"
            if len(row["maxima"]) else ""),
        ("image id", str(row["image_id"])),
    )  # fmt: skip
    return [(name, text) for name, text in said if text]


def _number(value: Any) -> str:
    return f"{value:.4g}" if np.isfinite(value) or value == np.inf else ""


def _interval(low: float, high: float) -> str:
    if low == high or (np.isnan(low) and np.isnan(high)):
        return ""
    return f"{_number(low)} to {_number(high) or '?'}"
