"""What was seen of the things that decide a number, in words for people.

What makes a score impossible is a `CleverError`. What a score can be made in spite of, but may not
be lost without a word, is a `Finding`: it is said when the work begins and when it ends, and kept
in the metadata of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .errors import CleverError

#: What a finding is about, in the order in which they are shown.
Topic = Literal["model", "pictures", "labels", "units", "cost", "place"]
TOPICS: tuple[Topic, ...] = get_args(Topic)


class CleverWarning(UserWarning):
    """Something that decides the scores and may not be what was meant."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What it is about.
        said: What was seen, in one sentence without a full stop.
        fix: What to do about it; empty where all is well.
        refused: Whether nothing can be scored until that is done.
    """

    topic: Topic
    said: str
    fix: str = ""
    refused: bool = False

    @property
    def well(self) -> bool:
        """Whether there is nothing to do."""
        return not self.fix

    def __str__(self) -> str:
        return self.said if self.well else f"{self.said}. Fix: {self.fix}."

    @classmethod
    def of(cls, error: CleverError, topic: Topic) -> Finding:
        """Say what a refusal says."""
        return cls(topic, f"{error.wrong}; expected: {error.expected}", error.fix, refused=True)

    def to_json(self) -> dict[str, Any]:
        """Return it as a result's metadata has it."""
        return asdict(self)


def of_concern(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that ask for something to be done, each once, in the order of their topics."""
    once = dict.fromkeys(each for each in findings if not each.well)
    return sorted(once, key=lambda each: TOPICS.index(each.topic))


def warn(findings: Iterable[Finding]) -> None:
    """Tell Python's `warnings` of those that ask for something to be done."""
    for each in of_concern(findings):
        warnings.warn(str(each), CleverWarning, stacklevel=4)
