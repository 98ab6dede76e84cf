"""A classifier made ready for its passes: checked, prepared, and the best batch found by trial."""

from __future__ import annotations

import copy
import math
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..classifier.calling import PassFailedError, check_kind
from ..classifier.checks import as_classifier, check_batch_size, check_classifier
from ..classifier.oracle import CheckedOracle, GradientOracle, TorchOracle, as_module, parts_of
from ..classifier.points import DEFAULT_BALL, Region, compared_points, large_batch
from ..classifier.process_state import (
    check_no_transform,
    precision,
    process_settings,
    undisturbed,
    usable,
    weight_versions,
)
from ..classifier.steadiness import Witness
from ..errors import CleverError, in_short
from ..findings import Finding
from ..machine import memory
from ..machine.memory import is_out_of_memory
from ..models.weights import weights_digest
from .folding import Folded
from .maxima import Plan
from .preparation import (
    AUTOMATIC,
    CannotPrepareError,
    Prepared,
    apply,
    check_options,
    compare_batched,
)
from .trials import Trials

#: Elements of a device batch of points before any trial: on a CPU about what its caches hold of the
#: first layers' activations, on a GPU what keeps one busy.
_FIRST_ELEMENTS = {"cpu": 2**17, "cuda": 2**25}
#: Elements of the eight points that a batch has at least: of larger ones it has fewer, since the
#: activations of a few large pictures take all the memory.
_LEAST_ELEMENTS = 2**22
#: Share of a run's samples that one pass of the first trial takes.
_FIRST_SHARE = 0.004
#: A change is made when it is faster by this factor at least.
_WORTHWHILE = 1.03
#: Points of a trial at least: fewer say nothing of the rest.
_FEWEST_POINTS = 4
_CHANGED = Finding(
    "model",
    "the model's weights changed while it was scored",
    "score it while nobody trains it, or give a copy",
)
_UNSTEADY = Finding(
    "model",
    "the model computes something else after the scores than before them",
    "score it while nobody changes it, and remove what it keeps from call to call",
)
#: Sizes of batches, of those that a call has made, in which rows are compared with rows alone.
_SIZES = 4
#: Share of a run's time in which the model is asked again.
_ASKING_SHARE = 0.02
#: Trials that a run had no time for are made by one with more than so many times its gradients.
_LONGER = 2.0


