"""What a run shows of itself while it goes: a bar in a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..progress import duration
from .log import Tally

if TYPE_CHECKING:
    from rich.progress import TaskID

#: Seconds between lines where standard error is no terminal.
_LINE = 60.0


class Meter(Protocol):
    """Shows a run's progress."""

    def within(self, piece: int, done: int, total: int) -> None:
        """Take note of the gradients done of those of the piece at hand, of so many pictures."""

    def finished(self) -> None:
        """Take note that a piece is finished, here or elsewhere."""


class Silent:
    """Shows nothing."""

    def within(self, piece: int, done: int, total: int) -> None:
        """Show nothing."""

    def finished(self) -> None:
        """Show nothing."""


class Shown:
    """Shows pictures and gradients per second, the time left and the running means."""

    def __init__(self, n_images: int, tally: Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.n_images, self.tally = n_images, tally
        console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(bar_width=16),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} pictures {task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            speed_estimate_period=600,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self.bar.add_task("", total=n_images, completed=tally.images)
        self._said = self._begun = time.monotonic()

    def within(self, piece: int, done: int, total: int) -> None:
        """Move the bar."""
        share = done / total if total else 0.0
        self.bar.update(self._task, completed=self.tally.images + share * piece)
        if not self.tally.recent_gradients and done:
            seconds = max(1e-3, time.monotonic() - self._begun)
            self.bar.update(self._task, description=f"{done / seconds:,.0f} gradients/s")

    def finished(self) -> None:
        """Read the log, and show what it adds up to."""
        now = time.monotonic()
        self.tally.update()
        said = speeds(self.tally)
        self.bar.update(self._task, completed=self.tally.images, description=said)
        if self.bar.disable and now - self._said >= _LINE:
            self._said = now
            done = f"{self.tally.images:,} of {self.n_images:,} pictures"
            left = time_left(self.tally, self.n_images)
            print(f"{done}; {said}; {left} left", file=sys.stderr, flush=True)


def speeds(tally: Tally) -> str:
    """Say how fast a run goes, and what the scores are so far."""
    seconds = max(1e-3, tally.last - tally.since)
    return (
        f"{tally.recent_images / seconds:,.2f} pictures/s {tally.recent_gradients / seconds:,.0f} "
        f"gradients/s  {tally.means()}"
    )


def time_left(tally: Tally, n_images: int) -> str:
    """Say how long the rest will take at the speed so far."""
    if not tally.recent_images:
        return "unknown time"
    each = (tally.last - tally.since) / tally.recent_images
    return duration(max(0, n_images - tally.images) * each)


@contextmanager
def meter(show: bool, n_images: int, tally: Tally) -> Iterator[Meter]:
    """Show the progress of a run while the block runs, or nothing."""
    if not show:
        yield Silent()
        return
    shown = Shown(n_images, tally)
    with shown.bar:
        yield shown
