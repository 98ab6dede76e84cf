"""From runs to scores of several models on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from ..estimators.tables import MASKING
from ..results.brackets import decisive_with_upper, is_bracket
from ..results.result import CleverResult
from ..runs.folder import Source, place_of, read_scores

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


#: Ids below are numbers of pictures; those of names are spread over 63 bits.
_NUMBERS = 2**32


@dataclass(frozen=True)
class Side:
    """One model of a comparison.

    Attributes:
        name: Of the model; with where the run was, or its number, if others have the same.
        digest: Of its weights, or None.
        runs: Its result of each estimator.
    """

    name: str
    digest: str | None
    runs: dict[str, CleverResult]


def sides(runs: Sequence[Source]) -> list[Side]:
    """Read runs; those of one model by different estimators become one side.

    Raises:
        CleverError: a run cannot be read or does not tell its settings, or all are of one model
            that was scored once by each estimator.
    """
    found: list[Side] = []
    places: list[str] = []
    for run in runs:
        result, place = _read(run)
        estimator = _estimator(result, place or f"run {len(found) + 1}")
        model = result.metadata.get("model", {})
        name, digest = model.get("name") or place or "model", model.get("digest")
        same = [s for s in found if (s.name, s.digest) == (name, digest)]
        if same and digest is not None and estimator not in same[-1].runs:
            same[-1].runs[estimator] = result
        else:
            found.append(Side(name, digest, {estimator: result}))
            places.append(place)
    if len(found) < 2:
        raise CleverError(
            f"{len(runs)} runs of {len(found)} model",
            "runs of two models or more",
            "give the run of another model",
        )
    names = _distinct([side.name for side in found], places)
    return [Side(name, s.digest, s.runs) for name, s in zip(names, found, strict=True)]


def _distinct(names: list[str], places: list[str]) -> list[str]:
    """Tell equal names apart, by places where those differ."""
    whole = list(zip(names, places, strict=True))
    return [
        name
        if names.count(name) == 1
        else f"{name} ({place})"
        if place and whole.count((name, place)) == 1
        else f"{name} #{number}"
        for number, (name, place) in enumerate(whole, start=1)
    ]


def _read(run: Source) -> tuple[CleverResult, str]:
    """Return a result, and the name of where it was."""
    if not isinstance(run, (CleverResult, str, PathLike)):
        raise CleverError(
            f"a run to compare is {type(run).__name__}",
            "a CleverResult, the folder of a run, or a .parquet file of CleverResult.save",
            "give the results one by one: compare(a, b), or compare(*results)",
        )
    return read_scores(run), place_of(run)


def _estimator(result: CleverResult, name: str) -> str:
    settings = result.metadata.get("settings")
    used = result.table.loc[result.table["norm"].notna(), "estimator"].unique()
    if not settings or len(used) != 1:
        raise CleverError(
            f"{name} tells no settings, or its scores are of estimators {list(used)}",
            "a result of clever_score or of `clever-ext score`, with a score at least",
            "score again; runs of two estimators are given one by one",
        )
    return str(used[0])


@dataclass(frozen=True)
class Paired:
    """Scores of M models on the N images that all of them have a score for.

    Attributes:
        norm: p.
        estimator: What made the scores.
        image_ids: [N].
        images: Names [N], "" where unknown.
        labels: True classes [N], -1 where unknown.
        bracket: Whether the scores are the lower ends of brackets.
        scores: [M, N], the smallest over the targets; 0 where the model is wrong.
        uppers: [M, N], the nearest flip that the run saw, over all targets; 0 where the model is
            wrong, inf where there is none. Of a bracket, the upper end.
        right: [M, N], whether the model's class is the true one; True where that is unknown.
        capped, fallback, masked, contradicted, flipped: [M, N], of the deciding row: its score is
            R; no fit was used; a sign of gradient masking; the flag of this name; the score exceeds
            the distance of a flip that the run itself saw.
        margins: [M, N], at the images.
    """

    norm: float
    estimator: str
    bracket: bool
    image_ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    labels: npt.NDArray[np.int64]
    scores: Floats
    uppers: Floats
    right: Booleans
    capped: Booleans
    fallback: Booleans
    masked: Booleans
    contradicted: Booleans
    flipped: Booleans
    margins: Floats

    def take(self, models: Any, images: Any) -> Paired:
        """Return the scores of some models on some images, each by an index."""
        return Paired(
            self.norm,
            self.estimator,
            self.bracket,
            *(
                values[images] if values.ndim == 1 else values[models][:, images]
                for values in (getattr(self, f.name) for f in fields(self)[3:])
            ),
        )

    @property
    def labelled(self) -> bool:
        """Whether the true classes are known."""
        return len(self.labels) > 0 and bool((self.labels >= 0).all())


def paired(
    sides: Sequence[Side], norm: float, estimator: str
) -> tuple[Paired, list[dict[str, Any]]]:
    """Pair the images of all sides by id.

    Returns:
        The scores, and the images that were dropped: image_id, image, model, norm, estimator and
        reason.
    """
    import pandas as pd

    rows = [_deciding(side.runs[estimator], norm) for side in sides]
    dropped: list[dict[str, Any]] = []
    union = pd.unique(np.concatenate([s.runs[estimator].table["image_id"] for s in sides]))
    keep = pd.Series(True, index=pd.Index(union, name="image_id"))

    def drop(ids: Iterable[int], side: Side, reasons: Iterable[str]) -> None:
        for image, reason in zip(ids, reasons, strict=True):
            keep[image] = False
            dropped.append(
                {
                    "image_id": image, "model": side.name, "norm": norm, "estimator": estimator,
                    "reason": reason,
                }
            )  # fmt: skip

    for side, own in zip(sides, rows, strict=True):
        bad = own[~np.isfinite(own["score"])]
        drop(bad.index, side, bad["status"] + bad["error"].map(lambda text: text and f": {text}"))
        missing = keep.index.difference(own.index)
        drop(missing, side, _why_missing(side.runs[estimator], missing))
    for column, what in (("label", "label"), ("image", "name"), ("input_digest", "picture")):
        for side, own in zip(sides[1:], rows[1:], strict=True):
            if column != "input_digest" or fed_alike(sides[0], side, estimator):
                reason = f"another {what} than in {sides[0].name}"
                drop(*_unlike(rows[0], own, column, side, reason))
    ids = keep.index[keep].to_numpy()
    bracket = all(is_bracket(side.runs[estimator].metadata) for side in sides)
    return _stacked(norm, estimator, bracket, ids, [own.loc[ids] for own in rows]), dropped


def _deciding(result: CleverResult, norm: float) -> pd.DataFrame:
    """Rows of one norm that decide, indexed by image id, with the nearest flip of all targets."""
    table = result.table
    rows = decisive_with_upper(CleverResult(table[table["norm"] == norm]))
    return rows.set_index("image_id")


def _why_missing(result: CleverResult, ids: pd.Index[Any]) -> list[str]:
    """Say for images without a row of the norm what the run knows of them."""
    table = result.table[result.table["status"] == "error"]
    errors = dict(zip(table["image_id"], table["error"], strict=True))
    known = set(result.table["image_id"])
    without = {True: "not scored", False: "not among its pictures"}
    return [f"error: {errors[u]}" if u in errors else without[u in known] for u in ids]


def refuse_other_ids(sides: Sequence[Side], estimator: str) -> None:
    """Refuse runs of which some know their pictures by numbers and others by names.

    Raises:
        CleverError: they do, so that none can be paired.
    """
    ids = [side.runs[estimator].table["image_id"].to_numpy() for side in sides]
    how = ["numbers" if each.max(initial=0) < _NUMBERS else "names" for each in ids]
    if len(set(how)) > 1:
        said = ", ".join(f"{side.name} by {by}" for side, by in zip(sides, how, strict=True))
        raise CleverError(
            f"the runs know their pictures by different ids: {said}",
            "the same ids: numbers of an array's rows, or those that names of files give",
            "score the same files or the same array with each model, or give clever_score the "
            "image_ids of the other run",
        )


def fed_alike(a: Side, b: Side, estimator: str) -> bool:
    """Tell whether two models get the same values of the same picture."""
    how = [
        (each.get("preprocessing"), each["settings"].get("shape"), each["settings"].get("dtype"))
        for each in (side.runs[estimator].metadata for side in (a, b))
    ]
    return how[0] == how[1]


def _unlike(
    first: pd.DataFrame, other: pd.DataFrame, column: str, side: Side, reason: str
) -> tuple[pd.Index[Any], Side, list[str]]:
    """Find images of which both runs know something, and not the same."""
    common = first.index.intersection(other.index)
    a, b = first.loc[common, column], other.loc[common, column]
    known = (a.notna() & b.notna() & (a.astype(str) != "") & (b.astype(str) != "")).to_numpy()
    unlike = common[known][(a[known] != b[known]).to_numpy(dtype=bool)]
    return unlike, side, [reason] * len(unlike)


def _stacked(
    norm: float,
    estimator: str,
    bracket: bool,
    ids: npt.NDArray[np.int64],
    rows: list[pd.DataFrame],
) -> Paired:
    """Put the rows of the same images side by side."""

    def stack(make: Any, kind: Any) -> Any:
        return np.array([np.asarray(make(own), dtype=kind) for own in rows], dtype=kind)

    labels = np.full(len(ids), -1, dtype=np.int64)
    names = np.full(len(ids), "", dtype=object)
    for own in reversed(rows):
        given = own["label"].notna().to_numpy()
        labels[given] = own["label"].to_numpy(dtype=np.int64, na_value=-1)[given]
        named = (own["image"] != "").to_numpy()
        names[named] = own["image"].to_numpy(dtype=object)[named]
    right = stack(lambda own: own["predicted"], np.int64) == labels
    right |= labels < 0
    masking = "|".join(MASKING)
    flips = stack(lambda own: own["score"] > own["nearest_flip"], bool)
    return Paired(
        norm=norm,
        estimator=estimator,
        bracket=bracket,
        image_ids=ids,
        images=names,
        labels=labels,
        scores=np.where(right, stack(lambda own: own["score"], np.float64), 0.0),
        uppers=np.where(right, stack(lambda own: own["upper"], np.float64), 0.0),
        right=right,
        capped=right & stack(lambda own: own["capped"], bool),
        fallback=right & stack(lambda own: own["status"] == "max-fallback", bool),
        masked=right & stack(lambda own: own["flags"].str.contains(masking), bool),
        contradicted=right & stack(lambda own: own["flags"].str.contains("contradicted"), bool),
        flipped=right & flips,
        margins=stack(lambda own: own["margin"], np.float64),
    )
