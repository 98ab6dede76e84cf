"""Which split of a data set, and which of its configurations, files belong to."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import CleverError

#: Names of splits, by the one that stands for its kind, as in Hugging Face's data sets.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
KINDS = {name: kind for kind, names in _SPLITS.items() for name in names}
"""The kind of split that each usual name stands for."""

#: The split of a file in Hugging Face's form: "train-00000-of-00004.parquet".
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\.\w+$")

#: `datasets` calls files so whose folder has the name of their split.
_NO_SPLIT = "data"

_DECLARATION = "dataset_dict.json"


def split_kind(name: str) -> str:
    """The kind of split that a name stands for: "val" and "validation" are one; else the name.

    >>> split_kind("val"), split_kind("Test"), split_kind("extra")
    ('validation', 'test', 'extra')
    """
    return KINDS.get(name.lower(), name.lower())


def splits_in(path: str) -> set[str]:
    """The kinds of splits that the words of a file's path, or Hugging Face's form of it, speak of.

    >>> splits_in("data/train-00000-of-00004.parquet"), splits_in("contest.tar")
    ({'train'}, set())
    >>> splits_in("data/extra-00000-of-00001.parquet")
    {'extra'}
    """
    shard = _SHARD.match(posixpath.basename(path))
    named = shard["split"] if shard and shard["split"] != _NO_SPLIT else None
    found = _words(named or path)
    return found or ({split_kind(named)} if named else set())


def _words(text: str) -> set[str]:
    return {KINDS[word] for word in re.split(r"[^a-z]+", text.lower()) if word in KINDS}


def splits_of(root: Path, files: Iterable[str]) -> dict[str, set[str]]:
    """The splits of files: by what `save_to_disk` wrote beside them, else by their paths.

    Args:
        root: The folder.
        files: Relative paths of the files in it.
    """
    files = list(files)
    folders: dict[str, str] = {}
    for name in files:
        if posixpath.basename(name) == _DECLARATION:
            with suppress(OSError, ValueError, LookupError, TypeError):
                declared = json.loads((root / name).read_text(encoding="utf-8"))["splits"]
                above = name.removesuffix(_DECLARATION)
                folders |= {f"{above}{split}/": str(split).lower() for split in declared}
    return {name: _declared(name, folders) or splits_in(name) for name in files}


def _declared(name: str, folders: Mapping[str, str]) -> set[str]:
    return {split_kind(split) for folder, split in folders.items() if name.startswith(folder)}


def splits_differ(kinds: Iterable[str], where: str) -> CleverError:
    """The error for pictures of several splits."""
    order = [*reversed(_SPLITS)]
    kinds = sorted(kinds)
    likely = min(kinds, key=lambda kind: order.index(kind) if kind in order else 1.5)
    return CleverError(
        f"{where} are of several splits: {', '.join(kinds)}",
        "the pictures of one split: a score on pictures that a model was trained on says little",
        f"choose one, as in --split {likely} (in Python: split={likely!r}), or give its own folder "
        "or files",
    )


def check_one_configuration(root: Path, tables: Sequence[str]) -> None:
    """Refuse tables of several configurations, which have the same splits in folders of their own.

    Args:
        root: The folder.
        tables: Relative paths of the tables in it, of one split.

    Raises:
        CleverError: If two folders have tables of the same name, which is that of a split.
    """
    folders: dict[str, set[str]] = {}
    for name in tables:
        folder, base = posixpath.split(name)
        shard = _SHARD.match(base)
        split = shard["split"] if shard else base
        if split != _NO_SPLIT and splits_in(base):
            folders.setdefault(split, set()).add(folder)
    for split, found in folders.items():
        if len(found) > 1:
            each = sorted(found)
            raise CleverError(
                f"{len(each)} folders in {str(root)!r} have tables called {split!r}: "
                f"{', '.join(map(repr, each))}",
                "the tables of one configuration of a data set",
                f"give the folder of one of them, such as {root / each[0]!s}",
            )
