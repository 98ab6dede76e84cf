"""Pictures that are files in a folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CleverError
from ..findings import Finding
from .label_files import ENDINGS as LABEL_ENDINGS
from .records import EXTENSIONS, MAX_BYTES, ImageRecord, Listing
from .unread_files import left_out

_OF_LABELS = re.compile(
    r"(?i)(label|annot|class|truth|target|solution|metadata|synset|^(val|test|train)\.)"
)


@dataclass(frozen=True)
class FileInFolder:
    """A file below a folder.

    Attributes:
        root: The folder.
        name: Path of the file relative to it, as the file system has it.
        follow: Whether symbolic links may lead out of the folder.
    """

    root: Path
    name: str
    follow: bool = True

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.name

    def look(self) -> tuple[int, int]:
        """Length of the file and the time when it was written, in nanoseconds; -1, 0 of none."""
        try:
            status = self.path.stat()
        except OSError:  # such as a link that leads nowhere: the picture gets a row with its error
            return -1, 0
        return status.st_size, status.st_mtime_ns

    def read(self) -> bytes:
        """Read the file.

        Raises:
            CleverError: If a symbolic link leads out of the folder though it may not, or it is no
                ordinary file or too long for a picture.
            OSError: If it cannot be read.
        """
        path = self.path.resolve()
        if not self.follow and not path.is_relative_to(self.root.resolve()):
            raise CleverError(
                f"{self.name!r} is a symbolic link that leads out of the folder",
                "pictures that lie in the folder that was given",
                "put a copy or a hard link in its place, or give the folder that it leads to",
            )
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise CleverError(
                f"{self.name!r} is no ordinary file", "a file with a picture", "leave it out"
            )
        if status.st_size > MAX_BYTES:
            raise CleverError(
                f"{self.name!r} has {status.st_size} bytes",
                f"a picture, of at most {MAX_BYTES} bytes",
                "leave it out",
            )
        return path.read_bytes()


@dataclass
class Tree:
    """The files below a folder.

    Attributes:
        root: The folder.
        follow: Whether folders behind symbolic links were searched.
        files: Relative paths with forward slashes, sorted.
        hidden: Hidden pictures and folders (a leading dot), which are left out.
        linked_folders: Folders behind symbolic links.
        linked_files: Files behind symbolic links, among `files`.
        circles: Links that lead back to a folder that they lie in, which are left out.
    """

    root: Path
    follow: bool
    files: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)
    linked_files: set[str] = field(default_factory=set)
    circles: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path, follow: bool = True) -> Tree:
        """Search a folder. Only names are looked at, no file is opened.

        Raises:
            CleverError: If a folder cannot be read.
        """
        tree = cls(root, follow)
        status = root.stat()
        tree._search("", frozenset({(status.st_dev, status.st_ino)}))
        tree.files.sort()
        return tree

    def _search(self, below: str, within: frozenset[tuple[int, int]]) -> None:
        """Search a folder that lies within others, known by their device and number."""
        for entry in _entries(self.root / below):
            name = below + entry.name
            if entry.name.startswith("."):
                if entry.name.lower().endswith(EXTENSIONS) or _is_folder(entry):
                    self.hidden.append(name)
            elif not _is_folder(entry):
                self.files.append(name)
                if entry.is_symlink():
                    self.linked_files.add(name)
            elif not entry.is_symlink():
                status = entry.stat()
                self._search(name + "/", within | {(status.st_dev, status.st_ino)})
            else:
                status = entry.stat()
                which = (status.st_dev, status.st_ino)
                (self.circles if which in within else self.linked_folders).append(name)
                if self.follow and which not in within:
                    self._search(name + "/", within | {which})

    def findings(self, taken: Sequence[str], passed_over: Set[str]) -> Iterator[Finding]:
        """Tell what was left out, and which links were followed.

        Args:
            taken: The files that are read.
            passed_over: Those that are not to be read, for a reason that is told elsewhere.
        """
        yield from left_out(set(self.files).difference(taken, passed_over))
        if self.hidden:
            yield Finding(
                "pictures",
                f"hidden pictures and folders left out: {len(self.hidden)}, {min(self.hidden)!r} "
                "the first",
            )
        if self.circles:
            yield Finding(
                "pictures",
                f"{_count(self.circles, 'link')} left out that lead back to where they lie, "
                f"{self.circles[0]!r} the first",
            )
        if self.linked_folders and not self.follow:
            yield Finding(
                "pictures",
                f"{_count(self.linked_folders, 'linked folder')} left out, "
                f"{self.linked_folders[0]!r} the first",
                "leave --no-follow-links out if you trust where the links lead",
            )
        files = self.linked_files.intersection(taken)
        folders = self.linked_folders if self.follow else []
        if files or folders:
            first = min([*files, *folders])
            yield Finding(
                "pictures",
                f"symbolic links: {_count(folders, 'folder')} and {_count(files, 'file')}, "
                f"{first!r} the first",
            )


def list_folder(tree: Tree, pictures: Sequence[str]) -> Listing:
    """List pictures among the files below a folder, whose folders may tell their classes."""
    found = [file for file in tree.files if _of_labels(file)]
    fix = f"give them in a file, perhaps --labels {str(tree.root / found[0])!r}" if found else ""
    return Listing(
        "folder",
        [ImageRecord.of(name, FileInFolder(tree.root, name, tree.follow)) for name in pictures],
        paths=pictures,
        why=f"{found[0]!r} lies beside them, and is not read" if found else "",
        fix=fix,
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise CleverError(
            f"{str(error.filename)!r} cannot be read ({error.strerror})",
            "a folder that may be listed",
            "change its permissions or choose another folder",
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; as a picture it gets a row with its error
        return False


def _of_labels(name: str) -> bool:
    base = name.rpartition("/")[2]
    ending = os.path.splitext(base)[1].lower()  # noqa: PTH122
    return ending in LABEL_ENDINGS and (ending == ".csv" or bool(_OF_LABELS.search(base)))


def _count(names: Sequence[str] | set[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) != 1)}"
