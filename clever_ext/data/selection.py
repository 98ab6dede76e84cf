"""A part of the pictures of a source."""

from __future__ import annotations

import hashlib

from ..errors import CleverError
from .records import ImageRecord, ImageSource


def select(
    source: ImageSource,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
) -> ImageSource:
    """Take some of the pictures.

    A sample is random, and always the same: the pictures with the smallest hashes of the seed and
    their ids. So a sample of 100 is part of one of 200, and neither depends on the order in which
    pictures are listed.

    Args:
        source: The pictures.
        limit: Take the first so many.
        sample: Take so many at random.
        sample_seed: Another seed takes others.

    Returns:
        The pictures that were taken, in the order of the source; all where it has no more. Its
        `selection` holds the arguments.

    Raises:
        CleverError: If both a limit and a sample are given, or one is not positive.
    """
    if limit is None and sample is None:
        return source
    if limit is not None and sample is not None:
        raise CleverError(
            f"both a limit of {limit} and a sample of {sample} are given",
            "one of them: the first pictures, or random ones",
            "leave one out",
        )
    name, number = ("limit", limit) if limit is not None else ("sample", sample)
    if number is None or number < 1:
        raise CleverError(f"{name} is {number}", "a positive number of pictures", "give another")
    if name == "limit":
        return source.selected(source[:number], {"limit": number})

    def rank(record: ImageRecord) -> bytes:
        return hashlib.sha256(f"{sample_seed}:{record.image_id}".encode()).digest()

    taken = {record.image_id for record in sorted(source, key=rank)[:number]}
    return source.selected(
        [record for record in source if record.image_id in taken],
        {"sample": number, "sample_seed": sample_seed},
    )
