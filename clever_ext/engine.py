"""A classifier made ready for its passes: checked, prepared, and the best batch found by trial."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from . import memory
from .calling import check_kind
from .classifier import as_classifier, check_batch_size, check_classifier, probe_points
from .errors import CleverError
from .findings import Finding
from .gradients import GradientOracle, TorchOracle, frozen
from .maxima import Plan, is_out_of_memory
from .preparation import (
    AUTOMATIC,
    CannotPrepareError,
    Prepared,
    apply,
    check_options,
    process_settings,
)
from .weights import weights_digest

#: Elements of a device batch of points before any trial: on a CPU about what its caches hold of the
#: first layers' activations, on a GPU what keeps one busy.
_FIRST_ELEMENTS = {"cpu": 2**17, "cuda": 2**25}
#: Elements of the eight points that a batch has at least: of larger ones it has fewer, since the
#: activations of a few large pictures take all the memory.
_LEAST_ELEMENTS = 2**22
#: Share of a run's time that trials may take, and of its samples that one pass of the first takes.
_TRIAL_SHARE, _FIRST_SHARE = 0.05, 0.004
#: A change is made when it is faster by this factor at least.
_WORTHWHILE = 1.03
#: Points of a trial at least: fewer say nothing of the rest.
_FEWEST_POINTS = 4
#: Trials that a run had no time for are made by one with more than so many times its gradients.
_LONGER = 2.0


def first_device_batch(shape: torch.Size, device: torch.device) -> int:
    """Choose how many points go through the model at once, from their size alone."""
    elements = _FIRST_ELEMENTS.get(device.type, _FIRST_ELEMENTS["cpu"])
    least = max(1, min(8, _LEAST_ELEMENTS // max(1, shape.numel())))
    return max(least, min(1024, elements // max(1, shape.numel())))


def pass_seconds(oracle: GradientOracle, points: Tensor, classes: Tensor, targets: Tensor) -> float:
    """Return the seconds of one pass: the gradients of all targets' margins at all points."""
    begin = time.perf_counter()
    deque(oracle.margin_gradients(points, classes, targets), maxlen=0)
    if points.is_cuda:
        torch.cuda.synchronize(points.device)
    return time.perf_counter() - begin


class _Trials:
    """Times passes like those of the work to come, as long as that is worth it."""

    def __init__(self, image: Tensor, classes: Tensor, targets: Tensor, n_gradients: int) -> None:
        self.image, self.classes, self.targets = image, classes, targets
        self.n_targets, self.n_gradients = targets.shape[1], n_gradients
        self.n_samples = n_gradients // self.n_targets
        self.spent = 0.0
        self.cut_short = False  # whether a trial was left out for want of time
        self.memory_before = memory.resident()

    def seconds(self, prepared: Prepared, size: int, batched_backward: bool = False) -> float:
        """Return the time of one gradient in batches of some size; infinite without the memory.

        The better of two passes, after one that is not counted.
        """
        oracle = _oracle(prepared.model, batched_backward)
        points = self.image.expand(size, *self.image.shape[1:])
        points = points.contiguous(memory_format=prepared.memory_format)
        classes, targets = self.classes.expand(size), self.targets.expand(size, -1)
        times = []
        try:
            for _ in range(3):
                times.append(pass_seconds(oracle, points, classes, targets))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
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


def _oracle(model: Any, batched_backward: bool) -> GradientOracle:
    if _is_oracle(model):
        oracle: GradientOracle = model
        return oracle
    return TorchOracle(model, batched_backward=batched_backward)


def _is_oracle(model: Any) -> bool:
    return isinstance(model, GradientOracle) and not isinstance(model, torch.nn.Module)


@dataclass(frozen=True)
class Choice:
    """How passes are made, by what trials found to be fastest, and for how many gradients so."""

    options: tuple[str, ...]
    device_batch: int
    batched_backward: bool
    n_gradients: float = math.inf


#: What trials found for each model, by the kind of work: to score it again takes no new ones.
_remembered: WeakKeyDictionary[Any, dict[Any, Choice]] = WeakKeyDictionary()


