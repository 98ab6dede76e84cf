"""How passes are made, and what to do when one fails."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..classifier.oracle import GradientOracle
from ..errors import CleverError, in_short
from ..machine.memory import is_out_of_memory
from .graphs import Recorder

#: Device batches that are kept at most.
_MOST_KEPT = 8


class Kept:
    """Device batches whose work is done, with what was recorded of them, for more of its kind.

    A batch that is in use is not among them, so that nobody else takes it.
    """

    def __init__(self) -> None:
        self._batches: dict[Hashable, Any] = {}
        self._recorder: Recorder | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def recorder(self, device: torch.device) -> Recorder:
        """Return what records the steps of them all."""
        if self._recorder is None:
            self._recorder = Recorder(device)
        return self._recorder

    def take(self, kind: Hashable) -> Any:
        """Take a batch for a kind of work away; None: there is none."""
        return self._batches.pop(kind, None)

    def put(self, kind: Hashable, batch: Any) -> None:
        """Keep a batch, in the place of the one that was used the longest time ago."""
        self._batches[kind] = batch
        if len(self._batches) > _MOST_KEPT:
            del self._batches[next(iter(self._batches))]


@dataclass
class Plan:
    """How the passes are made. Nothing here changes a sample.

    Attributes:
        oracle: Gives the margin gradients.
        device_batch: How many points go through the model at once; halved when memory runs out.
        fixed_batch: Whether every device batch must have that size, as for a compiled model; rows
            beyond the last sample are computed and not used.
        capture: Whether to record the step as a CUDA graph; False once that has failed.
        options: The names of what was done to the model.
        memory_format: How the points should lie in memory.
        notes: What was left out or changed on the way, and why.
        clipped: Whether samples are held in a range of valid data.
        sizes: Numbers of points that went through the model at once so far.
        kept: Device batches for work like that which was done.
        otherwise: Given the plan and the error of a pass, returns an oracle that takes over; None:
            there is none.
    """

    oracle: GradientOracle
    device_batch: int
    fixed_batch: bool = False
    capture: bool = False
    options: tuple[str, ...] = ()
    memory_format: torch.memory_format = torch.contiguous_format
    notes: dict[str, str] = field(default_factory=dict)
    clipped: bool = False
    sizes: set[int] = field(default_factory=set)
    kept: Kept = field(default_factory=Kept)
    otherwise: Callable[[Plan, Exception], GradientOracle | None] = lambda *_: None

    def recover(self, error: Exception, size: int) -> None:
        """Change the plan after a pass over `size` points has failed, so that it can be repeated.

        Where memory ran out what was kept is given up, then the device batch is halved. Else, or
        where one point alone is too much, another oracle takes over.

        Raises:
            CleverError: there is no other way.
        """
        given_up = len(self.kept) > 0
        self.forget()
        if is_out_of_memory(error) and given_up:
            return
        if is_out_of_memory(error) and size > 1:
            self.device_batch = max(1, size // 2)
            self.notes["device_batch"] = f"halved to {self.device_batch}: out of memory"
            return
        other = self.otherwise(self, error)
        if isinstance(error, CleverError) and other is None:
            raise error
        if other is None:
            raise self._failure(error) from error
        self.oracle, self.fixed_batch, self.capture = other, False, False

    def forget(self) -> None:
        """Keep nothing of what was done, and give its memory back."""
        self.kept = Kept()

    def _failure(self, error: Exception) -> CleverError:
        if is_out_of_memory(error):
            return CleverError(
                f"there is no memory for the model's passes at one point ({in_short(error)})",
                "memory for a forward and a backward pass of one point",
                "free memory, or score on another device",
            )
        fix = "see the error above: the model must take every point within clip"
        if not self.clipped:
            fix = (
                "give clip=(low, high), the range of valid data, such as clip=(0, 1), if the model "
                "takes no other points; else see the error above"
            )
        return CleverError(
            f"the model failed at a point of the ball ({in_short(error)})",
            "a model that takes every point of the balls to logits [B, K]",
            fix,
        )
