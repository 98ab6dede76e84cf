"""What has become of a run, told from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import CleverError, few
from ..progress import duration
from ..results.result import CleverResult
from .folder import RunFolder, check_part
from .log import Tally, facts_of
from .meter import speeds, time_left
from .pieces import Pieces

#: The columns that a tally needs.
_SCORES = ("image_id", "norm", "target", "score", "status", "p_lowest", "n_gradients")


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes:
        description: What `run.json` says.
        pieces: Of the run, and of its shard.
        tally: What its pieces add up to.
        finished: Pieces that are finished.
        refused: Files of parts that are damaged, or of another run.
        worked_at: Whether a process holds the run's lock.
    """

    description: dict[str, Any]
    pieces: Pieces
    tally: Tally
    finished: int
    refused: tuple[str, ...]
    worked_at: bool

    @property
    def complete(self) -> bool:
        """Whether all the pieces are finished."""
        return self.finished >= len(self.pieces.numbers)

    @property
    def state(self) -> str:
        """In a word."""
        if self.complete:
            return "complete"
        return "running" if self.worked_at else "stopped: the same command goes on"

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is to say, as pairs of a name and words."""
        n_images = self.pieces.images(self.pieces.numbers)
        model, settings = self.description["model"], self.description["settings"]
        facts = [
            ("state", self.state),
            ("model", model["name"]),
            (
                "pictures",
                f"{self.tally.images:,} of {n_images:,}, {self.tally.errors:,} with errors",
            ),
            ("pieces", f"{self.finished:,} of {len(self.pieces.numbers):,}"),
            *self._refused(),
            ("gradients", f"{self.tally.gradients:,}"),
            ("estimator", f"{settings['estimator']}, norms {', '.join(settings['norms'])}"),
            ("mean scores", self.tally.means() or "none yet"),
        ]
        if self.tally.errors:
            facts.append(("errors", "the same command with --retry-errors scores them again"))
        busy = sum(self.tally.seconds.get(name, 0.0) for name in ("waited", "scored"))
        if busy:
            waited = self.tally.seconds["waited"] / busy
            facts.append(("time", f"{duration(busy)}, {waited:.1%} of it waiting for pictures"))
        if self.worked_at:
            facts.append(("speed", speeds(self.tally)))
            facts.append(("time left", time_left(self.tally, n_images)))
        return facts

    def _refused(self) -> list[tuple[str, str]]:
        if not self.refused:
            return []
        return [
            (
                "damaged parts",
                f"{few(self.refused)}: the same command sets them aside and scores anew",
            )
        ]


def read_status(folder: RunFolder) -> Status:
    """Read where a run stands; nothing is written, and a process at work is not disturbed.

    Raises:
        CleverError: there is no run, or a part that is not in the log is damaged within.
    """
    description = folder.read()
    tally = Tally(folder.log)
    tally.update()
    pieces = Pieces.of(description)
    finished, refused = {}, []
    for number, path in folder.finished().items():
        try:
            check_part(path, description, number)
        except CleverError:
            refused.append(path.name)
            continue
        if number in pieces.numbers:
            finished[number] = path
        else:
            refused.append(path.name)
    for number in tally.pieces.keys() - finished.keys():
        tally.remove(number)
    # A process may have been killed between a part and its line in the log.
    for number in finished.keys() - tally.pieces.keys():
        rows = CleverResult.load_parts([finished[number]], _SCORES)
        tally.add(number, 0.0, facts_of(rows))
    worked_at = folder.is_locked()
    return Status(description, pieces, tally, len(finished), tuple(refused), worked_at)