def first_device_batch(shape: torch.Size, device: torch.device) -> int:
    """Choose how many points go through the model at once, from their size alone."""
    elements = _FIRST_ELEMENTS.get(device.type, _FIRST_ELEMENTS["cpu"])
    least = max(1, min(8, _LEAST_ELEMENTS // max(1, shape.numel())))
    return max(least, min(1024, elements // max(1, shape.numel())))


@dataclass(frozen=True)
class _Work:
    """What passes are to be made ready for: images, classes [1], targets [1, T], and points."""

    images: Tensor
    classes: Tensor
    targets: Tensor
    points: Tensor


def _is_oracle(model: Any) -> bool:
    return isinstance(model, GradientOracle) and not isinstance(model, torch.nn.Module)


@dataclass(frozen=True)
class Choice:
    """How passes are made, by what trials found to be fastest, and for how many gradients so."""

    options: tuple[str, ...]
    device_batch: int
    batched_backward: bool
    n_gradients: float = math.inf


#: What trials found for each model, by its `id`, as long as it lives, and by the kind of work: to
#: score it again takes no new ones. Models may be neither hashed nor compared.
_remembered: dict[int, tuple[weakref.ref[Any], dict[Any, Choice]]] = {}
#: Held while trials are made: threads that measure at a time would measure each other.
_measuring = threading.Lock()


def _mixing(size: int) -> Finding:
    return Finding(
        "model",
        f"in a batch of {size} points, as the scores had, a row's logits are others than alone",
        "remove what goes by the batch: its size, or values of other rows",
    )


def _memory_of(model: Any) -> dict[Any, Choice]:
    """Return what is remembered for a model."""
    key = id(model)
    try:
        alive = weakref.ref(model, lambda _: _remembered.pop(key, None))
    except TypeError:  # a callable that cannot be remembered
        return {}
    return _remembered.setdefault(key, (alive, {}))[1]


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
        choice: How the passes of the loop are made, once that is known.
        findings: What was seen of the model and of the process.
    """

    def __init__(self, model: Any, prepare: Any, device_batch: int | str) -> None:
        check_no_transform()
        check_kind(model)
        self.name = type(model).__name__
        self.model = self._passed = usable(model)  # passes may come to go through a copy
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
        self.memory_format = torch.contiguous_format
        self._device = torch.device("cpu")
        self._one_forward = True
        self._memory: dict[Any, Choice] = {}
        self._weights: tuple[int, ...] = ()
        self._region = DEFAULT_BALL
        self._witnesses: list[Witness] = []
        self._asks_from = 0.0
        self.own = self.plan = self._own_plan(1)
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

    @property
    def options(self) -> tuple[str, ...]:
        """The names of what was done to the model for the passes of the loop."""
        return self.plan.options

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Set the process up for passes, and back again; the model itself is left alone."""
        holding = memory.held() if device.type == "cpu" else nullcontext()
        self._device, self._weights = device, weight_versions(self.model)
        with undisturbed(device) as found, process_settings(self.asked, device), holding:
            self._find(found)
            try:
                yield
            finally:
                if self._weights_changed():
                    self._find([_CHANGED])

    def _find(self, findings: Sequence[Finding]) -> None:
        self.findings += [each for each in findings if each not in self.findings]

    def _weights_changed(self) -> bool:
        return weight_versions(self.model) != self._weights

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
        self._region = Region(balls or [], clip)
        size = first_device_batch(images.shape[1:], images.device)
        if isinstance(self.device_batch, int):  # the size of the loop is checked once that is known
            size = min(size, self.device_batch)
        self.own = self.plan = self._own_plan(size)
        _ = self.digest  # of the model as it was given, before any work
        if not _is_oracle(self.model):
            try:
                self._check_classifier(images)
            except Exception:
                if not self._copied_since_weights_changed():
                    raise
                self._check_classifier(images)
        self.own = self.plan = self._own_plan(self.own.device_batch)
        points = compared_points(images, self._region, self.own.device_batch)
        self._witnesses = [self._witness(self.own, points)]
        self._checked = True

    def _witness(self, plan: Plan, points: Tensor) -> Witness:
        while True:
            try:
                return Witness(plan.oracle, points, plan.device_batch)
            except Exception as error:  # whatever a model raises
                plan.recover(error, min(len(points), plan.device_batch))

    def ask_again(self, images: Tensor) -> None:
        """Note what the model computes otherwise than before, now that the work is done.

        Where work comes in many parts, not each is followed by it: it takes a small share of the
        time.

        Args:
            images: [N, *shape], of those that were scored.
        """
        begin = time.monotonic()
        if self._weights_changed() or begin < self._asks_from:  # which is noted already, or soon
            return
        self._compare_again(images)
        end = time.monotonic()
        self._asks_from = end + (end - begin) / _ASKING_SHARE

    def _compare_again(self, images: Tensor) -> None:
        own = self._witnesses[0]
        with suppress(Exception):  # what a model raises by now, or memory that is taken
            if not all(self._agrees(each) for each in self._witnesses):
                self._find([_UNSTEADY])
                return
            for size in sorted((self.own.sizes | self.plan.sizes) - {1}, reverse=True)[:_SIZES]:
                if own.mixes(large_batch(images, size, self._region)):
                    self._find([_mixing(size)])
                    return

    @staticmethod
    def _agrees(witness: Witness) -> bool:
        try:
            return witness.agrees()
        except Exception as error:  # which it did not raise before
            return is_out_of_memory(error)

    def _check_classifier(self, images: Tensor) -> None:
        """Check the model in batches of the first size, or of the largest that it can take."""
        size = max(2, self.own.device_batch)  # one point alone tells nothing of rows that mix
        while True:
            try:
                model = as_classifier(self._passed, images)
                found, self._one_forward = check_classifier(model, images, size, self._region)
                self._find(found)
            except Exception as error:
                size = self._smaller(size, error)
            else:
                break
        if self.model is self._passed:
            self.model = model
        self._passed, self._largest = model, size

    def _smaller(self, size: int, error: Exception) -> int:
        """Halve the first size after a pass of so many points has failed, or raise its error."""
        if is_out_of_memory(error):
            self.own.recover(error, size)
        elif isinstance(error, PassFailedError) and self.device_batch == "auto" and size > 2:
            self.own.device_batch = size // 2
        else:
            raise error
        return self.own.device_batch

    def _check_batch_size(self, images: Tensor, n_samples: int) -> None:
        """Check the model in batches of the size that will run, if none so large was checked."""
        while not _is_oracle(self.model):
            size = self.plan.device_batch
            if not self.plan.fixed_batch:
                size = min(size, n_samples)
            if size <= self._largest:
                return
            try:
                check_batch_size(self._passed, images, size, self._region)
                self._largest = size
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.plan.recover(error, size)

    def ready(
        self,
        images: Tensor,
        classes: Tensor,
        targets: Tensor,
        n_gradients: int,
    ) -> None:
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
        n_samples = n_gradients // targets.shape[1]
        if self._ready_for == kind and n_gradients <= self._known_for:
            self._check_batch_size(images, n_samples)
            return
        self._ready_for = kind
        asked = self.device_batch
        self.plan = self._own_plan(asked if isinstance(asked, int) else self.own.device_batch)
        work = _Work(
            images,
            classes[:1],
            targets[:1],
            compared_points(images, self._region, self.plan.device_batch),
        )
        made: Prepared | None = None
        if self.choice is None or not self._settled:
            with _measuring:
                self.choice, made = self._found(kind, work, n_gradients)
        self._known_for = self.choice.n_gradients
        self._use(self.choice, work, made)
        self._check_batch_size(images, n_samples)
        del self._witnesses[1:]
        if self.plan.options and not self.plan.fixed_batch:  # through a copy, of any size
            points = self._witnesses[0].points.contiguous(memory_format=self.memory_format)
            self._witnesses.append(self._witness(self.plan, points))

    def settle(self, choice: Choice) -> None:
        """Make passes as was found before, and make no more trials.

        The passes of several processes, or of one that goes on where another stopped, are then the
        same to the last bit.
        """
        self.choice, self._settled, self._ready_for = choice, True, None

    def _found(self, kind: Any, work: _Work, n_gradients: int) -> tuple[Choice, Prepared | None]:
        """Remember what trials found for the model, or make them."""
        key = (*kind, self.asked, self.automatic, self.device_batch)
        self._memory = _memory_of(self.model)
        known = self._memory.get(key)
        if known is not None and known.n_gradients >= n_gradients:
            return known, None
        trials = Trials(work.images[:1], work.classes, work.targets, n_gradients, self._oracle)
        self._memory[key] = self._search(trials, work.points)
        return self._memory[key], trials.made

    def _search(self, trials: Trials, points: Tensor) -> Choice:
        """Find the fastest options, then batch, then backward pass."""
        eager = tuple(name for name in self.asked if name != "compile")
        size, batched = self.plan.device_batch, False
        if not (self.automatic or self.device_batch == "auto"):  # all was asked for by name
            return Choice(self.asked, size, batched, math.inf)
        first = min(size, int(_FIRST_SHARE * trials.n_samples))
        if first < _FEWEST_POINTS:
            return Choice(self.asked, size, batched, trials.n_gradients)
        prepared = self._by_name(eager, points)
        seconds = trials.seconds(prepared, first)
        if self.automatic and not _is_oracle(self.model):
            for name in AUTOMATIC:
                if name in eager or not trials.worth(first, seconds):
                    continue
                begin = time.perf_counter()
                try:
                    candidate = apply(self._passed, (*prepared.options, name), points)
                except CannotPrepareError as error:
                    self.plan.notes[name] = str(error)
                    continue
                finally:
                    trials.spent += time.perf_counter() - begin
                found = trials.seconds(candidate, first)
                if trials.worth(2 * first, seconds):  # both once more: a machine's speed drifts
                    seconds = min(seconds, trials.seconds(prepared, first))
                    found = min(found, trials.seconds(candidate, first))
                if found * _WORTHWHILE < seconds:
                    prepared, seconds = candidate, found
                else:
                    self.plan.notes[name] = trials.failed or "no faster"
        trials.cut_short |= first < size
        if self.device_batch == "auto" and first == size:
            size, seconds = self._best_batch(trials, prepared, size, seconds)
        if trials.n_targets > 1 and "compile" not in self.asked and not _is_oracle(self.model):
            batched = self._batched_is_faster(trials, prepared, size, seconds)
        compiled = ("compile",) if "compile" in self.asked else ()
        known_for = _LONGER * trials.n_gradients if trials.cut_short else math.inf
        trials.made = None if compiled else prepared
        return Choice(prepared.options + compiled, size, batched, known_for)

    def _best_batch(
        self, trials: Trials, prepared: Prepared, size: int, seconds: float
    ) -> tuple[int, float]:
        """Double the batch while that is faster; else halve it while that is, or passes fail."""
        for factor in (2.0, 0.5) if math.isfinite(seconds) else (0.5,):
            first = size
            while True:
                other = int(size * factor)
                small = other < _FEWEST_POINTS
                if small or not (trials.worth(other, seconds) and trials.room(other, first)):
                    break
                found = trials.seconds(prepared, other)
                if math.isfinite(seconds) and found * _WORTHWHILE >= seconds:
                    break
                size, seconds = other, found
            if size != first:
                break
        return size, seconds

    def _batched_is_faster(
        self, trials: Trials, prepared: Prepared, size: int, seconds: float
    ) -> bool:
        if not (trials.worth(size, seconds) and trials.room(size * trials.n_targets, size)):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operators that are batched by a slow loop
            found = trials.seconds(prepared, size, batched_backward=True)
        if trials.failed:
            self.plan.notes["batched_backward"] = trials.failed
        return found * _WORTHWHILE < seconds

    def _by_name(self, options: tuple[str, ...], points: Tensor) -> Prepared:
        """Apply options that were asked for."""
        if _is_oracle(self.model):
            return Prepared(self.model)
        try:
            return apply(self._passed, options, points)
        except CannotPrepareError as error:
            if self._passed is self.model and self._copied_since_weights_changed():
                return self._by_name(options, points)  # they may have changed on the way
            raise CleverError(
                f"the model cannot be prepared by {', '.join(options)}: {error}",
                "options that suit the model",
                'leave it out of prepare, or write prepare="auto"',
            ) from error

    def _use(self, found: Choice, work: _Work, made: Prepared | None) -> None:
        """Make the passes by a choice, as far as it suits the model at these points."""
        plan, points = self.plan, work.points
        if "compile" in found.options:  # for one size of batch alone
            points = points[torch.arange(found.device_batch, device=points.device) % len(points)]
        prepared = made or self._applied(found.options, points)
        offered = set(prepared.options) - set(self.asked)
        batched = found.batched_backward and self._batched_agrees(prepared, work)
        plan.oracle = self._oracle(prepared.model, batched)
        plan.device_batch, plan.fixed_batch = found.device_batch, prepared.fixed_batch
        graph = self.automatic or "cuda_graph" in self.asked
        plan.capture = points.is_cuda and graph and not _is_oracle(self.model)
        plan.options, self.memory_format = prepared.options, prepared.memory_format
        for name in ("tf32", "cuda_graph"):
            if name in self.asked and not points.is_cuda:
                plan.notes[name] = "nothing to do on a CPU"
        if offered or batched:
            self._points = points
            plan.otherwise = self._if_there("_as_asked")

    def _applied(self, options: tuple[str, ...], points: Tensor) -> Prepared:
        """Apply a choice, without what is not asked for and does not suit the model here."""
        offered = tuple(name for name in options if name not in self.asked)
        reason = ""
        for without in ((), *((name,) for name in offered), offered):
            some = tuple(name for name in options if name not in without)
            try:
                alone = without == offered
                made = self._by_name(some, points) if alone else apply(self._passed, some, points)
            except CannotPrepareError as error:
                reason = reason or str(error)
            else:
                self.plan.notes.update(dict.fromkeys(without, reason))
                return made
        raise AssertionError("what was asked for is done or refused")

    def _batched_agrees(self, prepared: Prepared, work: _Work) -> bool:
        points = work.points.contiguous(memory_format=prepared.memory_format)
        try:
            with _measuring, warnings.catch_warnings():  # which are those of all threads
                warnings.simplefilter("ignore")
                compare_batched(prepared.model, points, work.classes, work.targets)
        except CannotPrepareError as error:
            self.plan.notes["batched_backward"] = str(error)
            return False
        return True

    def _oracle(self, model: Any, batched_backward: bool) -> GradientOracle:
        if _is_oracle(model):
            return CheckedOracle(model)
        return TorchOracle(model, batched_backward=batched_backward, one_forward=self._one_forward)

    def _own_plan(self, size: int) -> Plan:
        """Passes through the model as it is."""
        otherwise = self._if_there("_through_a_copy")
        return Plan(
            self._oracle(self._passed, False),
            size,
            clipped=self._region.clipped,
            otherwise=otherwise,
        )

    def _if_there(self, name: str) -> Callable[[Plan, Exception], GradientOracle | None]:
        """Return a method for a plan, which must not keep the engine, and its copies, in memory."""
        of = weakref.ref(self)
        return lambda plan, error: getattr(of(), name)(plan, error)

    def _as_asked(self, plan: Plan, error: Exception) -> GradientOracle:
        """Go on without what was not asked for, after it has failed."""
        plan.notes["prepare"] = f"as asked for from some pass on: {in_short(error)}"
        plan.otherwise = self._if_there("_through_a_copy")
        for key, choice in self._memory.items():
            if choice == self.choice:
                self._memory[key] = Choice(self.asked, plan.device_batch, False)
        prepared = self._by_name(self.asked, self._points)
        plan.options = prepared.options
        layout = prepared.memory_format
        return self._oracle(lambda x: prepared.model(x.contiguous(memory_format=layout)), False)

    def _through_a_copy(self, plan: Plan, _: Exception) -> GradientOracle | None:
        """Go on by a copy where the model's weights are changed under way, as by training it."""
        oracle = plan.oracle
        if not self._copied_since_weights_changed():
            return None
        if isinstance(oracle, TorchOracle) and oracle.model is self._passed:
            return None
        return self._oracle(self._passed, False)

    def _copied_since_weights_changed(self) -> bool:
        """Tell whether passes go through a copy, which is made now where weights have changed."""
        if self._passed is self.model and as_module(self.model) and self._weights_changed():
            self._passed = copy.deepcopy(self.model)
        return self._passed is not self.model

    def description(self) -> dict[str, Any]:
        """Return how the passes were made, for a result's metadata."""
        plan, oracle = self.plan, self.plan.oracle
        tf32 = "tf32" in self.asked and "tf32" not in plan.notes
        others = {"tf32": tf32, "cuda_graph": plan.capture}
        options = [*self.options, *(name for name, used in others.items() if used)]
        notes = dict(plan.notes)
        if self._unfolded():
            options.remove("fold_batch_norm")
            notes["fold_batch_norm"] = "undone: a convolution's result was read by others as well"
        batched = isinstance(oracle, TorchOracle) and oracle.batched_backward
        short = precision(self._device)
        return {
            "options": options,
            "device_batch": plan.device_batch,
            "batched_backward": batched,
            "notes": notes,
            **({"precision": short} if short else {}),
        }

    def _unfolded(self) -> bool:
        """Tell whether batch norms were folded, and are no longer."""
        parts = parts_of(getattr(self.plan.oracle, "model", None)).values()
        return any(isinstance(part, Folded) and part.folded == 0 for _, part in parts)
