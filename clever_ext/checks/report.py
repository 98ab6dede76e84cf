"""Findings as a table of ticks and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings import TOPICS, Finding, of_concern

_MARKS = {"well": "✓", "concern": "!", "refused": "✗"}


@dataclass(frozen=True)
class Checked:
    """What was looked at before scores are made; printing it shows a table.

    It is true where nothing asks for anything to be done.

    Attributes:
        findings: In the order in which they were made.
    """

    findings: Sequence[Finding]

    @property
    def refused(self) -> bool:
        """Whether nothing can be scored as things are."""
        return any(each.refused for each in self.findings)

    @property
    def concerns(self) -> list[Finding]:
        """What asks for something to be done."""
        return of_concern(self.findings)

    @property
    def well(self) -> bool:
        """Whether nothing asks for anything to be done."""
        return not self.concerns

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Mark, topic, what was seen, and what to do, topic after topic."""
        ordered = sorted(dict.fromkeys(self.findings), key=lambda each: TOPICS.index(each.topic))
        return [(mark(each), each.topic, each.said, each.fix) for each in ordered]

    def __bool__(self) -> bool:
        return self.well

    def __str__(self) -> str:
        return "\n".join(
            f"{sign} {topic:<8}  {said}" + (f"\n{'':12}Fix: {fix}." if fix else "")
            for sign, topic, said, fix in self.rows
        )


def mark(finding: Finding) -> str:
    """Return the sign that a finding gets."""
    if finding.refused:
        return _MARKS["refused"]
    return _MARKS["well" if finding.well else "concern"]
