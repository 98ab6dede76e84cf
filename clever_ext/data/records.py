"""What a source of pictures is: a sequence of records that say where each picture lies."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy.typing as npt

from ..errors import CleverError
from ..findings import Finding
from .contents import contents

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""Endings of the files that count as pictures, in lower case."""

MAX_BYTES = 512 * 2**20
"""Size from which a file is no picture: it would be read into memory whole."""

Label = int | str
"""A class: its number, or before `resolve` a WordNet id or a name."""


class Place(Protocol):
    """Where one picture lies. Small, immutable and picklable: worker processes read by it."""

    def read(self) -> bytes | npt.NDArray[Any]:
        """Return a picture's file, or the pixels themselves where they are an array's."""


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
        printable = os.fsencode(name).decode("utf-8", "replace")
        return cls(printable, image_id(name), label, place)


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


class ImageSource(Sequence[ImageRecord]):
    """Pictures that can be had in any order, made by `open_images`; holds no pixels.

    Attributes:
        kind: What it was read from: "folder", "tar", "array" or "table".
        path: Folder, file or pattern that was opened.
        arguments: JSON-able keyword arguments with which `open_images` opens the same again.
        label_map: Class number of each label in the label map, or None without one.
        classes: The WordNet ids and names among the labels of all the pictures, sorted.
        selection: Arguments of `select` that left some pictures out, or None.
        labels_from: Where the labels are from, such as "names of the sub-folders"; "" without any.
        findings: What was seen of the pictures and their labels: what was left out, and why.

    Raises:
        CleverError: If two pictures share an id, or some have a label and others none.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        records: Sequence[ImageRecord],
        arguments: dict[str, Any],
        label_map: dict[str, int] | None = None,
        facts: Sequence[str] = (),
        labels_from: str = "",
        findings: Sequence[Finding] = (),
    ) -> None:
        self.kind = kind
        self.path = path
        self.arguments = arguments
        self.label_map = label_map
        self.selection: dict[str, int] | None = None
        self.labels_from = labels_from
        self.findings = list(findings)
        self._records = records
        self._facts = facts
        self._readings: Mapping[str, Mapping[int, int | None]] = {}
        _check_distinct(records)
        _check_labels(records)
        self.classes = sorted({r.label for r in records if isinstance(r.label, str)})

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def replaced(
        self, records: Sequence[ImageRecord], selection: dict[str, int] | None = None
    ) -> ImageSource:
        """Return this source with other records; all else stays."""
        other = copy.copy(self)
        other._records = records
        other.selection = selection or self.selection
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
            `kind`, `path`, `arguments`, `selection`, the number of `images`, and
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
            "listing_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        }


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
