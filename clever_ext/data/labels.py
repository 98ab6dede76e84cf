"""The true classes of pictures: where they are read from, and which logit each belongs to."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import CleverError
from .records import ImageRecord, ImageSource, Label

NONE = "none"
"""As `labels`: the pictures have no labels, whatever their source says."""

_WORDNET_ID = re.compile(r"n\d{8}")


def parse_label(value: object) -> Label:
    r"""Read a label: a whole number is a class number, other text a WordNet id or a name.

    >>> parse_label(" 243\n"), parse_label("n01440764")
    (243, 'n01440764')

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError(f"{value!r} is no label")
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


def labelled(
    records: Sequence[ImageRecord], label_pattern: str | None, labels: str | None
) -> Sequence[ImageRecord]:
    """Give pictures other labels than those that their source has.

    Args:
        records: The pictures.
        label_pattern: Regular expression searched in the names, whose first group is the label.
        labels: A file with the label of each name, or `NONE`.

    Raises:
        CleverError: If both are given, or the one that is given is wrong or misses every picture.
    """
    if label_pattern is not None and labels is not None:
        raise CleverError(
            f"both a label pattern ({label_pattern!r}) and labels ({labels!r}) are given",
            "one source of labels",
            "leave one of them out",
        )
    found: list[Label | None]
    if label_pattern is not None:
        pattern = _compile(label_pattern)
        found = [_match(pattern, record.name) for record in records]
    elif labels == NONE:
        found = [None] * len(records)
    elif labels is not None:
        by_name = read_labels(Path(labels))
        found = [by_name.get(record.name) for record in records]
        if not any(label is not None for label in found):
            raise CleverError(
                f"none of the {len(records)} pictures is named in {labels!r}",
                f"names such as {records[0].name!r}",
                "write names as the source has them: relative to the folder, with their endings",
            )
    else:
        return records
    return [
        dataclasses.replace(record, label=label)
        for record, label in zip(records, found, strict=True)
    ]


def read_labels(path: Path) -> dict[str, Label]:
    """Read the labels of pictures by their names.

    Args:
        path: A .csv file (or .tsv, with tabs) whose first two columns are name and label, or whose
            first line names its columns, "filename" and "label" among them; or a .json file with
            an object from name to label.

    Raises:
        CleverError: If it is missing, damaged, or gives a picture two labels.
    """
    try:
        if path.suffix.lower() == ".json":
            rows: Iterable[tuple[str, object]] = _read_json(path, dict).items()
        else:
            rows = _read_table(path)
        labels: dict[str, Label] = {}
        for name, value in rows:
            label = parse_label(value)
            if labels.setdefault(name, label) != label:
                raise ValueError(f"{name!r} has the labels {labels[name]!r} and {label!r}")
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise CleverError(
            f"the labels {str(path)!r} cannot be read ({error})",
            "a .csv file of names and labels, or a .json object from name to label",
            'correct the file; labels="none" scores without labels',
        ) from error
    return labels


def read_label_map(path: Path) -> dict[str, int]:
    """Read which class number each WordNet id or name has.

    Args:
        path: A text file with one id or name a line, in the order of the model's logits; only an
            id at the start of a line counts. Or a .json file: a list in that order, an object from
            label to class number, or one from class number to label or labels.

    Returns:
        Class numbers by label, in the form that `resolve` looks them up.

    Raises:
        CleverError: If the file is missing, damaged, or gives a label two numbers.
    """
    try:
        if path.suffix.lower() == ".json":
            pairs = list(_json_pairs(_read_json(path, (dict, list))))
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            while lines and not lines[-1].strip():
                lines.pop()
            pairs = [(_first_id(line), number) for number, line in enumerate(lines)]
        numbers: dict[str, int] = {}
        for label, number in pairs:
            if numbers.setdefault(_key(label), number) != number:
                raise ValueError(f"{label!r} has the numbers {numbers[_key(label)]} and {number}")
    except (OSError, ValueError, RecursionError) as error:
        raise CleverError(
            f"the label map {str(path)!r} cannot be read ({error})",
            "one WordNet id or name a line in the order of the model's classes, or JSON",
            "correct the file",
        ) from error
    return numbers


