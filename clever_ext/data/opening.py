"""One way to open pictures, whatever they come in."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import CleverError
from .arrays import ARRAY_ENDINGS, list_array
from .folders import files_below, list_folder
from .labels import NONE, labelled, read_label_map
from .records import EXTENSIONS, ImageRecord, ImageSource
from .shards import TAR_ENDINGS, list_shards
from .tables import TABLE_ENDINGS, list_tables

_CONTAINERS = (*TAR_ENDINGS, *TABLE_ENDINGS, *ARRAY_ENDINGS)


def open_images(
    path: str | os.PathLike[str],
    *,
    include: str = "*",
    label_pattern: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    label_map: str | os.PathLike[str] | None = None,
) -> ImageSource:
    r"""List pictures: files in a folder, tar shards, an array, or a table.

    Pictures are listed, not opened. The source that comes back can be had again from its
    `arguments`, and turned into class numbers by `resolve` once the model is known.

    Args:
        path: A folder of pictures, of .tar shards, or of .parquet or .arrow files (the first of
            these that it has any of); one .tar, .parquet, .arrow, .npy, .npz or .safetensors file;
            or a pattern of such files, as in "val-*.tar" or "val-{0000..0049}.tar".
        include: Shell-style pattern of the names to take; "*" matches slashes too.
        label_pattern: Regular expression searched in the names, whose first group is the class, as
            a number or WordNet id: `_(\d+)\.jpg$` reads 243 from `imagenet_00_243.jpg`.
        labels: A .csv or .json file with the label of each name, or "none" for no labels. Without
            it and without a pattern: the labels of the shards, the array or the table; in a folder
            the names of its sub-folders, where each picture lies in one and none lies deeper.
        label_map: A file that gives WordNet ids and names their class numbers: one a line in
            the order of the model's classes, or JSON.

    Returns:
        The pictures: of a folder and a table in the order of their names and rows, of shards in
        the order in which they are packed.

    Raises:
        CleverError: If there is no picture, a file is damaged, or labels are missing or wrong.

    >>> from clever_ext.data import sample_pictures
    >>> source = sample_pictures()
    >>> source[0].name, source[0].label, len(source)
    ('imagenet_00_243.jpg', 243, 20)
    >>> len(open_images(**source.arguments))
    20
    """
    where = os.path.abspath(path)  # noqa: PTH100 (pathlib would take a pattern's dots for folders)
    arguments: dict[str, Any] = {"path": where, "include": include, "label_pattern": label_pattern}
    for name, value in (("labels", labels), ("label_map", label_map)):
        given = None if value is None else os.fspath(value)
        arguments[name] = given if given in (None, NONE) else str(Path(given).absolute())
    kind, found, facts = _list(where)
    records = [record for record in found if fnmatchcase(record.name, include)]
    if not records:
        raise CleverError(
            f"no picture matches {include!r} in {where!r}",
            "at least one picture, as a file ending in " + ", ".join(EXTENSIONS),
            "check the path and the pattern",
        )
    return ImageSource(
        kind,
        where,
        labelled(records, label_pattern, arguments["labels"]),
        arguments,
        None if label_map is None else read_label_map(Path(arguments["label_map"])),
        facts,
    )


def _list(where: str) -> tuple[str, Sequence[ImageRecord], Sequence[str]]:
    """What kind of thing lies there, its pictures, and facts of it that their names do not tell."""
    root = Path(where)
    if root.is_dir():
        below = files_below(root)
        for endings in (EXTENSIONS, TAR_ENDINGS, TABLE_ENDINGS):
            names = [name for name in below if name.lower().endswith(endings)]
            if names:
                break
        if endings == EXTENSIONS or not names:
            return "folder", list_folder(root, names), ()
        return _list_files([root / name for name in names], names)
    if root.is_file():
        return _list_files([root], [root.name])
    files = _matches(where)
    if not files:
        raise CleverError(
            f"{where!r} is not a folder or file, and no pattern of some",
            "a folder of pictures, or a file or pattern ending in " + ", ".join(_CONTAINERS),
            "check the path; it is relative to the current folder",
        )
    return _list_files(files, [file.name for file in files])


def _list_files(
    files: Sequence[Path], names: Sequence[str]
) -> tuple[str, Sequence[ImageRecord], Sequence[str]]:
    endings = {file.suffix.lower() for file in files}
    if endings <= set(TAR_ENDINGS):
        return "tar", list_shards(files, names), ()
    if endings <= set(TABLE_ENDINGS):
        return "table", list_tables(files, names), ()
    if endings <= set(ARRAY_ENDINGS) and len(files) == 1:
        records, fact = list_array(files[0])
        return "array", records, (fact,)
    raise CleverError(
        f"{names[0]!r} is nothing that pictures are read from"
        if len(files) == 1
        else f"{len(files)} files end in {', '.join(sorted(endings)) or 'nothing'}",
        "a folder of pictures, tar shards, tables, or one array: " + ", ".join(_CONTAINERS),
        "give the folder of a picture, with a pattern of names to take; unpack other archives",
    )


def _matches(pattern: str) -> list[Path]:
    """The files that a pattern names, in order; what braces name must all be there."""
    files: list[Path] = []
    expanded = _without_braces(pattern)
    for each in expanded:
        found = sorted(map(Path, glob.glob(each, recursive=True)))  # noqa: PTH207 (absolute)
        if not found and len(expanded) > 1:
            raise CleverError(
                f"{each!r}, which the pattern names, is not there",
                "all the files of the pattern",
                "fetch the missing one, or correct the numbers in the braces",
            )
        files += found
    return files


def _without_braces(pattern: str) -> list[str]:
    """Spell out the first {a,b} or {000..049} of a pattern, and then the others."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers is None:
        choices = match[1].split(",")
    else:
        first, last = numbers.groups()
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    spelled = (pattern[: match.start()] + each + pattern[match.end() :] for each in choices)
    return [one for each in spelled for one in _without_braces(each)]
