"""The one exception that bad input raises, and how its words are put."""

from __future__ import annotations

from collections.abc import Sequence


class CleverError(ValueError):
    """Bad input, found before any work was done.

    Attributes:
        wrong: What was wrong, with the value that was given.
        expected: What would have been right.
        fix: What to do about it.
    """

    #: Of a command that ends by it.
    exit_status = 2

    def __init__(self, wrong: str, expected: str, fix: str) -> None:
        self.wrong = wrong
        self.expected = expected
        self.fix = fix
        super().__init__(f"{wrong}. Expected: {expected}. Fix: {fix}.")

    def __reduce__(self) -> tuple[type[CleverError], tuple[str, str, str]]:
        return type(self), (self.wrong, self.expected, self.fix)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def in_short(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    kind, said = type(error).__name__, first_line(error)
    return f"{kind}: {said}" if str(error).strip() else kind


def few(names: Sequence[str], most: int = 3) -> str:
    """List the first names, and say how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
