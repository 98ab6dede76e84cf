"""Files that say which label each picture has, or which class number each label."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CleverError
from .class_folders import WORDNET_ID
from .columns import is_heading, label_column, label_like, name_column
from .records import Label, parse_label

ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".npy")
"""Endings of files of labels, in lower case."""

#: Kaggle's ImageNet: "n01751748 111 108 230 190 ", an id and a box, once or more.
_BOXES = re.compile(r"(?:n\d{8}(?:\s+-?\d+){4}\s*)+")


def read_labels(path: Path, column: str | None = None) -> dict[str, Label]:
    """Read the labels of pictures by their names.

    Args:
        path: A .csv, .tsv or .txt file (with commas, tabs or blanks) or a .jsonl file whose first
            line names its columns, or of two columns, name and label, or of a name and more columns
            of which one holds WordNet ids; a .json file with an object from name to label, or a
            list of records; or a .npy file with the labels of pictures in order.
        column: The column of the labels, where the first line names it.

    Returns:
        Labels by name; of a .npy file by "0", "1", and so on.

    Raises:
        CleverError: If it is missing, damaged, does not tell which column is which, or gives a
            picture two labels.
    """
    try:
        labels: dict[str, Label] = {}
        for name, value in _pairs(path, column):
            label = parse_label(_of_boxes(value))
            name = name.removeprefix("./")
            if labels.setdefault(name, label) != label:
                raise ValueError(f"{name!r} has the labels {labels[name]!r} and {label!r}")
    except CleverError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise _not_there(path, "labels", error) or CleverError(
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
        CleverError: If the file is missing, damaged, begins with a heading, or gives a label two
            numbers.
    """
    try:
        if path.suffix.lower() == ".json":
            pairs = list(_json_pairs(_read_json(path, (dict, list))))
        else:
            pairs = [(_first_id(line), number) for number, line in enumerate(_lines_of_map(path))]
        numbers: dict[str, int] = {}
        for label, number in pairs:
            if numbers.setdefault(key_of(label), number) != number:
                raise ValueError(f"{label!r} has the numbers {numbers[key_of(label)]} and {number}")
    except (OSError, ValueError, RecursionError) as error:
        raise _not_there(path, "label map", error) or CleverError(
            f"the label map {str(path)!r} cannot be read ({error})",
            "one WordNet id or name a line in the order of the model's classes, or JSON",
            "correct the file",
        ) from error
    return numbers


def key_of(label: object) -> str:
    """Labels compare without regard to case and to how accents are coded; "_" is a blank."""
    plain = str(label).strip().casefold().replace("_", " ")
    return unicodedata.normalize("NFC", plain)


def parse_json(text: str | bytes) -> Any:
    """Read JSON, in which no key of an object may have two values.

    Raises:
        ValueError: If one has, or it is no JSON.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key!r} has the values {found[key]!r} and {value!r}")
    return found


def _not_there(path: Path, what: str, error: Exception) -> CleverError | None:
    """The refusal of a file that is not there; None where it is something else that is wrong."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        return None
    return CleverError(
        f"the {what} {str(path)!r} {'are' if what == 'labels' else 'is'} no file: {error.strerror}",
        "a file that can be read",
        "check the path; it is relative to the current folder",
    )


def _pairs(path: Path, column: str | None) -> Iterable[tuple[str, object]]:
    """Name and label of each picture in a file."""
    ending = path.suffix.lower()
    if ending == ".npy":
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):  # NumPy goes by content, not by the ending
            raise ValueError(f"it holds a {type(values).__name__}")
        if values.ndim == 0 or values.size != len(values):
            raise ValueError(f"it has the shape {list(values.shape)}, not one label a picture")
        return ((str(n), value) for n, value in enumerate(values.reshape(-1).tolist()))
    if ending not in (".json", ".jsonl"):
        return _pairs_of_rows(_read_rows(path), column, str(path))
    if ending == ".json":
        found = _read_json(path, (dict, list))
        if isinstance(found, dict):
            return found.items()
    else:
        found = [parse_json(line) for line in _lines(_text(path)) if line.strip()]
    if not all(isinstance(each, dict) for each in found):
        raise ValueError("it holds a list of other things than records")
    heads = list(dict.fromkeys(key for each in found for key in each))
    rows = ((n, [each.get(head) for head in heads]) for n, each in enumerate(found, 2))
    return _pairs_of_rows([(1, heads), *rows], column, str(path))


def _read_rows(path: Path) -> list[tuple[int, list[Any]]]:
    """The rows of a table in text, each with the number of its line."""
    text = _text(path)
    first, ending = text.partition("\n")[0], path.suffix.lower()
    marks = {".tsv": "\t", ".csv": ",;\t"}.get(ending, "\t,")
    likely = [mark for mark in marks if mark in first]
    if not likely and ending not in (".csv", ".tsv"):  # a name, blanks and a label
        lines = enumerate(_lines(text), 1)
        return [(number, line.rsplit(None, 1)) for number, line in lines if line.strip()]
    tables = [_split_rows(text, mark) for mark in likely or marks[0]]
    # A name may hold the mark of another table: what parts all lines alike is it.
    even = [rows for rows in tables if len({len(row) for _, row in rows}) == 1]
    return [*even, *tables][0]


def _split_rows(text: str, mark: str) -> list[tuple[int, list[Any]]]:
    reader = csv.reader(io.StringIO(text), delimiter=mark)
    return [(reader.line_num, row) for row in reader if row]