class Engine:
    """A classifier and the way its passes are made.

    Args:
        model: A module or callable, [B, *shape] -> logits [B, K], or a GradientOracle.
        prepare: "auto", "none", or names of `preparation.OPTIONS`, "auto" among them or not.
        device_batch: How many points go through the model at once, or "auto".

    Raises:
        CleverError: one of these is something else.

    Attributes:
        own: How passes at the images themselves are made: through the model as it was given.
        plan: How the passes of the loop are made.
        memory_format: How the points should lie in memory.
        options: The names of what was done to the model.
        choice: How the passes of the loop are made, once that is known.
        findings: What the checks of the model saw.
    """

    def __init__(self, model: Any, prepare: Any, device_batch: int | str) -> None:
        check_kind(model)
        self.model = model
        self.name = type(model).__name__
        self.asked, self.automatic = check_options(prepare)
        if _is_oracle(model) and self.asked:
            raise CleverError(
                f"prepare={prepare!r} for a GradientOracle",
                'a model, or prepare="auto"',
                "make the oracle's own model faster",
            )
        self.device_batch = device_batch
        self.choice: Choice | None = None
        self.findings: list[Finding] = []
        self._settled = False
        self.options: tuple[str, ...] = ()
        self.memory_format = torch.contiguous_format
        self.own = self.plan = Plan(_oracle(model, False), 1)
        self._checked, self._largest = False, 0
        self._ready_for: Any = None
        self._known_for = 0.0

    @cached_property
    def digest(self) -> str | None:
        """Digest of the model's weights; None where it shows none."""
        if not isinstance(self.model, torch.nn.Module):
            return None
        try:
            return weights_digest(self.model)
        except CleverError as error:  # scores need no digest
            self.findings.append(Finding("model", error.wrong, error.fix))
            return None

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Set the process up for passes, and back again."""
        holding = memory.held() if device.type == "cpu" else nullcontext()
        with frozen(self.model), process_settings(self.asked), holding:
            yield

    def check(
        self,
        images: Tensor,
        balls: list[tuple[float, float]] | None = None,
        clip: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        """Refuse a model that cannot be scored; the first time only.

        Args:
            images: [N, *shape].
            balls: (norm, radius) of the balls in which it will be called, where they are known.
            clip: Range that samples are clamped to.

        Raises:
            CleverError: see `check_classifier`.
        """
        if self._checked:
            return
        size = self.device_batch
        if not isinstance(size, int):
            size = first_device_batch(images.shape[1:], images.device)
        self.own = self.plan = Plan(_oracle(self.model, False), size)
        _ = self.digest  # of the model as it was given, before any work
        if not _is_oracle(self.model):
            self._balls = balls, clip
            self._check_classifier(images)
        self.plan = self.own = Plan(_oracle(self.model, False), self.own.device_batch)
        self._checked = True

    def _check_classifier(self, images: Tensor) -> None:
        """Check the model in batches of the first size, smaller ones where memory runs out."""
        size = max(2, self.own.device_batch)  # one point alone tells nothing of rows that mix
        while True:
            try:
                model = as_classifier(self.model, images)
                self.findings += check_classifier(model, images, size, *self._balls)
            except RuntimeError as error:
                self.own.recover(error, size)
                size = self.own.device_batch
            else:
                self.model, self._largest = model, size
                return

    def _check_batch_size(self, images: Tensor) -> None:
        """Check the model in batches of the size that was chosen, if none so large was checked."""
        size = self.plan.device_batch
        if not _is_oracle(self.model) and size > self._largest:
            check_batch_size(self.model, images, size, *self._balls)
            self._largest = size

    def ready(self, images: Tensor, classes: Tensor, targets: Tensor, n_gradients: int) -> None:
        """Prepare the model and find the fastest way of making its passes, by a few trials.

        Nothing is done if the last call was for the same kind of work, and for about as much.

        Args:
            images: [I, *shape] checked ones.
            classes: [I] int64, predicted.
            targets: [I, T] int64.
            n_gradients: How many are to come; trials take a small share of their time.

        Raises:
            CleverError: an option that was asked for does not suit the model.
        """
        kind = (images.shape[1:], images.dtype, images.device, targets.shape[1])
        if self._ready_for == kind and n_gradients <= self._known_for:
            return
        self._ready_for = kind
        self.plan = Plan(self.own.oracle, self.own.device_batch)
        if self.choice is None or not self._settled:
            self.choice = self._found(kind, images, classes, targets, n_gradients)
        self._known_for = self.choice.n_gradients
        self._use(self.choice, images)
        self._check_batch_size(images)

    def settle(self, choice: Choice) -> None:
        """Make passes as was found before, and make no more trials.

        The passes of several processes, or of one that goes on where another stopped, are then the
        same to the last bit.
        """
        self.choice, self._settled, self._ready_for = choice, True, None

    def _found(
        self, kind: Any, images: Tensor, classes: Tensor, targets: Tensor, n_gradients: int
    ) -> Choice:
        """Remember what trials found for the model, or make them."""
        key = (*kind, self.asked, self.automatic, self.device_batch)
        try:
            memory_of_model = _remembered.setdefault(self.model, {})
        except TypeError:  # a callable that cannot be remembered
            memory_of_model = {}
        if key not in memory_of_model or memory_of_model[key].n_gradients < n_gradients:
            trials = _Trials(images[:1], classes[:1], targets[:1], n_gradients)
            memory_of_model[key] = self._search(trials, probe_points(images))
        return memory_of_model[key]

    def _search(self, trials: _Trials, points: Tensor) -> Choice:
        """Find the fastest options, then batch, then backward pass."""
        eager = tuple(name for name in self.asked if name != "compile")
        size, batched = self.plan.device_batch, False
        if not (self.automatic or self.device_batch == "auto"):  # all was asked for by name
            return Choice(self.asked, size, batched, math.inf)
        first = min(size, int(_FIRST_SHARE * trials.n_samples))
        if first < _FEWEST_POINTS:
            return Choice(self.asked, size, batched, trials.n_gradients)
        prepared = self._prepared(eager, points)
        seconds = trials.seconds(prepared, first)
        if self.automatic and not _is_oracle(self.model):
            for name in AUTOMATIC:
                if name in eager or not trials.worth(first, seconds):
                    continue
                try:
                    candidate = apply(self.model, (*prepared.options, name), points)
                except CannotPrepareError as error:
                    self.plan.notes[name] = str(error)
                    continue
                found = trials.seconds(candidate, first)
                if trials.worth(2 * first, seconds):  # both once more: a machine's speed drifts
                    seconds = min(seconds, trials.seconds(prepared, first))
                    found = min(found, trials.seconds(candidate, first))
                if found * _WORTHWHILE < seconds:
                    prepared, seconds = candidate, found
                else:
                    self.plan.notes[name] = "no faster"
        trials.cut_short |= first < size
        if self.device_batch == "auto" and first == size:
            size, seconds = self._best_batch(trials, prepared, size, seconds)
        if trials.n_targets > 1 and "compile" not in self.asked and not _is_oracle(self.model):
            batched = self._batched_is_faster(trials, prepared, size, seconds)
        compiled = ("compile",) if "compile" in self.asked else ()
        known_for = _LONGER * trials.n_gradients if trials.cut_short else math.inf
        return Choice(prepared.options + compiled, size, batched, known_for)

    def _best_batch(
        self, trials: _Trials, prepared: Prepared, size: int, seconds: float
    ) -> tuple[int, float]:
        """Double the batch while that is faster; else halve it while that is."""
        for factor in (2.0, 0.5):
            first = size
            while True:
                other = int(size * factor)
                small = other < _FEWEST_POINTS
                if small or not (trials.worth(other, seconds) and trials.room(other, first)):
                    break
                found = trials.seconds(prepared, other)
                if found * _WORTHWHILE >= seconds:
                    break
                size, seconds = other, found
            if size != first:
                break
        return size, seconds

    def _batched_is_faster(
        self, trials: _Trials, prepared: Prepared, size: int, seconds: float
    ) -> bool:
        if not (trials.worth(size, seconds) and trials.room(size * trials.n_targets, size)):
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of operators that are batched by a slow loop
                found = trials.seconds(prepared, size, batched_backward=True)
        except RuntimeError as error:
            self.plan.notes["batched_backward"] = str(error).splitlines()[0]
            return False
        return found * _WORTHWHILE < seconds

    def _prepared(self, options: tuple[str, ...], points: Tensor) -> Prepared:
        if _is_oracle(self.model):
            return Prepared(self.model)
        try:
            return apply(self.model, options, points)
        except CannotPrepareError as error:
            raise CleverError(
                f"the model cannot be prepared by {', '.join(options)}: {error}",
                "options that suit the model",
                'leave it out of prepare, or write prepare="auto"',
            ) from error

    def _use(self, found: Choice, images: Tensor) -> None:
        points = probe_points(images)
        if "compile" in found.options:  # for one size of batch alone
            points = points[torch.arange(found.device_batch, device=points.device) % len(points)]
        prepared = self._prepared(found.options, points)
        plan = self.plan
        plan.oracle = _oracle(prepared.model, found.batched_backward)
        plan.device_batch, plan.fixed_batch = found.device_batch, prepared.fixed_batch
        graph = self.automatic or "cuda_graph" in self.asked
        plan.capture = images.is_cuda and graph and not _is_oracle(self.model)
        self.memory_format, self.options = prepared.memory_format, prepared.options
        for name in ("tf32", "cuda_graph"):
            if name in self.asked and not images.is_cuda:
                plan.notes[name] = "nothing to do on a CPU"

    def description(self) -> dict[str, Any]:
        """Return how the passes were made, for a result's metadata."""
        plan, oracle = self.plan, self.plan.oracle
        tf32 = "tf32" in self.asked and "tf32" not in plan.notes
        others = {"tf32": tf32, "cuda_graph": plan.capture}
        batched = isinstance(oracle, TorchOracle) and oracle.batched_backward
        return {
            "options": [*self.options, *(name for name, used in others.items() if used)],
            "device_batch": plan.device_batch,
            "batched_backward": batched,
            "notes": dict(plan.notes),
        }
