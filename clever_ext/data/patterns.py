"""Patterns that name several files: the shell's signs, and braces that must all be there."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from ..errors import CleverError


def files_of_pattern(pattern: str) -> list[Path]:
    """The files that a pattern names, in order; what braces name must all be there."""
    files: list[Path] = []
    folder = Path(pattern)
    while not folder.is_dir():
        folder = folder.parent
    # What is there under its very name is no pattern, whatever signs are in it.
    top = glob.escape(str(folder))
    expanded = _without_braces(str(Path(pattern).relative_to(folder)))
    for each in expanded:
        whole = os.path.join(top, each)  # noqa: PTH118 (a pattern, not a path)
        found = sorted(map(Path, glob.glob(whole, recursive=True)))  # noqa: PTH207 (absolute)
        if not found and len(expanded) > 1:
            raise CleverError(
                f"{str(folder / each)!r}, which the pattern names, is not there",
                "all the files of the pattern",
                "fetch the missing one, or correct the numbers in the braces",
            )
        files += found
    return files


def _without_braces(pattern: str) -> list[str]:
    """Spell out the first {a,b} or {000..049} of a pattern, and then the others."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers is None:
        choices = match[1].split(",")
    else:
        first, last = numbers.groups()
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    spelled = (pattern[: match.start()] + each + pattern[match.end() :] for each in choices)
    return [one for each in spelled for one in _without_braces(each)]
