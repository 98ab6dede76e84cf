"""The runs that a report tells of, read and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import CleverError
from ..results import CleverResult
from ..runs.folder import load_run

#: What stands for a run: its result, its folder, or a Parquet file of results.
Source = CleverResult | str | PathLike[str]


@dataclass(frozen=True)
class Run:
    """A run under the name that tells it from the others.

    Attributes:
        name: Of the model, with the folder's where models have the same.
        result: Its rows and settings.
    """

    name: str
    result: CleverResult

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each logit; empty where they are not known."""
        names: Sequence[str] | None = self.result.metadata.get("class_names")
        return names or ()

    def class_name(self, number: Any) -> str:
        """Name a class: by its word, or else by its number; nothing for a missing one."""
        import pandas as pd

        if pd.isna(number):
            return ""
        index = int(number)
        names = self.class_names
        return names[index] if 0 <= index < len(names) else str(index)


def read_runs(sources: Source | Sequence[Source]) -> list[Run]:
    """Read runs and name them.

    Args:
        sources: One run or several: results, run folders, or Parquet files of results.

    Raises:
        CleverError: there is none, one cannot be read, or has no row.
    """
    alone = isinstance(sources, (CleverResult, str, PathLike))
    listed: list[Source] = [sources] if alone else list(sources)  # type: ignore[list-item, arg-type]
    if not listed:
        raise CleverError(
            "there is no run to report",
            "one at least",
            "name a folder that `clever-ext score` made",
        )
    results = [each if isinstance(each, CleverResult) else _read(Path(each)) for each in listed]
    for source, result in zip(listed, results, strict=True):
        if len(result.table) == 0:
            raise CleverError(
                f"{_place(source) or 'the run'} has no rows",
                "at least one picture that was scored",
                "let the run go on, or leave it out",
            )
    return [Run(*pair) for pair in zip(_names(listed, results), results, strict=True)]


def _read(path: Path) -> CleverResult:
    return CleverResult.load(path) if path.suffix == ".parquet" else load_run(path)


def _place(source: Source) -> str:
    return "" if isinstance(source, CleverResult) else str(source)


def _names(sources: Sequence[Source], results: Sequence[CleverResult]) -> list[str]:
    """Name runs by model, then by place, then by number, as far as it takes to tell them apart."""
    models = [str(result.metadata.get("model", {}).get("name", "run")) for result in results]
    places = [_place(source) for source in sources]
    both = [
        f"{model} ({place})" if models.count(model) > 1 and place else model
        for model, place in zip(models, places, strict=True)
    ]
    seen: Counter[str] = Counter()
    names = []
    for name in both:
        seen[name] += 1
        names.append(name if both.count(name) == 1 else f"{name} #{seen[name]}")
    return names
