"""The runs that a report tells of, read and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CleverError
from ..results.brackets import POINTS, decisive_with_upper, is_bracket
from ..results.result import COLUMNS, CleverResult
from ..runs.folder import RunFolder, Source, place_of, read_scores

if TYPE_CHECKING:
    import pandas as pd


#: Points of many rows do not fit into memory.
WITHOUT_POINTS = tuple(name for name in COLUMNS if name not in POINTS)


@dataclass(frozen=True)
class Run:
    """A run under the name that tells it from the others.

    Attributes:
        name: Of the model; with the estimator or the folder, where models are named alike.
        result: Its rows and settings; of a run on disk without the columns that hold lists, which
            for many images do not fit into memory.
        parts: Files that hold all the columns of these rows; none, if the result does.
    """

    name: str
    result: CleverResult
    parts: tuple[Path, ...] = ()

    def tables(self, columns: Sequence[str] = WITHOUT_POINTS) -> Iterator[pd.DataFrame]:
        """Return the rows, a file at a time.

        Args:
            columns: Those to read; of a file the others are missing values.
        """
        if not self.parts:
            yield self.result.table
        for part in self.parts:
            yield CleverResult.load_parts([part], columns).table

    @property
    def brackets(self) -> bool:
        """Whether its scores are lower ends, and its nearest flips upper ones."""
        return is_bracket(self.result.metadata)

    def decisive(self, images: Collection[int]) -> pd.DataFrame:
        """Return the deciding rows of some images, as `decisive_with_upper`, but for points."""
        import pandas as pd

        wanted = list(images)
        rows = [table[table["image_id"].isin(wanted)] for table in self.tables()]
        return decisive_with_upper(CleverResult(pd.concat(rows, ignore_index=True)))

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
    read = [_read(each) for each in listed]
    results = [result for result, _ in read]
    for source, result in zip(listed, results, strict=True):
        if len(result.table) == 0:
            raise CleverError(
                f"{place_of(source) or 'the run'} has no rows",
                "at least one picture that was scored",
                "let the run go on, or leave it out",
            )
    return [Run(name, *each) for name, each in zip(_names(listed, results), read, strict=True)]


def _read(source: Source) -> tuple[CleverResult, tuple[Path, ...]]:
    """Return the rows of a source without lists, and the files that hold those."""
    result = read_scores(source)
    if isinstance(source, CleverResult):
        return result, ()
    path = Path(source)
    if path.suffix == ".parquet":
        return result, (path,)
    return result, tuple(RunFolder(path).finished().values())


def _names(sources: Sequence[Source], results: Sequence[CleverResult]) -> list[str]:
    """Name runs by model, then estimator, place and number, as far as it takes to tell them apart.

    A run gets what tells it from others of its name; what they have in common it does not.
    """
    metadata = [result.metadata for result in results]
    names = [str(own.get("model", {}).get("name", "run")) for own in metadata]
    estimators = [str(own.get("settings", {}).get("estimator", "")) for own in metadata]
    for words in (estimators, [place_of(source) for source in sources]):
        names = [
            f"{name} ({word})" if word and _differ(name, names, words) else name
            for name, word in zip(names, words, strict=True)
        ]
    seen: Counter[str] = Counter()
    for number, name in enumerate(tuple(names)):
        seen[name] += 1
        if seen[name] > 1:
            names[number] = f"{name} #{seen[name]}"
    return names


def _differ(name: str, names: Sequence[str], words: Sequence[str]) -> bool:
    """Tell whether the words of the runs of one name are not all the same."""
    return len({word for own, word in zip(names, words, strict=True) if own == name}) > 1
