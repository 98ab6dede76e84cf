"""Pictures in tar shards, in the layout of WebDataset.

WebDataset's own library reads shards as streams, front to back: it cannot go to the picture at
which a run was stopped, and of a member it says nothing but its name and bytes. Here the standard
library's `tarfile` walks over the headers once and notes where each picture's bytes are; nothing is
ever extracted.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CleverError
from .contents import Container
from .labels import parse_label
from .records import (
    EXTENSIONS,
    MAX_BYTES,
    ImageRecord,
    Label,
    Place,
    Unreadable,
    distinct_names,
)

TAR_ENDINGS = (".tar",)
"""Endings of files that hold pictures as members of an archive, in lower case."""

_MAX_LABEL_BYTES = 2**20


@dataclass(frozen=True)
class BytesInFile:
    """A stretch of bytes of a file.

    Attributes:
        container: The file.
        start: Where they begin.
        length: How many there are.
    """

    container: Container
    start: int
    length: int

    def read(self) -> bytes:
        """Read them.

        Raises:
            CleverError: If the file has changed since it was listed.
            OSError: If it cannot be read.
        """
        self.container.check()
        with self.container.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


def list_shards(shards: Sequence[Path], names: Sequence[str]) -> list[ImageRecord]:
    """Records of the pictures in tar archives.

    A picture `key.jpg` has the label that `key.cls` holds, or `key.json` under "label" or "cls".
    It is named by its path in the archive, or, where two archives share one, by the archive's name
    and that path.

    Args:
        shards: The archives, in order.
        names: What to call each.

    Raises:
        CleverError: If one is compressed, damaged or no tar archive, or a label is no label.
    """
    found = [
        (name, *each) for shard, name in zip(shards, names, strict=True) for each in _list(shard)
    ]
    inside = [member for _, member, _, _ in found]
    called = distinct_names(inside, [f"{shard}/{member}" for shard, member, _, _ in found])
    return [
        ImageRecord.of(name, place, label)
        for name, (_, _, place, label) in zip(called, found, strict=True)
    ]


def _list(shard: Path) -> list[tuple[str, Place, Label | None]]:
    """Name, place and label of each picture of a shard, in its order."""
    pictures: list[tuple[str, Place]] = []
    labels: dict[str, Label] = {}
    container = Container.of(shard)
    for member in _members(shard, container.size):
        name = posixpath.normpath(member.name)
        kind = posixpath.basename(name).lower()
        if kind.startswith("."):
            continue
        if kind.endswith(EXTENSIONS):
            pictures.append((name, _place(container, member, name)))
        elif kind.endswith((".cls", ".json")) and member.isreg():
            label = _label(BytesInFile(container, member.offset_data, member.size), name)
            if label is not None:
                labels[_key(name)] = label
    return [(name, place, labels.get(_key(name))) for name, place in pictures]


def _members(shard: Path, size: int) -> list[tarfile.TarInfo]:
    """The members of an archive, which must be whole: a reader that stops early loses pictures."""
    members = []
    end = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            while (member := archive.next()) is not None:
                end = member.offset_data + (member.size if member.isreg() else 0)
                # Headers of negative length would lead backwards, and round and round.
                if member.size < 0 or member.offset_data <= member.offset or end > size:
                    raise tarfile.ReadError(f"{member.name!r} does not lie within the file")
                members.append(member)
            stopped_at = archive.offset
        with shard.open("rb") as file:
            file.seek(stopped_at)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"no header at byte {stopped_at}")
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise CleverError(
            f"{str(shard)!r} cannot be read as a tar archive ({error})",
            "a complete archive without compression, in which any picture can be reached",
            "unpack a .tar.gz with gunzip; make a damaged archive anew",
        ) from error
    return members


def _place(container: Container, member: tarfile.TarInfo, name: str) -> Place:
    if not member.isreg() or member.issparse():
        wrong, fix = f"{name!r} is a link, device or folder, or has gaps", "put the file itself"
    elif name.startswith(("/", "../")):
        wrong, fix = f"{name!r} leads out of the archive", "name it relative to the archive's top"
    elif member.size > MAX_BYTES:
        wrong, fix = f"{name!r} has {member.size} bytes", "leave it out"
    else:
        return BytesInFile(container, member.offset_data, member.size)
    return Unreadable(CleverError(wrong, f"a file of at most {MAX_BYTES} bytes, within it", fix))


def _key(name: str) -> str:
    """What files of one sample share: their name up to its first dot, as WebDataset has it."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _label(place: BytesInFile, name: str) -> Label | None:
    try:
        text = b"" if place.length > _MAX_LABEL_BYTES else place.read()
        if name.lower().endswith(".cls"):
            return parse_label(text.decode())
        values = json.loads(text)
        value = values.get("label", values.get("cls")) if isinstance(values, dict) else values
        return None if value is None else parse_label(value)
    except (ValueError, RecursionError) as error:
        raise CleverError(
            f"{name!r} in {str(place.container.path)!r} holds no label ({error})",
            "a class number, a WordNet id or a class name",
            "correct the file, or leave it out",
        ) from error
