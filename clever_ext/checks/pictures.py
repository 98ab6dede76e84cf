"""Which pictures there are, and what reading some of them shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from ..data import ImageSource
from ..data.loading import Loaded
from ..findings import Finding
from ..models.loaded import LoadedModel
from ..runs.candidates import Candidates

#: Kinds of colours that are named, at most.
_MODES = 4


def of_pictures(
    source: ImageSource,
    model: LoadedModel,
    tried: Sequence[Loaded],
    candidates: Candidates | None,
) -> Iterator[Finding]:
    """Tell how many pictures of which kind there are, and what reading some of them shows.

    Args:
        source: The pictures.
        model: Says what becomes of each.
        tried: Some of them.
        candidates: Points that others have found for them, checked.
    """
    endings = Counter(PurePosixPath(record.name).suffix.lower() for record in source)
    kinds = ", ".join(f"{n:,} {ending}" for ending, n in endings.most_common(_MODES) if ending)
    where = f"{len(source):,} pictures in {source.kind} {source.path}"
    yield Finding("pictures", f"{where}: {kinds}" if kinds else where)
    arrays = any(each.pixels is not None and each.stored is None for each in tried)
    but = " (arrays that have this size already are not resized)" if arrays else ""
    yield Finding("pictures", f"each becomes: {model.words()}{but}")
    if candidates is not None:
        yield Finding("pictures", candidates.words(source))
    bad = [each for each in tried if each.error is not None]
    if bad:
        yield Finding(
            "pictures",
            f"{len(bad)} of {len(tried)} pictures that were tried cannot be read; the first: "
            f"{bad[0].error}",
            "replace them or leave them out; rows of pictures that cannot be read say why",
        )
    said = f"{len(tried) - len(bad)} of {len(tried)} that were tried can be read"
    stored = [each.stored for each in tried if each.stored is not None]
    if stored:
        modes = Counter(each.mode for each in stored).most_common(_MODES)
        least, most = (f(stored, key=lambda each: each.width * each.height) for f in (min, max))
        said += (
            f": {least.width} x {least.height} to {most.width} x {most.height} pixels, "
            + ", ".join(f"{n} {mode}" for mode, n in modes)
        )
    yield Finding("pictures", said)
