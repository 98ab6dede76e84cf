"""Several runs side by side: the comparison, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..comparison.compare import compare
from ..comparison.words import Section, sections
from ..errors import CleverError
from ..results.result import CleverResult
from .reading import Run


@dataclass(frozen=True)
class Compared:
    """A comparison as a report shows it.

    Attributes:
        sections: Its sentences and tables, the verdict first; or the reason why there is none.
        data: The same for programs; None if there is none.
    """

    sections: list[Section]
    data: dict[str, Any] | None


def compared(runs: Sequence[Run]) -> Compared | None:
    """Compare the models of several runs; None for a single run.

    Runs that cannot be compared, such as those of one model, can still be shown side by side.
    """
    if len(runs) < 2:
        return None
    try:
        comparison = compare(*_named(runs))
    except CleverError as error:
        return Compared([Section("Not compared", [str(error)])], None)
    return Compared(sections(comparison), comparison.to_dict())


def _named(runs: Sequence[Run]) -> list[CleverResult]:
    """Give runs the names that the report has for them.

    Where two are of one model they keep the model's, for the comparison then joins them.
    """
    models = [run.result.metadata.get("model", {}) for run in runs]
    if len({(model.get("name"), model.get("digest")) for model in models}) < len(runs):
        return [run.result for run in runs]
    return [
        CleverResult(run.result.table, run.result.metadata | {"model": {**model, "name": run.name}})
        for run, model in zip(runs, models, strict=True)
    ]
