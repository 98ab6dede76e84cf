"""What a source of pictures is: a sequence of records that say where each picture lies."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from ..findings import Finding
from .contents import contents

if TYPE_CHECKING:
    from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jfif", ".jpe")
"""Endings of the files that count as pictures, in lower case."""

MAX_BYTES = 512 * 2**20
"""Size from which a file is no picture: it would be read into memory whole."""

AT_HAND = ("array", "dataset")
"""Kinds of listings whose pictures are read without files of their own."""

Label = int | str
"""A class: its number, or before `resolve` a WordNet id or a name."""


def parse_label(value: object) -> Label:
    r"""Read a label: a whole number is a class number, other text a WordNet id or a name.

    >>> parse_label(" 243\n"), parse_label("n01440764"), parse_label(3.0), parse_label(b"tench")
    (243, 'n01440764', 3, 'tench')

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError(f"{value!r} is no label")
    return int(float(text)) if re.fullmatch(r"[+-]?[0-9]{1,15}(\.0*)?", text) else text


def known_label(value: object) -> Label | None:
    """Read a label that may be missing: null, not a number, or -1, as in splits for a contest.

    Raises:
        ValueError: For what is no label.
    """
    missing = value is None or (isinstance(value, (float, np.floating)) and np.isnan(value))
    label = None if missing else parse_label(value)
    return None if label == -1 else label


def known_labels(values: Sequence[Any], n: int) -> list[Label | None]:
    """Read the labels of n pictures that stand in a list, each as `known_label` does.

    Raises:
        CleverError: If there are not as many, or one is none.
    """
    if len(values) != n:
        raise CleverError(
            f"there are {len(values)} labels for {n} pictures", "one for each", "give as many"
        )
    found = []
    for index, value in enumerate(values):
        try:
            found.append(known_label(value.item() if hasattr(value, "item") else value))
        except (ValueError, RuntimeError) as error:
            raise CleverError(
                f"the label of picture {index} is {value!r}",
                "a class number, a WordNet id or a name",
                "give such labels",
            ) from error
    return found


class Place(Protocol):
    """Where one picture lies. Small, immutable and picklable: worker processes read by it."""

    def read(self) -> bytes | npt.NDArray[Any] | Image.Image:
        """Return a picture's file, or the pixels themselves where they are at hand."""


@dataclass(frozen=True)
class ImageRecord:
    """One picture of a source.

    Attributes:
        name: Unique in its source; "/" separates folders.
        image_id: The picture's number in the sampling counter; see `image_id`.
        label: True class, or None where it is not known. `resolve` makes it a number.
        place: Where the picture is.
    """

    name: str
    image_id: int
    label: Label | None
    place: Place

    @classmethod
    def of(cls, name: str, place: Place, label: Label | None = None) -> ImageRecord:
        """Build the record of a picture whose id follows from its name.

        Args:
            name: As the file system or the archive has it, which may not be UTF-8.
            place: Where it is.
            label: Its class.
        """
        return cls(printable(name), image_id(name), label, place)


@dataclass(frozen=True)
class Unreadable:
    """The place of a picture that was refused when it was listed.

    Attributes:
        error: Why.
    """

    error: CleverError

    def read(self) -> bytes:
        """Raise the error."""
        raise self.error


@dataclass
class Listing:
    """Pictures that were found, and what was seen meanwhile.

    Attributes:
        kind: What they were found in: "folder", "tar", "array", "table" or "dataset".
        records: The pictures, with the labels that they have there.
        paths: Of each in the tree that it was packed from, if its folders may tell its class.
        labels_from: Where the labels are from.
        why: Where the pictures have no labels, why; a clause.
        fix: What to do about that.
        label_names: What the labels 0, 1, ... are called, where that is known.
        texts: How each class number is written, where numbers are names of folders.
        facts: What the names and labels of an array do not tell.
        findings: What is to be said.
    """

    kind: str
    records: Sequence[ImageRecord]
    paths: Sequence[str] | None = None
    labels_from: str = ""
    why: str = ""
    fix: str = ""
    label_names: Sequence[str] | None = None
    texts: Mapping[int, str] = field(default_factory=dict)
    facts: Sequence[str] = ()
    findings: Sequence[Finding] = ()

    def including(self, pattern: str) -> Listing:
        """Return the pictures whose names match a shell's pattern."""
        kept = [n for n, r in enumerate(self.records) if fnmatchcase(r.name, pattern)]
        paths = None if self.paths is None else [self.paths[n] for n in kept]
        return replace(self, records=[self.records[n] for n in kept], paths=paths)


