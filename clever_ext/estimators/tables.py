"""From fits to the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..evt.reverse_weibull import ReverseWeibullFit
from ..results.result import COLUMNS, NO_TARGET, make_table
from .subjects import Rows, Screened, Subjects

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

#: How far gradient norms move, relative to themselves, with the way in which a pass is made.
_ROUNDING = 1e-3
#: Gradient norms so far below the largest of the ball say that the image lies on a plateau.
_PLATEAU = 1e-2
#: Flags that say that gradients hide what the network does: its score may be undeserved.
ZERO, VANISHING, PLATEAU = "zero-gradient", "vanishing-gradients", "plateau"
MASKING = (ZERO, VANISHING, PLATEAU)
#: What the columns hold where an image is not scored; all others are missing there.
_OF_SKIPPED: dict[str, Any] = {
    "capped": False, "flags": "", "n_batches": 0, "batch_samples": 0, "n_gradients": 0,
}  # fmt: skip
_OF_MISCLASSIFIED: dict[str, Any] = {
    "score": 0.0,
    "score_low": 0.0,
    "score_high": 0.0,
    "status": "misclassified",
}


def score_columns(
    margin: Floats,
    radius: Floats,
    max_norm: Floats,
    norm_at_image: Floats,
    nearest_flip: Floats,
    vanishing: Booleans,
    fit: ReverseWeibullFit,
) -> dict[str, Any]:
    """Turn margins and fits into scores, min(margin / location, R) (Weng et al. 2018, Algorithm 1).

    All arguments are [rows]; `vanishing` is what `Subjects.vanishing` tells. A location of 0 gives
    R; a margin of 0 gives 0; where a margin or a maximum is not finite the score is NaN and the
    status "non-finite", or "no-target" where the margin is infinite.
    """
    finite = np.isfinite(margin) & (fit.status != "non-finite")
    scores = capped_ratio(margin, fit.location, radius, finite)
    below_image = fit.location < norm_at_image * (1 - _ROUNDING)
    flags = {
        "far-location": fit.location > 2 * max_norm,
        "contradicted": below_image | (scores > nearest_flip),
    } | signs_of_masking(margin, max_norm, norm_at_image, vanishing)
    return {
        "radius": radius,
        "margin": margin,
        "lipschitz": fit.location,
        "score": scores,
        "score_low": capped_ratio(margin, fit.ci_high, radius, finite),
        "score_high": capped_ratio(margin, fit.ci_low, radius, finite),
        "max_norm": max_norm,
        "norm_at_image": norm_at_image,
        "nearest_flip": np.where(np.isposinf(margin), np.inf, nearest_flip),
        "shape": fit.shape,
        "scale": fit.scale,
        "ks": fit.ks,
        "p_value": fit.p_value,
        "capped": scores == radius,
        "status": status_of(margin, finite, fit.status),
        "flags": joined_flags(flags),
    }


def signs_of_masking(
    margin: Floats, max_norm: Floats, norm_at_image: Floats, vanishing: Booleans
) -> dict[str, Booleans]:
    """Tell which rows, [rows], have gradients that cannot explain their margin.

    A margin of 0 gives a score of 0, which nobody need doubt.
    """
    seen = (margin > 0) & np.isfinite(margin) & np.isfinite(max_norm)
    zero = (max_norm == 0) & (norm_at_image == 0)
    return {
        ZERO: seen & zero,
        VANISHING: seen & vanishing & ~zero,
        PLATEAU: seen & (norm_at_image < _PLATEAU * max_norm),
    }


def capped_ratio(margin: Floats, constant: Floats, radius: Floats, finite: Booleans) -> Floats:
    """Return min(margin / constant, R), [rows]; 0 without a margin, NaN where it is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(margin > 0, margin / constant, 0.0)
    return np.where(finite, np.minimum(ratio, radius), np.nan)


def status_of(margin: Floats, finite: Booleans, status: Any) -> npt.NDArray[np.object_]:
    """Return the status of rows, [rows], or of those among them that have no score."""
    without = np.where(np.isposinf(margin), NO_TARGET, "non-finite")
    return np.where(finite, status, without).astype(object)


def joined_flags(flags: dict[str, Booleans]) -> npt.NDArray[np.object_]:
    """Join for each row the names of the flags that it has by commas."""
    rows = zip(*flags.values(), strict=True)
    joined = [",".join(n for n, set_ in zip(flags, row, strict=True) if set_) for row in rows]
    return np.array(joined, dtype=object)


def tabulate(
    subjects: Subjects,
    balls: list[tuple[float, float]],
    rows: Rows,
    columns: dict[str, Any],
    estimator: str,
) -> pd.DataFrame:
    """Build the table: the rows that were scored, and those of the other images among them.

    Args:
        subjects: The images.
        balls: (norm, radius) of the rows that an image gets that was not scored. That of a
            misclassified one is 0, since it needs no perturbation at all; that of one without a
            target that can be reached is NaN.
        rows: Those that were scored, the rows of an image in the order that they shall have.
        columns: Of these rows, all but what the subjects know of them. One that is left out is
            missing; none at all means that there are no such rows.
        estimator: The name of what made them.
    """
    skipped = subjects.rows(balls, of=subjects.skipped)
    both = Rows.concatenate([rows, skipped])
    wrong = ~subjects.correct[skipped.image]
    of_skipped = _OF_SKIPPED | _OF_MISCLASSIFIED
    columns = columns or {name: np.array([value])[:0] for name, value in of_skipped.items()}
    filled = {name: _extended(name, values, wrong) for name, values in columns.items()}
    labels, screened = subjects.batch.labels, subjects.screened
    if screened is not None:
        filled |= _of_screening(subjects, screened, both, filled["n_gradients"])
    filled |= {
        "estimator": [estimator] * len(both),
        "image_id": subjects.batch.image_ids[both.image],
        "input_digest": subjects.batch.digests[both.image],
        "label": None if labels is None else labels[both.image],
        "predicted": subjects.predicted[both.image],
        "target": both.target,
        "norm": both.norm,
        "radius": np.concatenate([columns.get("radius", rows.radius), skipped.radius]),
        "margin": subjects.margins(both.image, both.target),
        "left_out": subjects.left_out[both.image],
    }
    order = np.argsort(both.image, kind="stable")
    return make_table(filled).iloc[order].reset_index(drop=True)


def _of_screening(
    subjects: Subjects, screened: Screened, rows: Rows, n_gradients: Ints
) -> dict[str, Any]:
    """Return how far the classes are that were left out, and what was spent on them.

    The first row of an image pays for all of those.
    """
    by = np.full(len(rows), np.nan)
    some = subjects.left_out[rows.image] > 0
    for p, of_images in screened.left_out_by.items():
        by = np.where(some & (rows.norm == p), of_images[rows.image], by)
    _, first = np.unique(rows.image, return_index=True)
    spent = n_gradients.copy()
    spent[first] += screened.gradients_left_out[rows.image[first]]
    return {"left_out_by": by, "n_gradients": spent}


def _extended(name: str, values: Any, wrong: Booleans) -> Any:
    """Append to a column what rows of images hold that are not scored, misclassified or not."""
    if COLUMNS[name] == "floats":
        return [*values, *[np.empty(0)] * len(wrong)]
    missing = {"status": NO_TARGET} | _OF_SKIPPED
    of_right, of_wrong = (
        each.get(name, np.nan) for each in (missing, _OF_SKIPPED | _OF_MISCLASSIFIED)
    )
    more = np.where(wrong, of_wrong, of_right).astype(np.asarray(values).dtype)
    return np.concatenate([values, more])
