"""The form that all estimators have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..inputs.settings import EstimatorName, Settings
from ..progress import Progress
from .subjects import Subjects

if TYPE_CHECKING:
    import pandas as pd


class Scored(NamedTuple):
    """What an estimator gives: the table of rows, and whether it is whole (Ctrl-C ends early)."""

    table: pd.DataFrame
    complete: bool


class Estimator(Protocol):
    """A way to spend gradients on rows; the modules of this room that `table` names are such.

    Attributes:
        NAME: What `clever_score(estimator=...)` calls it. Several may share one name, and differ by
            other arguments.
        OPTIONS: Arguments of `clever_score` that it takes, of those that others refuse.
        AT_MOST: Whether it may spend fewer gradients than `Settings.gradients_of_row`.
    """

    NAME: EstimatorName
    OPTIONS: frozenset[str]
    AT_MOST: bool

    def is_asked(self, settings: Settings) -> bool:
        """Tell whether settings ask for it. The first in the table that says so is taken."""

    def check(self, settings: Settings) -> None:
        """Refuse settings that do not go together, with a `CleverError`."""

    def budget(self, settings: Settings) -> tuple[int, int] | None:
        """Return the default of `max_gradients` and the least; None where n_batches decides."""

    def score(self, subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
        """Score all rows of the subjects; Ctrl-C keeps those that are finished.

        Args:
            subjects: The images, what the model makes of them, and the engine, which is running.
            settings: Those that asked for this estimator.
            progress: Called with the gradients done and the most that there can be.
        """