def resolve(
    source: ImageSource, n_classes: int, class_names: Sequence[str] | None = None
) -> ImageSource:
    """Turn the labels of pictures into class numbers, once the model is known.

    Numbers are taken as they are, unless the label map has numbers too. WordNet ids and names are
    looked up in the label map; without one, names among the model's class names; and WordNet ids
    count in their sorted order, as ImageNet's classes do, if there are just as many of them as
    the model has classes. A subset of ImageNet's folders would be numbered wrongly so: it is
    refused.

    Args:
        source: The pictures.
        n_classes: Number of the model's logits, K.
        class_names: Name of each logit, where they are known.

    Returns:
        The source with labels that are None or integers in [0, K).

    Raises:
        CleverError: If a label has no number, or one out of range.
    """
    numbers: dict[Label | None, int | None] = {None: None}
    names = _numbers_by_name(class_names)
    for record in {record.label: record for record in source if record.label is not None}.values():
        numbers[record.label] = _number(record, source, n_classes, names)
    return source.replaced(
        [dataclasses.replace(record, label=numbers[record.label]) for record in source]
    )


def _numbers_by_name(class_names: Sequence[str] | None) -> dict[str, int | None] | None:
    """Class numbers by name; None for a name that several classes have."""
    if class_names is None:
        return None
    numbers: dict[str, int | None] = {}
    for number, name in enumerate(class_names):
        numbers[_key(name)] = None if _key(name) in numbers else number
    return numbers


def _number(
    record: ImageRecord, source: ImageSource, n_classes: int, names: dict[str, int | None] | None
) -> int:
    """Class number of a picture's label."""
    label, key, known = record.label, _key(record.label), source.label_map
    are_ids = all(map(_WORDNET_ID.fullmatch, source.classes))
    number: int | None = None
    if isinstance(label, int) and not any(each.isdecimal() for each in known or ()):
        number = label
    elif known is not None:
        number, why = known.get(key), f"the label map has {len(known)} others"
    elif names is not None and key in names:
        number, why = names[key], "it is the name of several classes"
    elif are_ids and len(source.classes) == n_classes:
        number = source.classes.index(str(label))
    elif are_ids:
        why = f"{len(source.classes)} WordNet ids for {n_classes} classes do not tell the order"
    elif names is None:
        why = "the model's class names are not known"
    else:
        why = "it is none of the model's class names"
    if number is None:
        raise CleverError(
            f"the label {label!r} of {record.name!r} has no known class number: {why}",
            "class numbers, labels in the label map, or names of the model's classes",
            "give a label map (--label-map FILE: one WordNet id or name a line, in the order of "
            "the model's classes), or --labels none to score without labels",
        )
    if not 0 <= number < n_classes:
        raise CleverError(
            f"the label {label!r} of {record.name!r} is class {number}",
            f"a class from 0 to {n_classes - 1}: the model has {n_classes}",
            "give the labels or the label map of this model, or --labels none to score without",
        )
    return number


def _key(label: object) -> str:
    """Labels compare without regard to case, and "_" stands for a blank."""
    return str(label).strip().casefold().replace("_", " ")


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
    if found is None or not (found.isdecimal() or _WORDNET_ID.fullmatch(found)):
        raise CleverError(
            f"the label pattern {pattern.pattern!r} finds {found or 'nothing'!r} in {name!r}",
            "a class number or WordNet id in the name of every picture",
            "correct the pattern, or leave those pictures out with a pattern of file names",
        )
    return parse_label(found)


def _read_json(path: Path, kinds: type | tuple[type, ...]) -> Any:
    values = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(values, kinds):
        raise ValueError(f"it holds a {type(values).__name__}")
    return values


def _read_table(path: Path) -> Iterable[tuple[str, object]]:
    """Name and label of each row; one that heads the columns names no picture and does no harm."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        columns = (0, 1)
        for row in rows:
            if not row:
                continue
            if rows.line_num == 1 and {"filename", "label"} <= set(row):
                columns = (row.index("filename"), row.index("label"))
            if len(row) <= max(columns):
                raise ValueError(f"line {rows.line_num} has {len(row)} columns")
            yield row[columns[0]], row[columns[1]]


def _json_pairs(values: Any) -> Iterable[tuple[str, int]]:
    """(label, class number) of a label map in JSON."""
    if isinstance(values, list):
        values = dict(enumerate(values))
    for key, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield str(key), value
            continue
        for label in value if isinstance(value, list) else [value]:
            if not isinstance(label, str):
                raise ValueError(f"{label!r} is no label")
            yield label, int(key)


def _first_id(line: str) -> str:
    """A WordNet id at the start of a line, as in "n01440764 tench, Tinca tinca"; else all of it."""
    match = _WORDNET_ID.match(line)
    return match[0] if match else line
