"""Pictures in tar shards, in the layout of WebDataset.

WebDataset's own library reads shards as streams, front to back: it cannot go to the picture at
which a run was stopped, and of a member it says nothing but its name and bytes. Here the standard
library's `tarfile` walks over the headers once and notes where each picture's bytes are; nothing is
ever extracted.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CleverError
from ..findings import Finding
from .class_folders import WORDNET_ID
from .columns import UNUSED, label_column, label_like
from .contents import Container
from .label_files import parse_json
from .records import (
    EXTENSIONS,
    MAX_BYTES,
    ImageRecord,
    Label,
    Listing,
    Place,
    Unreadable,
    distinct_names,
    known_label,
)
from .unread_files import by_ending, left_out

TAR_ENDINGS = (".tar",)
"""Endings of files that hold pictures as members of an archive, in lower case."""

_MAX_LABEL_BYTES = 2**20

#: So many pictures of one key have names with dots, rather than being views of one sample.
_VIEWS = 9


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


def list_shards(
    shards: Sequence[Path], names: Sequence[str], label_key: str | None = None
) -> Listing:
    """List the pictures in tar archives.

    A picture `key.jpg` has the label that `key.cls` or another member of that key with such an
    ending holds, or `key.json` under a name such as "label". It is named by its path in the
    archive, or, where two archives share one, by the archive's name and that path.

    Args:
        shards: The archives, in order.
        names: What to call each.
        label_key: The name of the label in .json members, or the ending of members that hold it.

    Raises:
        CleverError: If one is compressed, damaged or no tar archive, or a label is no label.
    """
    lists = [_Shard.of(shard, label_key) for shard in shards]
    inside = [name for each in lists for name, _ in each.pictures]
    positions = [
        f"{called}/{name}"
        for called, each in zip(names, lists, strict=True)
        for name, _ in each.pictures
    ]
    labels = [each.label_of(name) for each in lists for name, _ in each.pictures]
    places = [place for each in lists for _, place in each.pictures]
    if label_key and not any(each.labels for each in lists):
        raise CleverError(
            f"no member of the archives holds a label under {label_key!r}",
            "a name in .json members, or the ending of members, such as cls",
            "correct --label-column, or leave it out",
        )
    others = [name for each in lists for name in each.others]
    sources = sorted({source for each in lists for source in each.sources})
    return Listing(
        "tar",
        [
            ImageRecord.of(name, place, label)
            for name, place, label in zip(
                distinct_names(inside, positions), places, labels, strict=True
            )
        ],
        paths=_paths(shards, lists),
        labels_from=f"the members {', '.join(sources)}",
        why="no member holds any" + (f"; there are {by_ending(others)}" if others else ""),
        findings=_findings(lists),
    )


@dataclass
class _Shard:
    """The pictures of an archive, and the labels by their keys."""

    pictures: list[tuple[str, Place]]
    labels: dict[str, Label]
    sources: set[str]
    others: list[str]
    hidden: list[str]

    @classmethod
    def of(cls, shard: Path, label_key: str | None) -> _Shard:
        found = cls([], {}, set(), [], [])
        container = Container.of(shard)
        of_labels: list[tuple[str, BytesInFile]] = []
        for member in _members(shard, container.size):
            name = posixpath.normpath(member.name)
            base = posixpath.basename(name).lower()
            ending = base.partition(".")[2]
            if member.isdir():
                continue
            if base.startswith("."):
                if base.endswith(EXTENSIONS):
                    found.hidden.append(name)
            elif base.endswith(EXTENSIONS):
                found.pictures.append((name, _place(container, member, name)))
            elif label_key != UNUSED and member.isreg() and _holds_labels(ending, label_key):
                place = BytesInFile(container, member.offset_data, member.size)
                of_labels.append((name, place))
            else:
                found.others.append(name)
        keys = {key(name) for name, _ in found.pictures for key in (_key, _stem)}
        for name, place in of_labels:
            # Records of a whole archive may lie beside those of its samples.
            if name.lower().endswith(".json") and keys.isdisjoint((_key(name), _stem(name))):
                found.others.append(name)
            else:
                # "a.1.cls" is the label of "a.1.jpg" alone, where there is such a picture.
                key = _stem(name) if _stem(name) in keys else _key(name)
                found._add(place, name, key, label_key)
        return found

    def label_of(self, picture: str) -> Label | None:
        """The label of a picture: that of its own name, else that of its sample."""
        return self.labels.get(_stem(picture), self.labels.get(_key(picture)))

    def _add(self, place: BytesInFile, name: str, key: str, label_key: str | None) -> None:
        label, source = _label(place, name, label_key)
        if label is None:
            self.others.append(name)
            return
        other = self.labels.setdefault(key, label)
        if type(other) is type(label) and other != label:
            raise CleverError(
                f"{key!r} in {str(place.container.path)!r} has the labels {other!r} and {label!r}",
                "one label for each picture",
                "choose where it is with --label-column: a name in .json, or an ending such as cls",
            )
        if other != label and not name.lower().endswith(".json"):
            self.labels[key] = label  # a number or name of its own, rather than a record's
        self.sources.add(source)


def _holds_labels(ending: str, label_key: str | None) -> bool:
    """Whether members of an ending may hold labels, such as "cls", "cls.txt" or "json"."""
    if ending.rpartition(".")[2] == "json":
        return True
    if label_key is not None:
        return ending == label_key.lower().removeprefix(".")
    return label_like(ending)


def _paths(shards: Sequence[Path], lists: Sequence[_Shard]) -> list[str]:
    """Of each picture in the tree that was packed; an archive of one class stands for a folder."""
    of_classes = len(shards) > 1 and all(WORDNET_ID.fullmatch(shard.stem) for shard in shards)
    return [
        f"{shard.stem}/{name}" if of_classes and "/" not in name else name
        for shard, each in zip(shards, lists, strict=True)
        for name, _ in each.pictures
    ]


def _findings(lists: Sequence[_Shard]) -> list[Finding]:
    findings = list(left_out(name for each in lists for name in each.others))
    if hidden := [name for each in lists for name in each.hidden]:
        findings.append(
            Finding(
                "pictures",
                f"hidden pictures left out: {len(hidden)}, {min(hidden)!r} the first",
            )
        )
    pictures = [(n, name) for n, each in enumerate(lists) for name, _ in each.pictures]
    views = [(n, name) for n, name in pictures if not _is_numbered(name)]
    times = Counter((n, _key(name)) for n, name in views)
    if 1 < max(times.values(), default=0) < _VIEWS:
        (shard, key), n = times.most_common(1)[0]
        names = [name for at, name in views if (at, _key(name)) == (shard, key)]
        findings.append(
            Finding(
                "pictures",
                f"{key!r} has {n} pictures, {', '.join(map(repr, names))}: each is scored",
                f"take those that are meant: --include '*{names[0].removeprefix(key)}'",
            )
        )
    return findings


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


def _stem(name: str) -> str:
    """A file's name without its last ending."""
    return posixpath.splitext(name)[0]