def _pairs_of_rows(
    rows: Sequence[tuple[int, list[Any]]], column: str | None, where: str
) -> Iterable[tuple[str, object]]:
    if not rows:
        raise ValueError("it is empty")
    first = rows[0][1]
    heads = [str(cell).strip() for cell in first]
    if column is not None or _are_heads(heads):
        pair = _columns_by_heads(heads, column, where)
        rows = rows[1:]
    else:
        pair = _columns_by_contents(rows)
    for line, row in rows:
        if len(row) <= max(pair):
            raise ValueError(f"line {line} has {len(row)} columns")
        yield str(row[pair[0]]), row[pair[1]]


def _are_heads(cells: Sequence[str]) -> bool:
    """Whether a first row names the columns, rather than a picture and its label."""
    if any(re.fullmatch(r"[+-]?[\d.]+", cell) or WORDNET_ID.match(cell) for cell in cells):
        return False
    labels = any(label_like(cell) and re.fullmatch(r"[\w -]+", cell) for cell in cells)
    return (name_column(cells) is not None and len(cells) > 1) or (labels and len(cells) > 2)


def _columns_by_heads(heads: list[str], column: str | None, where: str) -> tuple[int, int]:
    names = [head for head in heads if head != column and not label_like(head)]
    name = name_column(names)
    if name is None and len(names) == 1:
        name = names[0]
    kaggles = "PredictionString" if column is None and "PredictionString" in heads else column
    label = label_column([head for head in heads if head != name], kaggles, f"the file {where!r}")
    if name is None or label is None:
        raise ValueError(
            f"its columns are {', '.join(map(repr, heads))}: which holds the "
            f"{'labels' if name else 'names of the pictures'} is not known; call it "
            f"{'label, or say --label-column' if name else 'filename'}"
        )
    return heads.index(name), heads.index(label)


def _columns_by_contents(rows: Sequence[tuple[int, list[Any]]]) -> tuple[int, int]:
    """The columns of a table without heads: a name, and a label or the one WordNet id."""
    width = max(len(row) for _, row in rows)
    if width == 2:
        return 0, 1
    if width < 2:
        hint = (
            "; ILSVRC's ground truth has numbers of its own, which are not those of models"
            if all(str(row[0]).strip().isdecimal() for _, row in rows)
            else ""
        )
        raise ValueError(f"line {rows[0][0]} has 1 columns: a name and a label are needed{hint}")
    ids = [
        n
        for n in range(1, width)
        if all(len(row) > n and WORDNET_ID.fullmatch(str(row[n]).strip()) for _, row in rows)
    ]
    if len(ids) != 1:
        raise ValueError(
            f"it has {width} columns, and no first line that names them: which holds the labels is "
            "not known; put a line such as filename,label before the others"
        )
    return 0, ids[0]


def _of_boxes(value: object) -> object:
    """The class of the boxes in a picture, where a label lists such; else the label."""
    if isinstance(value, str) and _BOXES.fullmatch(value.strip()):
        ids = set(re.findall(r"n\d{8}", value))
        if len(ids) > 1:
            raise ValueError(f"a picture has boxes of several classes: {', '.join(sorted(ids))}")
        return ids.pop()
    return value


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _lines(text: str) -> list[str]:
    """The lines of a text; `str.splitlines` would also part names at rarer signs."""
    return text.removesuffix("\n").split("\n")


def _read_json(path: Path, kinds: type | tuple[type, ...]) -> Any:
    values = parse_json(_text(path))
    if not isinstance(values, kinds):
        raise ValueError(f"it holds a {type(values).__name__}")
    return values


def _lines_of_map(path: Path) -> list[str]:
    """The lines of a label map, without a heading, which would shift all the classes by one."""
    lines = _text(path).rstrip().split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            what = f"{line!r} looks like a comment" if line.strip() else "is empty"
            raise ValueError(f"line {number} {what}, and would count as a class: take it out")
    if len(lines) > 1 and all(map(WORDNET_ID.match, lines[1:])):
        return lines if WORDNET_ID.match(lines[0]) else lines[1:]
    if is_heading(lines[0]):
        raise ValueError(f"its first line {lines[0]!r} looks like a heading: take it out")
    return lines


def _json_pairs(values: Any) -> Iterable[tuple[str, int]]:
    """(label, class number) of a label map in JSON."""
    if isinstance(values, list):
        for number, value in enumerate(values):
            yield from _labels_of_class(value, number)
        return
    numbered = {isinstance(value, int) for value in values.values()}
    if len(numbered) > 1:
        raise ValueError("some of its values are class numbers, and some are labels")
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    if texts and len(texts) == len(values) and all(map(str.isdecimal, texts.values())):
        if not all(map(str.isdecimal, texts)):
            values = {key: int(value) for key, value in texts.items()}
        elif texts != {value: key for key, value in texts.items()}:
            key, value = next(iter(texts.items()))
            raise ValueError(
                f"{key!r} and {value!r} are both numbers in quotes, and either may be the class; "
                "write class numbers without quotes, after the labels"
            )
    for key, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield key, value
        else:
            yield from _labels_of_class(value, int(key))


def _labels_of_class(value: Any, number: int) -> Iterator[tuple[str, int]]:
    """The label or labels of a class, with its number."""
    for label in value if isinstance(value, list) else [value]:
        if not isinstance(label, (str, int)) or isinstance(label, bool):
            raise ValueError(f"{label!r} is no label")
        yield str(label), number


def _first_id(line: str) -> str:
    """A WordNet id at the start of a line, as in "n01440764 tench, Tinca tinca"; else all of it."""
    match = WORDNET_ID.match(line)
    return match[0] if match else line
