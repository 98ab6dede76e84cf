"""What a run shows of itself: a bar in a terminal or a notebook, elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ..progress import InCell, duration
from .log import Tally

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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
    """Shows the share that is done, pictures and gradients per second, the time left, the means."""

    def __init__(self, n_images: int, tally: Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.n_images, self.tally = n_images, tally
        console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(bar_width=16),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self.view: Progress | InCell = InCell(self.bar) if console.is_jupyter else self.bar
        self._task: TaskID = self.bar.add_task("", total=n_images, completed=tally.images)
        self._said = self._begun = time.monotonic()
        self._before = self._done = float(tally.images)

    def within(self, piece: int, done: int, total: int) -> None:
        """Move the bar, and say how far the first piece is."""
        self._done = max(self._done, self.tally.images + piece * done / total if total else 0.0)
        said = speeds(self.tally)
        if not self.tally.recent_gradients and done:
            seconds = max(1e-3, time.monotonic() - self._begun)
            said = f"{done / seconds:,.0f} gradients/s"
        self._show(said)

    def finished(self) -> None:
        """Read the log, and show what it adds up to."""
        self.tally.update()
        self._done = float(self.tally.images)
        self._show(speeds(self.tally))

    def _show(self, speed: str) -> None:
        share = self._done / self.n_images if self.n_images else 1.0
        said = (
            f"{self.tally.images:,} of {self.n_images:,} pictures ({share:.3%}); {speed}; "
            f"{self._left()} left"
        )
        self.view.update(self._task, completed=self._done, description=said)
        now = time.monotonic()
        if self.bar.disable and now - self._said >= _LINE:
            self._said = now
            with suppress(OSError):  # nobody reads it any longer: the run goes on
                print(said, file=sys.stderr, flush=True)

    def _left(self) -> str:
        """Say how long the rest will take at the speed of this start."""
        here = self._done - self._before
        if here <= 0:
            return "unknown time"
        each = (time.monotonic() - self._begun) / here
        return duration(max(0.0, self.n_images - self._done) * each)


def speeds(tally: Tally) -> str:
    """Say how fast a run goes, and what the scores are so far."""
    seconds = max(1e-3, tally.last - tally.since)
    speed = f"{tally.recent_images / seconds:,.2f} pictures/s"
    return f"{speed} {tally.recent_gradients / seconds:,.0f} gradients/s  {tally.means()}".rstrip()


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
    with shown.view:
        yield shown
