"""Files that appear whole or not at all, and stay where the power fails."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from .errors import CleverError

#: What a file is called until it is whole; whatever stops the process leaves at most such a one.
PARTIAL = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Give a descriptor to write a file by under a name of its own, then give it its name.

    The data, and then the folder, are flushed to the disk: what is there after this is there after
    a failure of power, and a reader sees the old file or the new one, never a part of it.

    A link stays one: the file that it leads to is replaced. What is there and is no ordinary file,
    such as a pipe, is written into as it is.

    Raises:
        CleverError: the system refuses; the old file, if there is one, is as it was, or whole.
    """
    try:
        if not _is_ordinary(path):
            descriptor = os.open(path, os.O_WRONLY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            return
    except OSError as error:
        raise cannot_write(path, error) from error
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{uuid4().hex[:12]}{PARTIAL}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)  # noqa: PTH105 - one module, `os`, for all that may fail here
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_ordinary(path: Path) -> bool:
    """Tell whether a name is free, or of a file that another may replace."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - one module, as above
    except FileNotFoundError:
        return True


def write(path: Path, data: bytes) -> None:
    """Write a file as `replacing` does.

    Raises:
        CleverError: the system refuses.
    """
    with replacing(path) as descriptor:
        _write_all(descriptor, data)


def append(descriptor: int, line: str, path: Path) -> None:
    """Add a line to an open file, in one piece.

    Raises:
        CleverError: the system refuses.
    """
    try:
        _write_all(descriptor, line.encode() + b"\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> CleverError:
    """Say that a file could not be written, and that nothing else was lost."""
    if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
        return CleverError(
            f"{path} cannot be written: the folder {str(path.parent)!r} is not there",
            "a file in a folder that is there",
            "make the folder, or choose another place",
        )
    return CleverError(
        f"{path} cannot be written: {error.strerror or error}",
        "room on the disk, and the right to write there",
        "make room or choose another place, and start the same command again: what was written "
        "before is kept",
    )
