"""What became of the pictures of a run, as the exit status of a command says it."""

from __future__ import annotations

from ..errors import CleverError
from ..results.result import CleverResult

#: Exit statuses: all pictures have scores, some have none, none has one. Bad input has 2, and a
#: stopped run 128 and the number of the signal.
ALL, SOME, NONE = 0, 3, 4


class NothingScoredError(CleverError):
    """The settings are right, and yet no picture can be scored."""

    exit_status = NONE


def outcome(result: CleverResult) -> int:
    """Return the exit status that a run's rows stand for.

    Args:
        result: The rows; those of lists are not needed.
    """
    rows = result.table
    failed = rows.loc[rows["status"].isin(("error", "non-finite")), "image_id"].nunique()
    if not failed:
        return ALL
    return SOME if failed < rows["image_id"].nunique() else NONE
