"""One way to open pictures, whatever they come in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import CleverError
from ..findings import Finding
from .arrays import ARRAY_ENDINGS, list_array
from .columns import UNUSED
from .datasets import is_held, list_held
from .folders import Tree, list_folder
from .label_files import read_label_map
from .labels import NONE, check_in_order, labelled
from .numbering import ORDERS
from .patterns import files_of_pattern
from .records import EXTENSIONS, ImageSource, Label, Listing
from .shards import TAR_ENDINGS, list_shards
from .splits import check_one_configuration, split_kind, splits_differ, splits_in, splits_of
from .tables import TABLE_ENDINGS, list_tables
from .unread_files import by_ending

_CONTAINERS = (*TAR_ENDINGS, *TABLE_ENDINGS, *ARRAY_ENDINGS)

_CACHED = re.compile(r"(^|/)(cache-[^/]*|tmp[a-z0-9_]{8})\.arrow$")


@dataclass(frozen=True)
class _Asked:
    """Which of the things that lie somewhere are meant."""

    split: str | None
    image_column: str | None
    label_column: str | None
    follow_links: bool


def open_images(
    path: Any,
    *,
    include: str = "*",
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    label_pattern: str | None = None,
    labels: str | os.PathLike[str] | Sequence[Label] | None = None,
    label_map: str | os.PathLike[str] | None = None,
    label_order: str | None = None,
    follow_links: bool = True,
) -> ImageSource:
    r"""List pictures: files in a folder, tar shards, an array, a table, or what Python holds.

    Pictures are listed, not opened. The source that comes back can be had again from its
    `arguments`, and turned into class numbers by `resolve` once the model is known. Its `findings`
    tell what was left out, where the labels are from, or why there are none.

    Args:
        path: A folder of pictures, of .tar shards, or of .parquet or .arrow files; one .tar,
            .parquet, .arrow, .npy, .npz or .safetensors file; or a pattern of such files, as in
            "val-*.tar" or "val-{0000..0049}.tar". Or pictures themselves: a tensor or an array [N,
            *shape]; a list, or a map-style data set of torch, of pictures or of (picture, class),
            or a DataLoader of one; or a data set of Hugging Face. Such a picture is Pillow's, or
            floating-point numbers in [0, 1], or 8-bit levels; its place is its name and its id.
        include: Shell-style pattern of the names to take; "*" matches slashes too.
        split: Of several in a folder, such as "val" or "test".
        image_column: The column or array of the pictures, where several may be meant.
        label_column: The column, array or key of the labels; where `labels` are given, in that
            file.
        label_pattern: Regular expression searched in the names, whose first group is the class, as
            a number or WordNet id: `_(\d+)\.jpg$` reads 243 from `imagenet_00_243.jpg`.
        labels: A file with the label of each name (see `read_labels`), or "none" for no labels;
            for pictures that Python holds a list too, in their order. Without it and without a
            pattern: the labels of the shards, the array, the table or the data set (one of torch
            without `targets` is read once for them); else the names of the folders that the
            pictures lie in.
        label_map: A file that gives WordNet ids and names their class numbers: one a line in
            the order of the model's classes, or JSON.
        label_order: How labels become class numbers, where it is not by a map; see `resolve`.
        follow_links: Whether symbolic links are followed out of a folder, and to other folders.

    Returns:
        The pictures: of a folder and a table in the order of their names and rows, of shards in
        the order in which they are packed.

    Raises:
        CleverError: If there is no picture, a file is damaged, labels are missing or wrong, or
            it cannot be told which pictures or labels are meant.

    >>> from clever_ext.data import sample_pictures
    >>> source = sample_pictures()
    >>> source[0].name, source[0].label, len(source)
    ('imagenet_00_243.jpg', 243, 20)
    >>> len(open_images(**source.arguments))
    20
    """
    held, in_order = is_held(path), None
    if held and labels is not None and not isinstance(labels, (str, os.PathLike)):
        in_order, labels = labels, None
    _check_types("." if held else path, labels=labels, label_map=label_map)
    _check_texts(
        include=include,
        split=split,
        image_column=image_column,
        label_column=label_column,
        label_pattern=label_pattern,
        label_order=label_order,
    )
    # Pathlib would take a pattern's dots for folders.
    where = f"{type(path).__name__} in Python" if held else os.path.abspath(path)  # noqa: PTH100
    arguments: dict[str, Any] = {
        "path": where,
        "include": include,
        "split": split,
        "image_column": image_column,
        "label_column": label_column,
        "label_pattern": label_pattern,
        "label_order": label_order,
        "follow_links": follow_links,
    }
    for name, value in (("labels", labels), ("label_map", label_map)):
        given = None if value is None else os.fspath(value)  # type: ignore[arg-type]
        arguments[name] = given if given in (None, NONE) else str(Path(given).absolute())
    _check_order(label_order, label_map)
    of_file = arguments["labels"] not in (None, NONE)
    own = labels is None and in_order is None and label_pattern is None
    chosen = label_column if own else UNUSED
    if held:
        listing = list_held(path, split, image_column, chosen)
    else:
        listing = _list(where, _Asked(split, image_column, chosen, follow_links))
    if of_file:
        check_in_order(listing, Path(arguments["labels"]))
    listing = listing.including(include)
    if not listing.records:
        raise CleverError(
            f"no picture matches {include!r} in {where!r}"
            + "".join(f"; {each.said}" for each in listing.findings),
            "at least one picture, as a file ending in " + ", ".join(EXTENSIONS),
            "check the path and the pattern",
        )
    listing = labelled(
        listing,
        label_pattern,
        arguments["labels"] if in_order is None else in_order,
        label_column if of_file else None,
    )
    known = None if label_map is None else read_label_map(Path(arguments["label_map"]))
    return ImageSource(where, listing, None if held else arguments, known, label_order)


def _check_types(path: object, **others: object) -> None:
    """Refuse what names no file."""
    for name, value in {"path": path, **others}.items():
        if value is None and name != "path":
            continue
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(text, str) or not text or "\0" in text:
            raise CleverError(
                f"{name} is {value!r}",
                "a path as text or pathlib.Path, not empty"
                + ("; or a list, an array or a data set of pictures" if name == "path" else ""),
                "name the folder or file; the current folder is '.'",
            )


def _check_texts(**options: object) -> None:
    for name, value in options.items():
        if not (isinstance(value, str) and value) and (value is not None or name == "include"):
            raise CleverError(f"{name} is {value!r}", "text, not empty", f"leave {name} out")


def _check_order(label_order: str | None, label_map: object) -> None:
    if label_order is not None and label_order not in ORDERS:
        raise CleverError(
            f"the label order {label_order!r} is not known",
            "one of " + ", ".join(ORDERS),
            "choose one, or leave it out",
        )
    if label_order is not None and label_map is not None:
        raise CleverError(
            f"both a label order ({label_order!r}) and a label map are given",
            "one of them: a map has an order",
            "leave one out",
        )


def _list(where: str, asked: _Asked) -> Listing:
    """What lies there."""
    root = Path(where)
    if root.is_dir():
        return _list_folder(root, asked)
    files = [root] if root.is_file() else files_of_pattern(where)
    if not files:
        raise CleverError(
            f"{where!r} is not a folder or file, and no pattern of some",
            "a folder of pictures, or a file or pattern ending in " + ", ".join(_CONTAINERS),
            "check the path: it is relative to the current folder; * ? [ ] are signs of a pattern",
        )
    shared = os.path.commonpath([file.parent for file in files])
    below = {file.relative_to(shared).as_posix(): file for file in files}
    if asked.split is not None:
        kinds_of = {name: splits_in(name) for name in below}
        below = {name: below[name] for name in _of_split(kinds_of, asked.split, where)}
    files = list(below.values())
    listing = _list_files(files, [file.name for file in files], asked)
    kinds = set().union(*map(splits_in, below))
    if len(kinds) < 2:
        return listing
    said = Finding(
        "pictures",
        f"the files of the pattern are of several splits: {', '.join(sorted(kinds))}",
        "say --split, if one of them is meant",
    )
    return replace(listing, findings=[said, *listing.findings])


def _list_folder(root: Path, asked: _Asked) -> Listing:
    if (root / "blobs").is_dir() and (root / "snapshots").is_dir():
        found = sorted(str(each) for each in (root / "snapshots").iterdir())
        raise CleverError(
            f"{str(root)!r} is a cache of Hugging Face's hub",
            "one of the snapshots in it",
            f"give {' or '.join(found)}",
        )
    split = asked.split
    if split is not None:  # as if its own folder had been given, with the same names
        children = sorted(
            each
            for each in root.iterdir()
            if each.is_dir() and (asked.follow_links or not each.is_symlink())
        )
        same = [each for each in children if split_kind(each.name) == split_kind(split)]
        exact = [each for each in same if each.name == split] or same
        if len(exact) == 1:
            return _list_folder(exact[0], replace(asked, split=None))
    tree = Tree.of(root, asked.follow_links)
    passed_over, cached = set(), _cached(tree)
    files = [name for name in tree.files if name not in cached]
    pictures = [name for name in files if name.lower().endswith(EXTENSIONS)]
    packed = [name for name in files if name.lower().endswith(TAR_ENDINGS)]
    packed = packed or [name for name in files if name.lower().endswith(TABLE_ENDINGS)]
    kinds_of = splits_of(root, files)
    if split is not None:
        chosen = _of_split({n: kinds_of[n] for n in [*pictures, *packed]}, split, str(root))
        passed_over = {*pictures, *packed}.difference(chosen)
        pictures = [name for name in pictures if name in chosen]
        packed = [name for name in packed if name in chosen]
    elif len(kinds := set().union(*(kinds_of[name] for name in packed))) > 1:
        raise splits_differ(kinds, f"the files in {str(root)!r}")
    check_one_configuration(root, [name for name in packed if name.lower().endswith(TABLE_ENDINGS)])
    taken, listing = pictures, list_folder(tree, pictures)
    inside, unread = _packed(tree, packed, asked, len(pictures))
    if inside is not None and len(inside.records) > len(pictures):
        taken, listing = packed, inside
    elif asked.image_column or asked.label_column:
        raise CleverError(
            f"{str(root)!r} is a folder of pictures, which have no columns",
            "--image-column and --label-column of tables, arrays or a file of labels",
            "leave them out",
        )
    told = [*tree.findings(taken, passed_over | cached), *unread]
    if passed_over:
        told.append(Finding("pictures", f"of other splits: {by_ending(passed_over)}"))
    if cached:
        told.append(Finding("pictures", f"caches of `datasets` left out: {by_ending(cached)}"))
    return replace(listing, findings=[*told, *listing.findings])


def _packed(
    tree: Tree, names: list[str], asked: _Asked, n_pictures: int
) -> tuple[Listing | None, list[Finding]]:
    """Pictures in the archives or tables of a folder; None if there are none.

    Args:
        tree: The folder.
        names: The archives or tables.
        asked: What is meant.
        n_pictures: How many pictures there are beside them: then a table may be one of other
            things, which is said.

    Raises:
        CleverError: If they cannot be read, and no more pictures lie beside them.
    """
    if not names:
        return None, []
    try:
        _check_links(tree, names)
        return _list_files([tree.root / name for name in names], names, asked), []
    except CleverError as error:
        if n_pictures <= len(names):
            raise
        said = f"{by_ending(names)} beside the pictures cannot be read: {error.wrong}"
        return None, [Finding("pictures", said, error.fix)]


def _check_links(tree: Tree, names: Sequence[str]) -> None:
    """Refuse archives and tables behind links out of the folder, where these are not followed."""
    top = tree.root.resolve()
    for name in [] if tree.follow else names:
        if not (tree.root / name).resolve().is_relative_to(top):
            raise CleverError(
                f"{name!r} is a symbolic link that leads out of the folder",
                "archives and tables that lie in the folder that was given",
                "leave --no-follow-links out if you trust where it leads",
            )


def _cached(tree: Tree) -> set[str]:
    """Files that Hugging Face's `datasets` keeps beside a data set: results of its operations."""
    found = {name for name in tree.files if _CACHED.search(name)}
    for state in (name for name in tree.files if re.search(r"(^|/)state\.json$", name)):
        folder = state[: -len("state.json")]
        with suppress(OSError, ValueError, KeyError, TypeError):
            described = json.loads((tree.root / state).read_text(encoding="utf-8"))
            own = {folder + each["filename"] for each in described["_data_files"]}
            found |= {
                name
                for name in tree.files
                if name.startswith(folder)
                and "/" not in name[len(folder) :]
                and name.endswith(".arrow")
                and name not in own
            }
    return found


