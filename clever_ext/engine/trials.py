"""Trials of ways to make passes, as long as they pay."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifier.oracle import GradientOracle
from ..errors import in_short
from ..machine import memory
from ..machine.memory import is_out_of_memory
from .preparation import Prepared

#: Share of a run's time that trials may take.
_TRIAL_SHARE = 0.05
#: Held while trials are made: threads that measure at a time would measure each other.
measuring = threading.Lock()


def pass_seconds(oracle: GradientOracle, points: Tensor, classes: Tensor, targets: Tensor) -> float:
    """Return the seconds of one pass: the gradients of all targets' margins at all points."""
    begin = time.perf_counter()
    deque(oracle.margin_gradients(points, classes, targets), maxlen=0)
    if points.is_cuda:
        torch.cuda.synchronize(points.device)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Example:
    """One image of the work to come.

    Attributes:
        image: [1, *shape].
        classes: [1] int64, predicted.
        targets: [1, T] int64.
        points: [B, *shape], of the balls, at which ways to make passes are compared.
    """

    image: Tensor
    classes: Tensor
    targets: Tensor
    points: Tensor


class Trials:
    """Times passes like those of the work to come, as long as that is worth it.

    Attributes:
        spent: Seconds so far.
        cut_short: Whether a trial was left out for want of time.
        failed: Why the last trial gave no time, where it was not for want of memory.
    """

    def __init__(
        self,
        example: Example,
        n_gradients: int,
        oracle_of: Callable[[Any, bool], GradientOracle],
    ) -> None:
        self.image, self.classes, self.targets = example.image, example.classes, example.targets
        self.n_targets, self.n_gradients = self.targets.shape[1], n_gradients
        self.n_samples = n_gradients // self.n_targets
        self.oracle_of = oracle_of
        self.spent, self.cut_short, self.failed = 0.0, False, ""
        self.memory_before = memory.resident()

    def seconds(self, prepared: Prepared, size: int, batched_backward: bool = False) -> float:
        """Return the time of one gradient in batches of some size; infinite where passes fail.

        The better of two passes, after one that is not counted.
        """
        times, self.failed = [], ""
        try:
            oracle = self.oracle_of(prepared.model, batched_backward)
            points = self.image.expand(size, *self.image.shape[1:])
            points = points.contiguous(memory_format=prepared.memory_format)
            classes, targets = self.classes.expand(size), self.targets.expand(size, -1)
            for _ in range(3):
                times.append(pass_seconds(oracle, points, classes, targets))
        except Exception as error:  # whatever a model's own code raises, at this size or ever
            self.failed = "" if is_out_of_memory(error) else in_short(error)
            return math.inf
        finally:
            self.spent += sum(times)
        return min(times[1:]) / (size * self.n_targets)

    def worth(self, size: int, seconds: float) -> bool:
        """Tell whether there is time for a trial of some size, at so many seconds a gradient."""
        cost = 3 * size * self.n_targets * seconds
        affordable = self.spent + cost <= _TRIAL_SHARE * seconds * self.n_gradients
        self.cut_short |= not affordable
        return affordable

    def room(self, size: int, tried: int) -> bool:
        """Tell whether batches of some size fit in the host's memory, by what `tried` has taken."""
        if self.image.is_cuda:
            return True  # the GPU itself will tell
        taken = memory.resident() - self.memory_before
        return taken * size / tried < 0.5 * memory.available()
