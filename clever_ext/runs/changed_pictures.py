"""Whether a run's pictures are still those that it has scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data import ImageRecord, ImageSource
from ..data.loading import Loader
from ..errors import CleverError, few
from ..results.result import CleverResult
from .folder import RunFolder
from .scorer import Scorer

#: Pictures whose files were written since, and others, of which so many are read and compared; how
#: many are read at a time.
_LATER, _OTHERS, _AT_ONCE = 256, 16, 8


def check_pictures(
    folder: RunFolder,
    description: dict[str, Any],
    source: ImageSource,
    scorer: Scorer,
    loader: Loader,
    all_of_them: bool = False,
) -> None:
    """Refuse pictures that are others than those that a run has scored, by the digests in its rows.

    Of files that were written after the run was begun many are read, and a few of the others.

    Args:
        folder: Of the run.
        description: What the run is.
        source: The pictures.
        scorer: Gives them as the model gets them.
        loader: Of the pictures.
        all_of_them: Whether all that were scored are read: their files are known to differ.

    Raises:
        CleverError: a picture has changed.
    """
    paths = list(folder.finished().values())
    if not paths:
        return
    rows = CleverResult.load_parts(paths, ("image_id", "input_digest")).table
    rows = rows[rows["input_digest"] != ""]
    digests = dict(zip(rows["image_id"], rows["input_digest"], strict=True))
    since = description["data"]["contents"]["modified"]
    scored = [record for record in source if record.image_id in digests]
    later = [record for record in scored if _written(record) > since]
    # What Python holds tells no time at which it was changed.
    all_of_them = all_of_them or source.kind == "dataset"
    chosen = scored if all_of_them else _some(later, _LATER) + _some(scored, _OTHERS)
    other: dict[str, None] = {}
    for start in range(0, len(chosen), _AT_ONCE):
        for each in loader.submit(chosen[start : start + _AT_ONCE]).result():
            if each.pixels is None:
                continue  # it was scored, and keeps its rows
            if scorer.batch([each], labels=False).digests[0] != digests[each.record.image_id]:
                other[each.record.name] = None
    if other:
        raise CleverError(
            f"pictures have changed since they were scored: {few(list(other))}",
            "the pictures that the run was begun with",
            "put them back, or choose another --out",
        )


def _some(records: Sequence[ImageRecord], most: int) -> list[ImageRecord]:
    """Choose evenly among pictures."""
    return list(records[:: max(1, -(-len(records) // most))])


def _written(record: ImageRecord) -> int:
    """Return when the file of a picture was written, in nanoseconds since 1970."""
    place: Any = record.place
    if hasattr(place, "container"):
        return int(place.container.modified)
    return int(place.look()[1]) if hasattr(place, "look") else 0
