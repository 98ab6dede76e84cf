"""How far work has come: a bar that counts gradient evaluations, and times in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with the gradient evaluations done and those to be done in all.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Show nothing."""


class Counter:
    """Adds up gradients and reports them, where only a bound of their number is known.

    Args:
        progress: Called with the gradients done and those expected.
        most: As many as there can be.
    """

    def __init__(self, progress: Progress, most: int) -> None:
        self.progress, self.most, self.done = progress, most, 0
        progress(0, most)

    def add(self, n: int) -> None:
        """Count gradients."""
        self.done += n
        self.progress(self.done, max(self.most, self.done))

    def finish(self) -> None:
        """Say that no more will come."""
        self.progress(self.done, self.done)


def after(progress: Progress, spent: int) -> Progress:
    """Report work that begins when so many gradients are spent."""
    return lambda done, total: progress(spent + done, spent + total)


@contextmanager
def gradient_bar() -> Iterator[Progress]:
    """Show gradient evaluations per second and the time left, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.table import Column
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            number = f"{speed:,.0f}" if speed else "-"
            return Text(f"{number} gradients/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}", table_column=Column(no_wrap=True)),
        Speed(table_column=Column(no_wrap=True)),
        TimeLeft(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("scoring", total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def reporting(progress: bool | Progress) -> Iterator[Progress]:
    """Turn what users pass as `progress` into a function: True is a bar, False shows nothing."""
    if progress is True:
        with gradient_bar() as bar:
            yield bar
    else:
        yield progress if callable(progress) else silent


def duration(seconds: float) -> str:
    """Return a time in words: 12 s, 5 min, 3 h 20 min, 2 d 4 h.

    >>> duration(4000)
    '67 min'
    """
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    if hours < 24 * 365:
        return f"{hours // 24} d {hours % 24} h"
    return f"{seconds / (365 * 86400):,.0f} years"
