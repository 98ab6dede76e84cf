"""The log of a run: a line for each thing that happened, and what they add up to."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import durable
from ..results.result import CleverResult


class Log:
    """Adds lines to a run's log; several processes may write to the same file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self._who = {"host": socket.gethostname(), "pid": os.getpid()}

    def write(self, event: str, **facts: Any) -> None:
        """Add a line.

        Raises:
            CleverError: it cannot be written.
        """
        line = json.dumps({"time": time.time(), "event": event, **self._who, **facts})
        durable.append(self._descriptor, line, self._path)


@contextmanager
def open_log(path: Path) -> Iterator[Log]:
    """Open a log to add to it; a line that a killed process left unfinished is ended first.

    Raises:
        CleverError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise durable.cannot_write(path, error) from error
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            durable.append(descriptor, "", path)
        yield Log(path, descriptor)
    finally:
        os.close(descriptor)


@dataclass
class Moments:
    """Number, sum and sum of squares of scores."""

    n: int = 0
    sum: float = 0.0
    squares: float = 0.0

    def add(self, n: int, total: float, squares: float) -> None:
        """Add those of others."""
        self.n, self.sum, self.squares = self.n + n, self.sum + total, self.squares + squares

    @property
    def mean(self) -> float:
        """Of the scores; NaN without any."""
        return self.sum / self.n if self.n else math.nan

    @property
    def half_width(self) -> float:
        """Of the mean's 95 % interval, by the normal law; NaN below two scores."""
        if self.n < 2:
            return math.nan
        variance = max(0.0, (self.squares - self.sum**2 / self.n) / (self.n - 1))
        return 1.96 * math.sqrt(variance / self.n)


def facts_of(result: CleverResult) -> dict[str, Any]:
    """Return what the log says of a piece's rows."""
    scores = {p: each[~(each != each)] for p, each in result.scores.items()}
    return {
        "images": int(result.table["image_id"].nunique()),
        "errors": int((result.table["status"] == "error").sum()),
        "gradients": int(result.table["n_gradients"].sum()),
        "scores": {
            f"{p:g}": [len(each), float(each.sum()), float((each**2).sum())]
            for p, each in scores.items()
        },
    }


@dataclass
class Tally:
    """What a run's log adds up to, each piece counted once; `update` reads what is new.

    A piece that is scored again counts as what it is then. The recent ones, of which speeds are
    told, are those after the last start that the log tells of.
    """

    path: Path
    since: float = 0.0  # the last start, in seconds since 1970
    pieces: dict[int, dict[str, Any]] = field(default_factory=dict)  # what was said of each
    images: int = 0
    errors: int = 0
    gradients: int = 0
    recent_images: int = 0
    recent_gradients: int = 0
    last: float = 0.0  # when the last piece was finished
    seconds: dict[str, float] = field(default_factory=dict)  # spent on what, over all processes
    scores: dict[str, Moments] = field(default_factory=dict)
    _read: int = 0

    def update(self) -> None:
        """Read the lines that came since the last time; what is no whole line of ours is left.

        A log that is missing or cannot be read has no lines: what is done is known without it.
        """
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self._read)
            lines = file.read().splitlines(keepends=True)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # somebody is writing it
                self._read += len(line)
                with suppress(ValueError, KeyError, TypeError, AttributeError):
                    event = json.loads(line)
                    if event["event"] == "piece":
                        self.add(event["piece"], event["time"], event)
                    elif event["event"] == "retry":
                        for piece in event["pieces"]:
                            self.remove(piece)
                    elif event["event"] == "start" and event["first"]:
                        self.since, self.recent_images, self.recent_gradients = event["time"], 0, 0

    def add(self, piece: int, when: float, facts: dict[str, Any]) -> None:
        """Count a piece, by what `facts_of` says of it."""
        if piece in self.pieces:
            return
        known = {name: facts[name] for name in ("images", "errors", "gradients", "scores")}
        self._count(known, 1)
        self.pieces[piece] = known
        for name, seconds in facts.get("seconds", {}).items():
            self.seconds[name] = self.seconds.get(name, 0.0) + float(seconds)
        if when >= self.since:
            self.recent_images += int(facts["images"])
            self.recent_gradients += int(facts["gradients"])
            self.last = max(self.last, when)

    def remove(self, piece: int) -> None:
        """Forget a piece that is not finished any more; the time that it took was spent."""
        facts = self.pieces.pop(piece, None)
        if facts is not None:
            self._count(facts, -1)

    def _count(self, facts: dict[str, Any], sign: int) -> None:
        self.images += sign * int(facts["images"])
        self.errors += sign * int(facts["errors"])
        self.gradients += sign * int(facts["gradients"])
        for p, moments in facts["scores"].items():
            self.scores.setdefault(p, Moments()).add(*(sign * each for each in moments))

    def means(self) -> str:
        """Return the running means of the scores, with their intervals, in one line."""
        return ", ".join(
            f"l{p} {each.mean:.4g}" + (f" ± {each.half_width:.2g}" if each.n > 1 else "")
            for p, each in self.scores.items()
            if each.n
        )
