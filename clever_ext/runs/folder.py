"""The files of a run: `run.json` and Parquet parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import CleverError
from ..results import FORMAT, CleverResult


class RunFolder:
    """The files of one run.

    `run.json` holds settings, versions and digests; `parts/part-00000.parquet` and so on hold the
    rows, each a file that `CleverResult.load` reads. Every file appears whole or not at all.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def description(self) -> Path:
        """Where the settings are."""
        return self.path / "run.json"

    def create(self) -> None:
        """Make an empty run.

        Raises:
            CleverError: there is one already, or the folder cannot be made.
        """
        if self.description.exists():
            raise CleverError(
                f"{self.path} already holds a run",
                "a folder without run.json",
                "choose another --out, or move that run away",
            )
        try:
            (self.path / "parts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CleverError(
                f"{self.path} cannot be made: {error}",
                "a folder that can be written to",
                "choose another --out",
            ) from error

    def describe(self, description: dict[str, Any]) -> None:
        """Write `run.json`."""
        partial = self.description.with_suffix(".json.partial")
        partial.write_text(json.dumps({"format": FORMAT, **description}, indent=2) + "\n")
        partial.replace(self.description)

    def add(self, number: int, result: CleverResult) -> None:
        """Write one part."""
        result.save(self.path / "parts" / f"part-{number:05d}.parquet")

    def load(self) -> CleverResult:
        """Read all the parts.

        Raises:
            CleverError: there is no run, or no part of it.
        """
        parts = sorted((self.path / "parts").glob("part-*.parquet"))
        if not self.description.exists() or not parts:
            raise CleverError(
                f"{self.path} holds no run with results",
                "a folder that `clever-ext score` wrote",
                "check the path",
            )
        return CleverResult.concatenate([CleverResult.load(part) for part in parts])


def load_run(path: str | os.PathLike[str]) -> CleverResult:
    """Read a run's rows; the metadata is what `run.json` says.

    Raises:
        CleverError: there is no run, or no part of it.
    """
    run = RunFolder(path)
    result = run.load()
    return CleverResult(result.table, json.loads(run.description.read_text()))
