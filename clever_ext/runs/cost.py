"""What a run will take, and what would be cheaper: told before its first gradient."""

from __future__ import annotations

from dataclasses import dataclass

from ..findings import Finding
from ..inputs import DEFAULT_GRADIENTS, Settings
from .meter import duration
from .pieces import gradients_per_image

#: Seconds from which it is said what would be cheaper; gradients below which nothing is measured.
_LONG, _SHORT = 300.0, 2000
#: Pictures whose mean score is known to a few per cent, and fewer that give a first look.
_SAMPLES = (1000, 100)


@dataclass(frozen=True)
class Cost:
    """What is left to be done.

    Attributes:
        images: Pictures.
        n_targets: Of each.
        settings: Of the scores.
    """

    images: int
    n_targets: int
    settings: Settings

    @property
    def rows(self) -> int:
        """Of the result."""
        return self.images * self.n_targets * len(self.settings.balls)

    @property
    def gradients(self) -> int:
        """As many as there can be."""
        return self.images * gradients_per_image(self.settings, self.n_targets)

    @property
    def at_most(self) -> str:
        """Words for that, where fewer may do."""
        settings = self.settings
        fewer = settings.tolerance is not None or settings.race or settings.estimator != "clever"
        return "at most " if fewer else ""

    @property
    def measurable(self) -> bool:
        """Whether the run is long enough for a measurement."""
        return self.gradients >= _SHORT

    def __str__(self) -> str:
        gradients = f"{self.at_most}{self.gradients:,} gradients"
        return f"{self.images:,} pictures, {self.rows:,} rows, {gradients}"

    def time(self, rate: float) -> str:
        """Say how long the run will take.

        Args:
            rate: Gradients per second of this process.
        """
        words = f"{self.at_most or 'about '}{duration(self.gradients / rate)}"
        return f"{words.capitalize()} by one process, at {rate:,.0f} gradients/s."

    def findings(self, rate: float) -> list[Finding]:
        """Say what would be cheaper than a long run."""
        seconds = self.gradients / rate
        if seconds < _LONG:
            return []
        said = f"the run will take {self.at_most}{duration(seconds)}"
        return [Finding("cost", said, f"cheaper would be {_listed(self._cheaper(seconds))}")]

    def _cheaper(self, seconds: float) -> list[str]:
        """Name options that make a run shorter, with the time that each leaves."""
        settings, found = self.settings, []
        if self.n_targets > 1:
            found.append(f"--targets top2 ({duration(seconds / self.n_targets)})")
        if settings.estimator == "clever":
            of_row = gradients_per_image(settings, 1) // len(settings.balls)
            if of_row > DEFAULT_GRADIENTS:
                less = duration(seconds * DEFAULT_GRADIENTS / of_row)
                found.append(f"--estimator steepest (at most {less})")
            if settings.tolerance is None and not settings.race:
                found.append("--tolerance 0.05 (only as many gradients as it needs)")
        fewer = next((n for n in _SAMPLES if n < self.images), None)
        if fewer:
            found.append(f"--sample {fewer} ({duration(seconds * fewer / self.images)})")
        return found or ["fewer --n-batches"]


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
