"""The one exception that bad input raises."""

from __future__ import annotations


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
