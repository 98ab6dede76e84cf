"""A classifier made ready for its passes: checked, prepared, and the best batch found by trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..classifier.points import DEFAULT_BALL, Region, compared_points
from ..classifier.process_state import process_settings, undisturbed
from ..errors import CleverError
from ..findings import Finding
from ..machine import memory
from ..models.loaded import LoadedModel
from ..models.weights import weights_digest
from .checking import ChecksBefore, Witnesses
from .choice import Asked, Choice, remembered_of
from .description import described
from .given import GivenModel
from .passes import use
from .plan import Plan
from .search import Found, search
from .trials import Example, measuring

#: Elements of a device batch of points before any trial: on a CPU about what its caches hold of the
#: first layers' activations, on a GPU what keeps one busy.
_FIRST_ELEMENTS = {"cpu": 2**17, "cuda": 2**25}
#: Elements of the eight points that a batch has at least: of larger ones it has fewer, since the
#: activations of a few large pictures take all the memory.
_LEAST_ELEMENTS = 2**22
_CHANGED = Finding(
    "model",
    "the model's weights changed while it was scored",
    "score it while nobody trains it, or give a copy",
)


def first_device_batch(shape: torch.Size, device: torch.device) -> int:
    """Choose how many points go through the model at once, from their size alone."""
    elements = _FIRST_ELEMENTS.get(device.type, _FIRST_ELEMENTS["cpu"])
    least = max(1, min(8, _LEAST_ELEMENTS // max(1, shape.numel())))
    return max(least, min(1024, elements // max(1, shape.numel())))


class Engine:
    """A classifier and the way its passes are made.

    Args:
        model: A module or callable, [B, *shape] -> logits [B, K], a LoadedModel of one, or a
            GradientOracle.
        prepare: "auto", "none", or names of `preparation.OPTIONS`, "auto" among them or not.
        device_batch: How many points go through the model at once, or "auto".

    Raises:
        CleverError: one of these is something else.

    Attributes:
        name: Of the model's class, or what it was loaded as.
        own: How passes at the images themselves are made: through the model as it was given.
        plan: How the passes of the loop are made.
        choice: How the passes of the loop are made, once that is known.
        findings: What was seen of the model and of the process.
    """

    def __init__(self, model: Any, prepare: Any, device_batch: int | str) -> None:
        loaded = model if isinstance(model, LoadedModel) else None
        self._given = GivenModel(model if loaded is None else loaded.model)
        self._asked = Asked.of(prepare, device_batch)
        if self._given.is_oracle and self._asked.options:
            raise CleverError(
                f"prepare={prepare!r} for a GradientOracle",
                'a model, or prepare="auto"',
                "make the oracle's own model faster",
            )
        self.name = self._given.name if loaded is None else loaded.name
        self.choice: Choice | None = None
        self.findings: list[Finding] = [] if loaded is None else list(loaded.findings)
        self._device, self._region = torch.device("cpu"), DEFAULT_BALL
        self.own = self.plan = self._own_plan(1)
        self._checks = ChecksBefore(self._given, may_halve=device_batch == "auto")
        self._witnesses = Witnesses()
        self._remembered: dict[Any, Choice] = {}
        self._checked = self._settled = False
        self._ready_for: Any = None
        self._known_for = 0.0

    def _own_plan(self, size: int) -> Plan:
        return self._given.own_plan(size, self._region.clipped)

    @property
    def model(self) -> Any:
        """The model; what returns its logits alone, once it is known to return more."""
        return self._given.model

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

    @property
    def memory_format(self) -> torch.memory_format:
        """How the points of the loop should lie in memory."""
        return self.plan.memory_format

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Set the process up for passes, and back again; the model itself is left alone.

        A GPU is the current device meanwhile: what names none works there.
        """
        on_cpu = device.type == "cpu"
        place = memory.held() if on_cpu else torch.cuda.device(device)
        self._device = device
        self._given.watch_weights()
        settings = process_settings(self._asked.options, device)
        with undisturbed(device) as found, settings, place:
            self._find(found)
            try:
                yield
            finally:
                self.plan.forget()
                if self._given.weights_changed():
                    self._find([_CHANGED])

    def _find(self, findings: Sequence[Finding]) -> None:
        self.findings += [each for each in findings if each not in self.findings]

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
        if isinstance(self._asked.device_batch, int):  # the loop's is checked once that is known
            size = min(size, self._asked.device_batch)
        self.own = self.plan = self._own_plan(size)
        _ = self.digest  # of the model as it was given, before any work
        self._find(self._checks.check_model(self.own, images, self._region))
        self.own = self.plan = self._own_plan(self.own.device_batch)
        points = compared_points(images, self._region, self.own.device_batch)
        self._witnesses.see_model(self.own, points)
        self._checked = True

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
            self._checks.check_size(self.plan, images, n_samples, self._region)
            return
        self._ready_for = kind
        size = self._asked.device_batch
        self.plan = self._own_plan(size if isinstance(size, int) else self.own.device_batch)
        points = compared_points(images, self._region, self.plan.device_batch)
        example = Example(images[:1], classes[:1], targets[:1], points)
        found = self._found(kind, example, n_gradients)
        self.choice, self._known_for = found.choice, found.choice.n_gradients
        use(found, self.plan, self._given, self._asked, example, self._remembered)
        self._checks.check_size(self.plan, images, n_samples, self._region)
        self._witnesses.see_copy(self.plan)

    def _found(self, kind: Any, example: Example, n_gradients: int) -> Found:
        """Return what was settled on or is remembered, or search for it."""
        if self.choice is not None and self._settled:
            return Found(self.choice)
        with measuring:
            self._remembered = remembered_of(self.model)
            known = self._remembered.get((*kind, self._asked))
            if known is not None and known.n_gradients >= n_gradients:
                return Found(known)
            found = search(self._given, self._asked, example, n_gradients, self.plan)
            self._remembered[(*kind, self._asked)] = found.choice
            return found

    def settle(self, choice: Choice) -> None:
        """Make passes as was found before, and make no more trials.

        The passes of several processes, or of one that goes on where another stopped, are then the
        same to the last bit.
        """
        self.choice, self._settled, self._ready_for = choice, True, None

    def ask_again(self, images: Tensor) -> None:
        """Note what the model computes otherwise than before, now that the work is done.

        Args:
            images: [N, *shape], of those that were scored.
        """
        if not self._given.weights_changed():  # which is noted already
            sizes = self.own.sizes | self.plan.sizes
            self._find(self._witnesses.ask_again(images, sizes, self._region))

    def description(self) -> dict[str, Any]:
        """Return how the passes were made, for a result's metadata."""
        return described(self.plan, self._asked.options, self._device)
