"""What is said of files that are not read."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from ..findings import Finding
from .records import EXTENSIONS, printable

#: Endings of pictures that are not read, and of archives that have to be unpacked or given.
_LIKE_PICTURES = frozenset({
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".avif", ".jp2", ".j2k",
    ".jxl", ".svg", ".tga", ".psd", ".ico", ".exr", ".hdr", ".dcm", ".dng", ".raw", ".cr2", ".nef",
    ".zip", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".7z", ".rar", ".tar", ".parquet", ".arrow",
    ".feather", ".npy", ".npz", ".safetensors", *EXTENSIONS,
})  # fmt: skip
_NO_PICTURES = re.compile(r"(?i)(readme|licen[cs]e|copying|makefile|dockerfile|notice|authors?)$")


#: How many kinds of files are named.
_SHOWN = 8


def left_out(names: Iterable[str]) -> Iterator[Finding]:
    """Tell how many files of which kind are not read.

    Args:
        names: Their paths, with forward slashes.
    """
    names = sorted(names)
    like = [name for name in names if _may_be_a_picture(name)]
    if like:
        yield Finding(
            "pictures",
            f"not read: {by_ending(like)}",
            "convert pictures to .png and unpack archives, where they are meant to be scored; "
            "move away what is not",
        )
    if others := [name for name in names if not _may_be_a_picture(name)]:
        yield Finding("pictures", f"left out as no pictures: {by_ending(others)}")


def by_ending(names: Iterable[str]) -> str:
    """How many names there are of each ending, and one of each."""
    endings = {
        name: printable(posixpath.splitext(name)[1]) or "without an ending"
        for name in sorted(names)
    }
    firsts = {ending: name for name, ending in reversed(endings.items())}
    counts = Counter(endings.values()).most_common()
    words = [
        f"{count} {ending} ({firsts[ending]!r}{'' if count == 1 else ', ...'})"
        for ending, count in counts[:_SHOWN]
    ]
    more = sum(count for _, count in counts[_SHOWN:])
    return ", ".join(words + [f"{more} others"] * bool(more))


def _may_be_a_picture(name: str) -> bool:
    base = posixpath.basename(name)
    ending = posixpath.splitext(base)[1].lower()
    return ending in _LIKE_PICTURES or (not ending and not _NO_PICTURES.match(base))
