"""How far work has come: a bar that counts gradient evaluations, and times in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
            speed = task.speed
            if task.finished and task.finished_time:  # of all of it
                speed = task.completed / task.finished_time
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
    console = Console(stderr=True)
    bar = Progress(*columns, console=console)
    task = bar.add_task("scoring", total=1)
    with InCell(bar) if console.is_jupyter else bar as shown:
        yield lambda done, total: shown.update(task, completed=done, total=total)


class InCell:
    """A bar of rich in the output of a notebook's cell: one line, which is written again.

    What rich itself does there takes ipywidgets, and a saved notebook does not show it.

    Args:
        bar: It is not started; only its columns are shown.
    """

    #: Seconds from one line to the next.
    EVERY = 0.25

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def __enter__(self) -> InCell:
        from IPython.display import display

        self._shown = time.monotonic()
        self._line = display(self._text(), raw=True, display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._line.update(self._text(), raw=True)

    def update(self, task: Any, **changes: Any) -> None:
        """Move the bar, as rich's own method of this name does."""
        self.bar.update(task, **changes)
        if time.monotonic() - self._shown > self.EVERY:
            self._shown = time.monotonic()
            self._line.update(self._text(), raw=True)

    def _text(self) -> dict[str, str]:
        from rich.console import Console

        console = Console(width=100, color_system=None, force_jupyter=False)
        with console.capture() as captured:
            console.print(self.bar)
        return {"text/plain": captured.get().strip()}


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
