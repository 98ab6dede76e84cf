"""Several processes at one run: who scores which piece.

Under torchrun each process asks a counter in the job's store for the next piece; nothing else is
said between them, and nothing per sample. What is done is known from the run's folder alone, so
that processes may come and go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator
from datetime import timedelta
from typing import Protocol

import torch

from ..inputs.batch import Device

#: How long a rank waits for the first to begin the run: trials may take minutes.
_BEGIN = timedelta(hours=6)
#: A piece that was taken and is not finished after so many times the longest one is given up for
#: lost: its rank has died, has left or hangs.
_PATIENCE, _SHORTEST = 3.0, 10.0
_POLL = 0.5
#: Keys of the job's store.
_TAKEN, _BEGUN = "clever_ext/taken", "clever_ext/begun"


class Ranks(Protocol):
    """The processes of a job, as one of them sees it."""

    job: str | None  # a name that all share, None for a process alone
    leader: bool  # whether this one begins the run and shows its progress

    def start_over(self) -> None:
        """Let pieces be taken anew; called while no other process is at work."""

    def begun(self) -> None:
        """Tell the others that the run's folder is there."""

    def wait_until_begun(self) -> None:
        """Wait for that."""

    def take(self) -> int:
        """Return 0, 1, 2 and so on, each to one of the processes."""


class Alone:
    """A process without others."""

    def __init__(self) -> None:
        self.job: str | None = None
        self.leader = True
        self._next = -1

    def start_over(self) -> None:
        """Nothing was taken."""

    def begun(self) -> None:
        """Tell nobody."""

    def wait_until_begun(self) -> None:
        """Go on."""

    def take(self) -> int:
        """Return 0, 1, 2 and so on."""
        self._next += 1
        return self._next


class Together:
    """A process that torchrun has started."""

    _runs = 0  # that this process has taken part in

    def __init__(self) -> None:
        from torch.distributed.rendezvous import rendezvous

        self._store, rank, _ = next(rendezvous("env://"))
        # The processes of a job begin the same runs one after the other, and share one store.
        self._taken, self._begun = (f"{key}/{Together._runs}" for key in (_TAKEN, _BEGUN))
        Together._runs += 1
        self.leader = rank == 0
        # Not the count of restarts, which nodes may disagree on.
        names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
        self.job: str | None = "torchrun job " + " ".join(
            os.environ.get(name, "-") for name in names
        )

    def start_over(self) -> None:
        """Count from 0: the store outlives the processes that torchrun starts again."""
        self._store.set(self._taken, "0")

    def begun(self) -> None:
        """Set the key that the others wait for."""
        self._store.set(self._begun, b"1")

    def wait_until_begun(self) -> None:
        """Wait for the leader's key."""
        self._store.wait([self._begun], _BEGIN)

    def take(self) -> int:
        """Count one on in the store, in one step for all processes."""
        return int(self._store.add(self._taken, 1)) - 1


def find_ranks() -> Alone | Together:
    """Return the processes that this one belongs to, by torchrun's variables."""
    return Together() if "TORCHELASTIC_RUN_ID" in os.environ else Alone()


def local_device(asked: Device | None) -> Device | None:
    """Give each process of a node a GPU of its own, where none or just "cuda" was asked for."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or asked not in (None, "cuda") or not torch.cuda.is_available():
        return asked
    return f"cuda:{int(rank) % torch.cuda.device_count()}"


def first_round(ranks: Ranks, numbers: range, finished: Container[int]) -> Iterator[int]:
    """Yield the pieces that this process is the first to take, but for those that are finished."""
    while (place := ranks.take()) < len(numbers):
        if numbers[place] not in finished:
            yield numbers[place]


def left_over(
    ranks: Ranks, missing: Callable[[], list[int]], longest: float, stopping: Callable[[], bool]
) -> Iterator[int]:
    """Yield pieces that others took and never finished, until none of the run is missing.

    Two processes that score the same piece write the same rows.

    Args:
        ranks: The processes.
        missing: Tells which pieces are not finished.
        longest: Seconds that a piece took.
        stopping: Tells whether to end.
    """
    patience = max(_SHORTEST, _PATIENCE * longest)
    left, since = missing(), time.monotonic()
    while left and not stopping():
        if ranks.job is not None and time.monotonic() - since < patience:
            time.sleep(_POLL)
        else:
            yield left[ranks.take() % len(left)]
        now = missing()
        if now != left:
            left, since = now, time.monotonic()
