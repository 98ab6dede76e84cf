"""Checks of a model in the batches of its work: before the work, and after it."""

from __future__ import annotations

import time
from contextlib import suppress

from torch import Tensor

from ..classifier.calling import PassFailedError
from ..classifier.checks import as_classifier, check_batch_size, check_classifier
from ..classifier.derivatives import doubt_of_gradients
from ..classifier.doubts import of_probabilities
from ..classifier.points import Region, compared_points, large_batch
from ..classifier.steadiness import Witness
from ..findings import Finding
from ..machine.memory import is_out_of_memory
from .given import GivenModel
from .plan import Plan

#: Sizes of batches, of those that a call has made, in which rows are compared with rows alone.
_SIZES = 4
#: Share of a run's time in which the model is asked again.
_ASKING_SHARE = 0.02
_UNSTEADY = Finding(
    "model",
    "the model computes something else after the scores than before them",
    "score it while nobody changes it, and remove what it keeps from call to call",
)


class ChecksBefore:
    """Refuses a model that cannot be scored, in batches of sizes that it can take.

    Args:
        given: The model.
        may_halve: Whether the first size is ours to choose.
    """

    def __init__(self, given: GivenModel, may_halve: bool) -> None:
        self._given, self._may_halve = given, may_halve
        self._largest = 0

    def check_model(self, own: Plan, images: Tensor, region: Region) -> list[Finding]:
        """Check the model, or a copy where its weights are changed meanwhile; return what is seen.

        Of an oracle, whose answers are checked as they come, the logits of two images are seen, and
        whether its gradients are those of its logits.

        Raises:
            CleverError: see `check_classifier` and `doubt_of_gradients`.
        """
        if self._given.is_oracle:
            probabilities = of_probabilities(own.oracle.logits(images[:2]))
            doubts = probabilities, _of_gradients(own, images, region)
            return [each for each in doubts if each is not None]
        try:
            return self._check_model(own, images, region)
        except Exception:
            if not self._given.copied_since_weights_changed():
                raise
            return self._check_model(own, images, region)

    def _check_model(self, own: Plan, images: Tensor, region: Region) -> list[Finding]:
        """Check in batches of the plan's size, or of the largest that the model can take."""
        size = max(2, own.device_batch)  # one point alone tells nothing of rows that mix
        while True:
            try:
                classifier = as_classifier(self._given.passed, images)
                found, one_forward = check_classifier(classifier, images, size, region)
            except Exception as error:
                size = self._smaller(own, size, error)
            else:
                break
        self._given.take(classifier, one_forward)
        self._largest = size
        return found

    def _smaller(self, own: Plan, size: int, error: Exception) -> int:
        """Halve the first size after a pass of so many points has failed, or raise its error."""
        if is_out_of_memory(error):
            own.recover(error, size)
        elif isinstance(error, PassFailedError) and self._may_halve and size > 2:
            own.device_batch = size // 2
        else:
            raise error
        return own.device_batch

    def check_size(self, plan: Plan, images: Tensor, n_samples: int, region: Region) -> None:
        """Check the model in batches of the size that will run, if none so large was checked.

        Raises:
            CleverError: its rows influence each other there.
        """
        while not self._given.is_oracle:
            size = plan.device_batch
            if not plan.fixed_batch:
                size = min(size, n_samples)
            if size <= self._largest:
                return
            try:
                check_batch_size(self._given.passed, images, size, region)
                self._largest = size
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                plan.recover(error, size)


def _of_gradients(own: Plan, images: Tensor, region: Region) -> Finding | None:
    """Doubt an oracle's gradients, in batches that it can take."""
    points = compared_points(images, region)
    while True:
        try:
            return doubt_of_gradients(own.oracle, points, own.device_batch)
        except Exception as error:  # whatever an oracle raises
            own.recover(error, min(len(points), own.device_batch))


class Witnesses:
    """What the model, and a copy that was made of it, computed before the work."""

    def __init__(self) -> None:
        self._all: list[Witness] = []
        self._asks_from = 0.0

    def see_model(self, own: Plan, points: Tensor) -> None:
        """Keep what the model computes at points [B, *shape]."""
        self._all = [_witness(own, points)]

    def see_copy(self, plan: Plan) -> None:
        """Keep what a plan's copy of the model computes there, where it takes any size."""
        del self._all[1:]
        if plan.options and not plan.fixed_batch:
            points = self._all[0].points.contiguous(memory_format=plan.memory_format)
            self._all.append(_witness(plan, points))

    def ask_again(self, images: Tensor, sizes: set[int], region: Region) -> list[Finding]:
        """Return what is computed otherwise than before, now that the work is done.

        Where work comes in many parts, not each is followed by it: it takes a small share of the
        time.

        Args:
            images: [N, *shape], of those that were scored.
            sizes: Numbers of points that went through the model at once.
            region: Of the points.
        """
        begin = time.monotonic()
        if begin < self._asks_from:
            return []
        found = []
        with suppress(Exception):  # what a model raises by now, or memory that is taken
            found = self._compare_again(images, sizes, region)
        end = time.monotonic()
        self._asks_from = end + (end - begin) / _ASKING_SHARE
        return found

    def _compare_again(self, images: Tensor, sizes: set[int], region: Region) -> list[Finding]:
        if not all(_agrees(each) for each in self._all):
            return [_UNSTEADY]
        for size in sorted(sizes - {1}, reverse=True)[:_SIZES]:
            if self._all[0].mixes(large_batch(images, size, region)):
                return [_mixing(size)]
        return []


def _witness(plan: Plan, points: Tensor) -> Witness:
    while True:
        try:
            return Witness(plan.oracle, points, plan.device_batch)
        except Exception as error:  # whatever a model raises
            plan.recover(error, min(len(points), plan.device_batch))


def _agrees(witness: Witness) -> bool:
    try:
        return witness.agrees()
    except Exception as error:  # which it did not raise before
        return is_out_of_memory(error)


def _mixing(size: int) -> Finding:
    return Finding(
        "model",
        f"in a batch of {size} points, as the scores had, a row's logits are others than alone",
        "remove what goes by the batch: its size, or values of other rows",
    )
