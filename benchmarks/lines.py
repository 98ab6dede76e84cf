"""Files of JSON lines that programs add to as they go.

A line is on the disk before `append` returns. A program that is killed leaves whole lines, and at
most a torn last one, behind which others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

#: The variable that names the run whose lines a process writes; each line has it.
RUN = "CLEVER_LINES_RUN"


def append(path: Path, line: dict[str, Any]) -> None:
    """Add one line to a file, which other processes may add to at the same time."""
    run = os.environ.get(RUN)
    text = json.dumps({"run": run, **line} if run else line) + "\n"
    with path.open("a+b", buffering=0) as file:
        if file.tell() and _last_byte(file) != b"\n":
            text = "\n" + text
        file.write(text.encode())
        os.fsync(file.fileno())


def tell(path: Path, line: dict[str, Any]) -> bool:
    """Add one line; print it where the disk does not take it, and return whether it did."""
    try:
        append(path, line)
    except OSError as error:
        with contextlib.suppress(OSError):  # the terminal is gone
            print(f"not written ({error}): {json.dumps(line)}", flush=True)
        return False
    return True


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    byte: bytes = file.read(1)
    return byte


def read(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file; one that does not exist has none."""
    found = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(text))
        except ValueError:  # its program was killed while it wrote
            continue
    return found


def of_run(path: Path, run: str) -> list[dict[str, Any]]:
    """Return the lines that one run wrote."""
    return [line for line in read(path) if line.get("run") == run]
