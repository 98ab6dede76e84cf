"""Whether pictures that are opened again are the same data: by the contents of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CleverError

MAX_READ = 16 * 2**30
"""Length of archives, tables and arrays, together, up to which they are read whole."""


@dataclass(frozen=True)
class Container:
    """A file that holds many pictures, as it was when they were listed.

    Attributes:
        path: Where it is.
        size: Its length in bytes.
        modified: When it was written last, in nanoseconds.
    """

    path: Path
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Container:
        """Look at a file."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Refuse to read on from a file that is no longer the one that was listed.

        Raises:
            CleverError: Its length or time of writing is another.
        """
        if Container.of(self.path) != self:
            raise CleverError(
                f"{str(self.path)!r} has changed since its pictures were listed",
                "the same file during a whole run",
                "start again, and leave the file alone meanwhile",
            )


def contents(
    pictures: Iterable[tuple[str, Any]], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Tell the contents of the files that pictures lie in, as JSON.

    An array, tables and shards are read whole, up to `MAX_READ` bytes. Of files in a folder, and of
    longer shards, names and sizes count: to read them all would take as long as to score some.

    Args:
        pictures: The name of each, and its place: one with a `container`, or a file with `look`.
        known: What this function returned for them before. Where the number of files, their length
            and the time of the last change are still those, its digest is taken, and nothing read.

    Returns:
        `of`: "contents" or "names and sizes"; `sha256` over these; the number of `files`, their
        length together in `bytes`, and when one was `modified` last, in nanoseconds since 1970.

    Raises:
        OSError: If a file of an array, table or archive cannot be read.
    """
    containers: dict[Container, None] = {}
    lines, sizes, modified = [], [], 0
    for name, place in pictures:
        if hasattr(place, "container"):
            containers[place.container] = None
        elif hasattr(place, "look"):
            size, when = place.look()
            lines.append(f"{name}\t{size}")
            sizes.append(max(size, 0))
            modified = max(modified, when)
    sizes += [each.size for each in containers]
    modified = max(modified, max((each.modified for each in containers), default=0))
    whole = bool(containers) and not lines and sum(sizes) <= MAX_READ
    if not whole:
        lines += [f"{each.path.name}\t{each.size}" for each in containers]
    found: dict[str, Any] = {
        "of": "contents" if whole else "names and sizes",
        "files": len(sizes),
        "bytes": sum(sizes),
        "modified": modified,
    }
    if whole:
        if known is not None and found == {name: known.get(name) for name in found}:
            return dict(known)
        lines = [_digest(each) for each in containers]
    return {**found, "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def other_contents(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Tell how the contents of pictures differ.

    When files were written does not count: a copy of them is the same data.

    Args:
        there: What `contents` returned before.
        here: What it returns now.

    Returns:
        A clause for a message, such as "the pictures are other data: 1 file of 8 bytes, ...", or
        "" where the contents are the same.
    """
    if (there["of"], there["sha256"]) == (here["of"], here["sha256"]):
        return ""
    return f"the pictures are other data: they were {_words(there)}, now they are {_words(here)}"


def _words(found: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(found["modified"] / 1e9, timezone.utc)
    return (
        f"{found['files']} file{'s' * (found['files'] != 1)} of {found['bytes']} bytes, "
        f"last written {when.isoformat(' ', 'seconds')}, with the digest {found['sha256'][:12]}"
    )


@lru_cache(maxsize=4096)
def _digest(container: Container) -> str:
    """SHA-256 of a file, which is read once as long as its length and time of writing stay."""
    with container.path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**22):
            digest.update(block)
    container.check()
    return digest.hexdigest()