def _is_numbered(name: str) -> bool:
    """Whether a picture is one of many of a kind, as in "a.1.jpg", and no view of a sample."""
    return _stem(name).removeprefix(_key(name)).removeprefix(".").isdecimal()


def _label(place: BytesInFile, name: str, label_key: str | None) -> tuple[Label | None, str]:
    """The label that a member holds, and what to call where it is."""
    ending = "." + posixpath.basename(name).partition(".")[2]
    try:
        text = b"" if place.length > _MAX_LABEL_BYTES else place.read()
        if not ending.lower().endswith(".json"):
            return known_label(text.decode()), ending
        values = parse_json(text)
        if not isinstance(values, dict):
            return known_label(values), ending
        # Records of one kind may leave out what is not known of some.
        asked = label_key if label_key in values else None
        if label_key is not None and asked is None:
            return None, ending
        key = label_column(values, asked, f"{name!r} in {str(place.container.path)!r}")
        return (None if key is None else known_label(values[key])), f"{ending} ({key!r})"
    except CleverError:
        raise
    except (ValueError, RecursionError) as error:
        raise CleverError(
            f"{name!r} in {str(place.container.path)!r} holds no label ({error})",
            "a class number, a WordNet id or a class name",
            "correct the file, or leave it out",
        ) from error