def _of_split(kinds_of: Mapping[str, set[str]], split: str, where: str) -> list[str]:
    """The files of a split, by the kinds of splits that each is of."""
    kind = split_kind(split)
    found = [name for name, own in kinds_of.items() if kind in own or split in name.split("/")]
    if not found:
        kinds = sorted(set().union(*kinds_of.values()))
        raise CleverError(
            f"{where!r} has no split {split!r}",
            f"one of {', '.join(kinds)}" if kinds else "files whose names tell their split",
            "name one of these, or leave --split out",
        )
    return found


def _list_files(files: Sequence[Path], names: Sequence[str], asked: _Asked) -> Listing:
    endings = {file.suffix.lower() for file in files}
    if endings <= set(TABLE_ENDINGS):
        return list_tables(files, names, asked.image_column, asked.label_column)
    if endings <= set(ARRAY_ENDINGS) and len(files) == 1:
        return list_array(files[0], asked.image_column, asked.label_column)
    if endings <= set(TAR_ENDINGS):
        if asked.image_column is None:
            return list_shards(files, names, asked.label_column)
        raise CleverError(
            f"archives have no column {asked.image_column!r}",
            "--image-column of tables and arrays",
            f"take pictures by their names, as in --include '*.{asked.image_column}'",
        )
    raise CleverError(
        f"{names[0]!r} is nothing that pictures are read from"
        if len(files) == 1
        else f"{len(files)} files end in {', '.join(sorted(endings)) or 'nothing'}",
        "a folder of pictures, tar shards, tables, or one array: " + ", ".join(_CONTAINERS),
        "give the folder of a picture, with a pattern of names to take; unpack other archives",
    )
