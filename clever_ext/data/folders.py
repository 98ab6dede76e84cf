"""Pictures that are files in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import CleverError
from .labels import parse_label
from .records import EXTENSIONS, MAX_BYTES, ImageRecord


@dataclass(frozen=True)
class FileInFolder:
    """A file below a folder, which may not lead out of it.

    Attributes:
        root: The folder.
        name: Path of the file relative to it, as the file system has it.
    """

    root: Path
    name: str

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
            CleverError: If a symbolic link leads out of the folder, or it is no ordinary file or
                too long for a picture.
            OSError: If it cannot be read.
        """
        path = self.path.resolve()
        if not path.is_relative_to(self.root.resolve()):
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


def files_below(root: Path) -> list[str]:
    """Relative paths of the files below a folder, with forward slashes, sorted.

    Sub-folders are searched, but not those behind symbolic links, which may form circles. Hidden
    files and folders (a leading dot) are left out: they hold thumbnails and metadata. Only names
    are looked at, no file is opened.

    Raises:
        CleverError: If a folder cannot be read.
    """
    return sorted(_walk(root))


def list_folder(root: Path, files: list[str]) -> list[ImageRecord]:
    """Records of the pictures among the files below a folder.

    Where each lies in a sub-folder of it, and none deeper, these are the folders of its classes:
    their names are the labels.
    """
    pictures = [name for name in files if name.lower().endswith(EXTENSIONS)]
    of_classes = all(name.count("/") == 1 for name in pictures)
    return [
        ImageRecord.of(
            name,
            FileInFolder(root, name),
            parse_label(name.partition("/")[0]) if of_classes else None,
        )
        for name in pictures
    ]


def _walk(root: Path) -> Iterator[str]:
    def unreadable(error: OSError) -> NoReturn:
        raise CleverError(
            f"{str(error.filename)!r} cannot be read ({error.strerror})",
            "a folder that may be listed",
            "change its permissions or choose another folder",
        ) from error

    for folder, children, files in os.walk(root, onerror=unreadable):
        children[:] = [child for child in children if not child.startswith(".")]
        below = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        yield from (below + file for file in files if not file.startswith("."))
