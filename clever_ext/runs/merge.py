"""Joins the runs of shards to the run that one process would have made."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import durable
from ..errors import CleverError, few
from .folder import RunFolder, check_part
from .identity import check_same
from .pieces import Pieces

#: Pieces that a message names at most.
_NAMED = 10


def merge(
    out: str | os.PathLike[str],
    runs: Sequence[str | os.PathLike[str]],
    allow_holes: bool = False,
    allow_overlap: bool = False,
) -> RunFolder:
    """Join runs of shards to one run; the same score command, without a shard, can go on with it.

    Args:
        out: A folder that holds no run yet.
        runs: The folders of runs over the same pictures with the same settings.
        allow_holes: Whether pieces may be missing.
        allow_overlap: Whether several runs may have the same piece; the first one's is taken.

    Returns:
        The folder of the whole.

    Raises:
        CleverError: the runs differ in more than their shards, a part is damaged, pieces are
            missing or there twice and that is not allowed, or a file cannot be written.
    """
    folders = [RunFolder(path) for path in runs]
    whole = [_of_whole(folder.read()) for folder in folders]
    for description in whole[1:]:
        check_same(whole[0], description)
    target = RunFolder(out)
    if target.exists:
        raise CleverError(
            f"{target.path} holds a run already", "a new folder", "choose another --out"
        )
    pieces = Pieces.of(whole[0])
    parts: dict[int, Path] = {}
    twice = set()
    for folder, description in zip(folders, whole, strict=True):
        for number, path in folder.finished().items():
            check_part(path, description, number)
            if number in parts:
                twice.add(number)
            parts.setdefault(number, path)
    missing = [number for number in pieces.numbers if number not in parts]
    if twice and not allow_overlap:
        raise CleverError(
            f"several runs have {_some(sorted(twice))}",
            "runs of different shards",
            "leave a run out, or take the first one's with --allow-overlap",
        )
    if missing and not allow_holes:
        raise CleverError(
            f"no run has {_some(missing)} of {pieces.count}",
            "runs that are complete, of all the shards",
            "finish them or name the ones left out, or allow it with --allow-holes",
        )
    target.make()
    with target.locked(None):
        target.describe(whole[0])
        for number, path in sorted(parts.items()):
            durable.write(target.part(number), path.read_bytes())
    return target


def _of_whole(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description of the run that a shard is a part of."""
    pieces = replace(Pieces.of(description), shard=(0, 1))
    whole: dict[str, Any] = json.loads(json.dumps({**description, "pieces": pieces.to_json()}))
    return whole


def _some(numbers: Sequence[int]) -> str:
    return f"piece{'s' if len(numbers) > 1 else ''} {few(list(map(str, numbers)), _NAMED)}"
