"""Mends the folder of a run before it goes on: nothing is deleted, what is no part is set aside."""

from __future__ import annotations

from typing import Any

from .. import durable
from ..errors import CleverError
from ..results.result import read_metadata
from .folder import RunFolder, check_part
from .log import open_log
from .pieces import Pieces


def recovered(run: RunFolder) -> dict[str, Any]:
    """Read what a run is: from `run.json`, or from a part where that is missing or damaged.

    Raises:
        CleverError: neither tells.
    """
    try:
        return run.read()
    except CleverError as error:
        newest_first = sorted(
            run.finished().values(), key=lambda path: path.stat().st_mtime_ns, reverse=True
        )
        for path in newest_first:
            try:
                metadata = read_metadata(path)
            except CleverError:
                continue
            if "run" in metadata:
                return dict(metadata["run"])
        raise error


def mend(run: RunFolder, description: dict[str, Any]) -> None:
    """Clear away what stopped processes and others left, and note in the log what was done.

    Files that were never finished go. A part that is damaged, of another run, or of a piece that
    this run does not have is moved to `set-aside`, and its piece is scored again. `run.json` is
    written again where it is missing or damaged.

    Args:
        run: The folder, locked.
        description: What the run is, from `recovered`.

    Raises:
        CleverError: a file cannot be moved or written.
    """
    done = []
    try:
        run.read()
    except CleverError as error:
        run.describe(description)
        done.append(f"wrote run.json anew: {error.wrong}")
    try:
        for folder in (run.path, run.parts):
            for left in folder.glob(f".*{durable.PARTIAL}"):
                left.unlink()
                done.append(f"removed {left.name}, which was never finished")
        numbers = Pieces.of(description).numbers
        for number, path in run.finished().items():
            try:
                check_part(path, description, number)
                if number in numbers:
                    continue
                why = f"{path.name} is no part of this run"
            except CleverError as error:
                why = error.wrong
            aside = run.path / "set-aside"
            aside.mkdir(exist_ok=True)
            path.rename(aside / path.name)
            durable.sync_folder(run.parts)
            done.append(f"set aside {path.name}: {why}")
    except OSError as error:
        raise durable.cannot_write(run.path, error) from error
    if done:
        with open_log(run.log) as log:
            for what in done:
                log.write("mended", what=what)
