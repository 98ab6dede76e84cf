"""Passes by a choice, as far as it suits the model, and without it where one of them fails."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifier.oracle import GradientOracle
from ..errors import in_short
from .choice import Asked, Choice
from .given import GivenModel
from .plan import Plan
from .preparation import CannotPrepareError, Prepared, apply, compare_batched
from .search import Found
from .trials import Example, measuring


def use(
    found: Found,
    plan: Plan,
    given: GivenModel,
    asked: Asked,
    example: Example,
    remembered: dict[Any, Choice],
) -> None:
    """Make a plan's passes by a choice.

    Args:
        found: The choice, and the model made so where that was done already.
        plan: Passes through the model as it is; changed.
        given: The model.
        asked: What the user asked for.
        example: Of the work.
        remembered: Where the choice is forgotten if a pass fails by it.

    Raises:
        CleverError: an option that was asked for does not suit the model.
    """
    choice, points = found.choice, example.points
    if "compile" in choice.options:  # for one size of batch alone
        points = points[torch.arange(choice.device_batch, device=points.device) % len(points)]
    prepared = found.prepared or _prepared(given, asked, choice.options, points, plan.notes)
    batched = choice.batched_backward and _batched_agrees(prepared, example, plan.notes)
    plan.oracle = given.oracle(prepared.model, batched)
    plan.device_batch, plan.fixed_batch = choice.device_batch, prepared.fixed_batch
    graph = asked.automatic or "cuda_graph" in asked.options
    plan.capture = points.is_cuda and graph and not given.is_oracle
    plan.options, plan.memory_format = prepared.options, prepared.memory_format
    for name in ("tf32", "cuda_graph"):
        if name in asked.options and not points.is_cuda:
            plan.notes[name] = "nothing to do on a CPU"
    if batched or set(prepared.options) - set(asked.options):
        plan.otherwise = _AsAsked(given, asked, choice, points, remembered)


def _prepared(
    given: GivenModel,
    asked: Asked,
    options: tuple[str, ...],
    points: Tensor,
    notes: dict[str, str],
) -> Prepared:
    """Apply a choice's options, without what is not asked for and does not suit the model here."""
    offered = tuple(name for name in options if name not in asked.options)
    reason = ""
    for without in ((), *((name,) for name in offered), offered):
        some = tuple(name for name in options if name not in without)
        try:
            if without == offered:  # what was asked for alone
                made = given.prepared(some, points)
            else:
                made = apply(given.passed, some, points)
        except CannotPrepareError as error:
            reason = reason or str(error)
        else:
            notes.update(dict.fromkeys(without, reason))
            return made
    raise AssertionError("what was asked for is done or refused")


def _batched_agrees(prepared: Prepared, example: Example, notes: dict[str, str]) -> bool:
    points = example.points.contiguous(memory_format=prepared.memory_format)
    try:
        with measuring, warnings.catch_warnings():  # which are those of all threads
            warnings.simplefilter("ignore")
            compare_batched(prepared.model, points, example.classes, example.targets)
    except CannotPrepareError as error:
        notes["batched_backward"] = str(error)
        return False
    return True


@dataclass(frozen=True)
class _AsAsked:
    """Goes on without what was not asked for, after it has failed.

    It must not hold the plan, whose `otherwise` it is: copies of the model would stay in memory
    until Python looks for cycles.
    """

    given: GivenModel
    asked: Asked
    choice: Choice
    points: Tensor
    remembered: dict[Any, Choice]

    def __call__(self, plan: Plan, error: Exception) -> GradientOracle:
        plan.notes["prepare"] = f"as asked for from some pass on: {in_short(error)}"
        plan.otherwise = self.given.through_a_copy
        for key, choice in self.remembered.items():
            if choice == self.choice:
                self.remembered[key] = Choice(self.asked.options, plan.device_batch, False)
        prepared = self.given.prepared(self.asked.options, self.points)
        plan.options = prepared.options
        layout = prepared.memory_format
        return self.given.oracle(lambda x: prepared.model(x.contiguous(memory_format=layout)))