class ImageSource(Sequence[ImageRecord]):
    """Pictures that can be had in any order, made by `open_images`; holds no pixels.

    Attributes:
        kind: What it was read from: "folder", "tar", "array", "table", or a "dataset" that Python
            held.
        path: Folder, file or pattern that was opened, or what the data set is.
        arguments: JSON-able keyword arguments with which `open_images` opens the same again; None
            for a data set.
        label_map: Class number of each label in the label map, or None without one.
        label_order: How labels are to be numbered, or None; see `resolve`.
        label_names: What the labels 0, 1, ... are called in the data, where that is known.
        classes: The WordNet ids and names among the labels of all the pictures, sorted.
        numbers: The class numbers among them and how each is written, sorted.
        in_folders: Whether those are the names of folders.
        selection: Arguments of `select` that left some pictures out, or None.
        labels_from: Where the labels are from, such as "the names of the folders"; "" without any.
        findings: What was seen of the pictures and their labels: what was left out, and why.

    Raises:
        CleverError: If two pictures share an id, or some have a label and others none.
    """

    def __init__(
        self,
        path: str,
        listing: Listing,
        arguments: dict[str, Any] | None,
        label_map: dict[str, int] | None = None,
        label_order: str | None = None,
    ) -> None:
        self.kind = listing.kind
        self.path = path
        self.arguments = arguments
        self.label_map = label_map
        self.label_order = label_order
        self.label_names = listing.label_names
        self.selection: dict[str, int] | None = None
        self.labels_from = listing.labels_from
        self.findings = list(listing.findings)
        self._records = listing.records
        self._facts = listing.facts
        self._readings: Mapping[str, Mapping[int, int | None]] = {}
        _check_distinct(self._records)
        _check_labels(self._records)
        labels = {record.label for record in self._records}
        self.classes = sorted(label for label in labels if isinstance(label, str))
        numbers = sorted(label for label in labels if isinstance(label, int))
        self.numbers = {number: listing.texts.get(number, str(number)) for number in numbers}
        self.in_folders = bool(listing.texts)

    @property
    def of_files(self) -> bool:
        """Whether the pictures are files, which have to be decoded: not numbers or Python's."""
        return self.kind not in AT_HAND

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def selected(self, records: Sequence[ImageRecord], selection: dict[str, int]) -> ImageSource:
        """Return this source with some of its records, and by which arguments of `select`."""
        other = copy.copy(self)
        other._records, other.selection = records, selection
        return other

    def read_as(
        self, readings: Mapping[str, Mapping[Label, int]], findings: Sequence[Finding]
    ) -> ImageSource:
        """Return this source with class numbers as labels.

        Args:
            readings: Class number of each label by the name of each reading; the first is used.
            findings: What there is to say of it.
        """
        other = copy.copy(self)
        other._readings = {
            name: {r.image_id: None if r.label is None else numbers[r.label] for r in self}
            for name, numbers in readings.items()
        }
        used = next(iter(other._readings.values()), {})
        other._records = [replace(r, label=used.get(r.image_id)) for r in self]
        other.findings = [*self.findings, *findings]
        return other

    def contents(self, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Tell the contents of the files that the pictures lie in, as JSON; see `contents`.

        Args:
            known: What it returned before: nothing is read where the files look as they did.
        """
        return contents(((record.name, record.place) for record in self), known)

    def readings(self) -> dict[str, list[int | None]]:
        """Return the class numbers that the labels may mean, once `resolve` has been called.

        Returns:
            The class number of each picture by the name of each reading. The first is the one that
            is used: its numbers are the labels of the records.
        """
        return {
            name: [numbers[record.image_id] for record in self]
            for name, numbers in self._readings.items()
        }

    def description(self) -> dict[str, Any]:
        """Tell what was opened, as JSON.

        Returns:
            `kind`, `path`, `arguments`, `selection`, the number of `images`, `labels_from`, and
            `listing_sha256`: over names and labels in order, and for an array also over its
            shape, data type and length in bytes.
        """
        lines = [*self._facts, *(f"{record.name}\t{record.label}" for record in self)]
        return {
            "kind": self.kind,
            "path": self.path,
            "arguments": self.arguments,
            "selection": self.selection,
            "images": len(self),
            "labels_from": self.labels_from,
            "listing_sha256": hashlib.sha256(
                "\n".join(lines).encode(errors="surrogateescape")
            ).hexdigest(),
        }


def printable(name: str) -> str:
    """The name of a file as text: what is not UTF-8 in it becomes a sign for that."""
    return os.fsencode(name).decode("utf-8", "replace")


def image_id(name: str) -> int:
    """Number of a picture in the sampling counter: the first 63 bits of its name's SHA-256.

    A position in the listing would change with every file added or left out. The name alone gives
    a picture the same samples, and so the same score, in the whole folder, in a subset of it and
    in a shard of it on another machine.

    Args:
        name: Path relative to the folder, with forward slashes.

    Returns:
        An integer in [0, 2^63), which fits a signed 64-bit one.

    >>> image_id("imagenet_00_243.jpg")
    4820726452074573990
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def distinct_names(inside: Sequence[str | None], positions: Iterable[str]) -> Sequence[str]:
    """Name the pictures of containers: by their own names, where all have one and no two share it.

    Args:
        inside: What each is called within its file; None where it has no name.
        positions: What else tells them apart.
    """
    own = [name for name in inside if name]
    return own if len(own) == len(inside) and len(set(own)) == len(own) else list(positions)


def _check_distinct(records: Sequence[ImageRecord]) -> None:
    seen: dict[int, ImageRecord] = {}
    for record in records:
        other = seen.setdefault(record.image_id, record)
        if other is not record:
            raise CleverError(
                f"{record.name!r} and {other.name!r} have the same image id {record.image_id}",
                "names with different hashes",
                "rename one of the two",
            )


def _check_labels(records: Sequence[ImageRecord]) -> None:
    """A picture without a label among labelled ones would be scored as if it were right."""
    without = [record.name for record in records if record.label is None]
    if 0 < len(without) < len(records):
        raise CleverError(
            f"{len(without)} of {len(records)} pictures have no label, {without[0]!r} the first",
            "a label for every picture, or for none",
            "complete the labels, leave those pictures out by a pattern of names, "
            'or give labels="none"',
        )
