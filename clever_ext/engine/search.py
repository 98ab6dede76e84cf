"""The search for the fastest way to make passes: options, then batch, then backward pass."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .choice import Asked, Choice
from .given import GivenModel
from .plan import Plan
from .preparation import AUTOMATIC, CannotPrepareError, Prepared, apply
from .trials import Example, Trials

#: Share of a run's samples that one pass of the first trial takes.
_FIRST_SHARE = 0.004
#: A change is made when it is faster by this factor at least.
_WORTHWHILE = 1.03
#: Points of a trial at least: fewer say nothing of the rest.
_FEWEST_POINTS = 4
#: Trials that a run had no time for are made by one with more than so many times its gradients.
_LONGER = 2.0


class Found(NamedTuple):
    """What is to be used.

    Attributes:
        choice: How passes are to be made.
        prepared: The model made so, where it was made already.
    """

    choice: Choice
    prepared: Prepared | None = None


def search(given: GivenModel, asked: Asked, example: Example, n_gradients: int, own: Plan) -> Found:
    """Find the fastest way to make so many gradients, by trials that take a share of their time.

    Args:
        given: The model.
        asked: What the user asked for; it is done, and the rest is found.
        example: Of the work.
        n_gradients: How many are to come.
        own: Passes through the model as it is, in the batch to begin with; gets notes of what was
            left out, and why.

    Raises:
        CleverError: an option that was asked for does not suit the model.
    """
    size = own.device_batch
    if not (asked.automatic or asked.device_batch == "auto"):  # all was asked for by name
        return Found(Choice(asked.options, size, batched_backward=False))
    trials = Trials(example, n_gradients, given.oracle)
    first = min(size, int(_FIRST_SHARE * trials.n_samples))
    if first < _FEWEST_POINTS:
        return Found(Choice(asked.options, size, False, n_gradients))
    compiled = tuple(name for name in asked.options if name == "compile")
    eager = tuple(name for name in asked.options if name != "compile")
    prepared = given.prepared(eager, example.points)
    seconds = trials.seconds(prepared, first)
    if asked.automatic and not given.is_oracle:
        prepared, seconds = _best_options(
            trials,
            lambda options: apply(given.passed, options, example.points),
            first,
            prepared,
            seconds,
            own.notes,
        )
    trials.cut_short |= first < size
    if asked.device_batch == "auto" and first == size:
        size, seconds = _best_batch(trials, prepared, size, seconds)
    batched = False
    if trials.n_targets > 1 and not compiled and not given.is_oracle:
        batched = _batched_is_faster(trials, prepared, size, seconds, own.notes)
    known_for = _LONGER * n_gradients if trials.cut_short else math.inf
    choice = Choice(prepared.options + compiled, size, batched, known_for)
    return Found(choice, None if compiled else prepared)


def _best_options(
    trials: Trials,
    made_by: Callable[[Sequence[str]], Prepared],
    size: int,
    prepared: Prepared,
    seconds: float,
    notes: dict[str, str],
) -> tuple[Prepared, float]:
    """Add each automatic option to a prepared model where that is faster."""
    for name in AUTOMATIC:
        if name in prepared.options or not trials.worth(size, seconds):
            continue
        begin = time.perf_counter()
        try:
            candidate = made_by((*prepared.options, name))
        except CannotPrepareError as error:
            notes[name] = str(error)
            continue
        finally:
            trials.spent += time.perf_counter() - begin
        found = trials.seconds(candidate, size)
        if trials.worth(2 * size, seconds):  # both once more: a machine's speed drifts
            seconds = min(seconds, trials.seconds(prepared, size))
            found = min(found, trials.seconds(candidate, size))
        if found * _WORTHWHILE < seconds:
            prepared, seconds = candidate, found
        else:
            notes[name] = trials.failed or "no faster"
    return prepared, seconds


def _best_batch(trials: Trials, prepared: Prepared, size: int, seconds: float) -> tuple[int, float]:
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
    trials: Trials, prepared: Prepared, size: int, seconds: float, notes: dict[str, str]
) -> bool:
    """Tell whether one backward pass for all the targets is faster than one for each."""
    if not (trials.worth(size, seconds) and trials.room(size * trials.n_targets, size)):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operators that are batched by a slow loop
        found = trials.seconds(prepared, size, batched_backward=True)
    if trials.failed:
        notes["batched_backward"] = trials.failed
    return found * _WORTHWHILE < seconds
