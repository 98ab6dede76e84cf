"""What a piece that is scored again keeps of its earlier rows."""

from __future__ import annotations

from ..results.result import CleverResult


def with_earlier(earlier: CleverResult, again: CleverResult) -> tuple[CleverResult, list[int]]:
    """Let pictures that had scores keep them, where there is nothing as good in their place.

    A picture may have become unreadable since it was scored, or be another.

    Args:
        earlier: Rows of a piece, some of them errors.
        again: Rows of the same pictures, scored again.

    Returns:
        The rows, in the order of the new ones, and the ids of the pictures that kept theirs.
    """
    import pandas as pd

    scored = earlier.table[earlier.table["status"] != "error"]
    before, after = (
        table.drop_duplicates("image_id").set_index("image_id")["input_digest"]
        for table in (scored, again.table)
    )
    common = [image for image in after.index if image in before.index]
    kept = [image for image in common if before[image] != after[image]]
    if not kept:
        return again, kept
    rows = [again.table[~again.table["image_id"].isin(kept)], scored[scored["image_id"].isin(kept)]]
    table = pd.concat(rows, ignore_index=True)
    place = {image: number for number, image in enumerate(after.index)}
    table = table.sort_values("image_id", key=lambda ids: ids.map(place), kind="stable")
    return CleverResult(table.reset_index(drop=True), again.metadata), [int(n) for n in kept]
