"""Whether a model is a classifier that can be scored, told by a few passes before any work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import CleverError
from ..findings import Finding
from .calling import PassFailedError, called, check_eval_mode, check_logits, mixing
from .doubts import doubts_of
from .first_pass import (
    FirstPass,
    gradient_of,
    mixes,
    mixing_backward,
    tracked,
)
from .outputs import LogitsAlone, is_named, logits_of
from .points import DEFAULT_BALL, Region, points_in_turn
from .process_state import own_randomness, seed_all
from .tolerances import SAME_BATCH

#: Points of a batch of which every row's gradient is held against every other row's.
_PAIRS = 8
#: Rows that are computed alone.
_ALONE = 8
#: Besides the sizes that will run: a small odd one.
_ODD = 3
#: Times the logits that a second backward pass is for; exact, and of the other sign.
_FACTOR = -2.0
#: Sizes that are tried of a model that does not take one point alone.
_FIXED = (2, 3, 4, 5, 6, 7, 8, 10, 16, 32, 64, 128)


class Checks(NamedTuple):
    """What the passes of `check_classifier` showed.

    Attributes:
        findings: What was seen besides.
        one_forward: Whether a graph serves the backward passes of several targets.
    """

    findings: list[Finding]
    one_forward: bool


def as_classifier(model: Any, images: Tensor) -> Any:
    """Return the model, or one around it that returns logits alone, if it returns more.

    Args:
        model: A module or callable.
        images: [N, *shape].

    Raises:
        CleverError: the model does not take them, or returns no logits.
    """
    check_eval_mode(model)
    x = images[:1].clone()
    with own_randomness(), torch.enable_grad():
        try:
            output = called(model, x.clone().requires_grad_().clone(), images)
        except CleverError as error:
            size = _size_that_works(model, x)
            if size is None:
                raise
            raise _one_size(size, error) from error
    check_logits(logits_of(output), output, len(x))
    return model if isinstance(output, Tensor) else LogitsAlone(model)


def _size_that_works(model: Any, x: Tensor) -> int | None:
    """Return a size of batch that a model takes, given a point [1, *shape] that it does not."""
    for size in _FIXED:
        with suppress(Exception):
            points = x.expand(size, *x.shape[1:]).clone().requires_grad_()
            logits = logits_of(model(points.clone()))
            if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == size:
                return size
    return None


def _one_size(size: int, error: CleverError) -> CleverError:
    alone = "lambda x: torch.cat([model(row) for row in x.split(1)])"
    fix = "export or trace it with a batch of any size (dynamic_shapes, dynamic_axes)"
    return CleverError(
        f"the model takes batches of {size}, but not all other sizes: {error.wrong}",
        "a model that takes batches of any size, to logits [B, K]",
        f"wrap it: {alone}" if size == 1 else fix,
    )


def check_classifier(
    model: Any,
    images: Tensor,
    device_batch: int = _PAIRS,
    region: Region = DEFAULT_BALL,
) -> Checks:
    """Refuse a model that cannot be scored, by a few passes over points of the balls.

    Refused are: training mode, an output that is no [B, K], no gradient to the input, a forward or
    backward pass that differs from call to call, and rows whose logits or gradients depend on the
    others, in batches of one or two points, of a few, and of the sizes that will run. Logits that
    are infinite must be equal; others may differ by the rounding of the coarsest type that the
    model computes in.

    Args:
        model: A module or callable.
        images: [N, *shape].
        device_batch: The size that will run.
        region: Where the points of all passes will lie.

    Raises:
        CleverError: one of these.
    """
    check_eval_mode(model)
    with own_randomness():
        few = points_in_turn(images, min(device_batch, _PAIRS), region)
        try:
            seen = _checked_rows(model, few, _masks(len(few)))
        except PassFailedError as error:
            if _takes_rows_alone(model, few):
                raise _one_size(1, error) from error
            raise
        found, one_forward = _check_backward(seen)
        for size in _sizes(len(images), device_batch, len(few)):
            points = points_in_turn(images, size, region)
            masks = _halves(size)
            _checked_rows(model, points, masks if size == device_batch else masks[:1], seen)
        found += doubts_of(model, few, seen.logits, seen.gradients, seen.kind)
        found += _check_without_gradients(seen)
    return Checks(found, one_forward)


def _sizes(n_images: int, device_batch: int, checked: int) -> list[int]:
    """Return the sizes of batches, from small to large, that will run beside one that was checked.

    The images themselves go through the model in device batches, of which the last is smaller.
    """
    sizes = {_ODD, device_batch, min(n_images, device_batch), n_images % device_batch}
    return sorted(size for size in sizes - {0, 1, 2, checked} if size <= device_batch)


def _takes_rows_alone(model: Any, points: Tensor) -> bool:
    """Tell whether a model takes each of some points, but no two of them."""
    for k in range(len(points)):
        tracked(model, points[k : k + 1])  # or tells what is wrong with this one
    try:
        tracked(model, points[:2])
    except PassFailedError:
        return True
    return False


def _check_backward(seen: FirstPass) -> tuple[list[Finding], bool]:
    """Look at a second backward pass through one graph, as each target after the first takes.

    Returns:
        What is doubtful, and whether the graph serves both.
    """
    every = torch.ones(len(seen.points), dtype=torch.bool, device="cpu")

    def fresh(factor: float) -> tuple[Tensor, Callable[[float], Tensor]]:
        seed_all(0)
        leaf, logits = tracked(seen.model, seen.points)
        first = gradient_of(leaf, logits, every, factor, keep=True)
        return first, lambda factor: gradient_of(leaf, logits, every, factor)

    try:
        once, again = fresh(1.0)
        twice = again(_FACTOR)
    except CleverError:  # that of one pass is there: each target needs a forward pass of its own
        return [], True
    places = torch.arange(len(every), device="cpu")
    seen.refuse(seen.gradients_differ(once, places), mixing_backward())
    if not seen.moved(twice / _FACTOR, once):
        return [], True
    other, _ = fresh(_FACTOR)
    if not seen.moved(other / _FACTOR, once):
        return [], False
    doubt = Finding(
        "model",
        f"the backward pass is no derivative: for {_FACTOR:g} times the logits it does not give "
        f"{_FACTOR:g} times the gradient",
        "remove what clips or changes gradients in hooks or autograd.Functions: scores go by the "
        "gradients that the model gives",
    )
    return [doubt], not seen.moved(twice, other)


def _check_without_gradients(seen: FirstPass) -> list[Finding]:
    """Hold a pass without a graph, as logits alone are made, against those with one."""
    model = seen.model.model if isinstance(seen.model, LogitsAlone) else seen.model
    few = seen.points[:2]
    try:
        with torch.no_grad():
            output = called(model, few.clone())
    except PassFailedError as error:
        raise CleverError(
            f"the model fails under torch.no_grad(): {error.wrong}",
            "a model that takes points with and without gradients",
            "register hooks and call retain_grad() only if x.requires_grad",
        ) from error
    logits = logits_of(output)
    check_logits(logits, output, len(few))
    if seen.differs(logits, slice(0, 2)):
        raise CleverError(
            "the model gives other logits under torch.no_grad() than with gradients",
            "a model that computes the same in both",
            "remove what goes by torch.is_grad_enabled() or requires_grad",
        )
    if is_named(output):
        return []
    return [
        Finding(
            "model",
            f"the model returns several tensors [B, K]; the first, of {logits.shape[1]} columns, "
            "was taken for the logits",
            "wrap the model in a function that returns its logits alone",
        )
    ]


def check_batch_size(
    model: Any,
    images: Tensor,
    device_batch: int,
    region: Region,
) -> None:
    """Refuse a model whose rows influence each other in batches of some size.

    Raises:
        CleverError: they do.
    """
    with own_randomness():
        points = points_in_turn(images, device_batch, region)
        _checked_rows(model, points, _halves(device_batch))


def _halves(n: int) -> list[Tensor]:
    """Return two choices of n rows, [n] each: every other one, and the rest."""
    half = torch.arange(n, device="cpu") % 2 == 0
    return [half, ~half]


def _masks(n: int) -> list[Tensor]:
    """Return choices of n rows, [n] each, such that for each two rows one has the first alone.

    Each row is in as many choices as any other, and no two in the same ones.
    """
    size = next(size for size in itertools.count(2) if math.comb(size, size // 2) >= n)
    codes = list(itertools.islice(itertools.combinations(range(size), size // 2), n))
    return [
        torch.tensor([choice in code for code in codes], device="cpu") for choice in range(size)
    ]


def _checked_rows(
    model: Any, points: Tensor, masks: list[Tensor], few: FirstPass | None = None
) -> FirstPass:
    """Refuse a model by one pass for each choice of rows, and by passes of single rows.

    Every other pass has the rows at other places, and among other points. Where the first rows were
    seen before, in a batch of a few, that stands for passes of single ones.
    """
    n, rows = len(points), torch.arange(len(points), device="cpu")
    place, kept = rows.roll(n // 2), rows % 2 == 0
    moved = points[place]
    if n > 2:
        moved[~kept] = points[0] + 0.25 * (moved[~kept] - points[0])
    seed_all(0)
    seen = FirstPass(model, points)
    for turn, mask in enumerate(masks):
        leaf, logits = seen.graph
        here, same = rows, mask
        if turn > 0:
            seed_all(turn)
            leaf, logits = tracked(model, moved if turn % 2 else points)
            if turn % 2:
                seen.refuse(seen.differs(logits[kept], place[kept]), mixing())
                here, same = place, mask & kept
            else:
                seen.refuse(seen.differs(logits, slice(None), SAME_BATCH), mixing())
        gradient = gradient_of(leaf, logits, mask)
        seen.refuse(mixes(gradient, mask), mixing())
        seen.refuse(seen.gradients_differ(gradient[same], here[same]), mixing_backward())
    _compare_small(seen, few)
    return seen


def _compare_small(seen: FirstPass, few: FirstPass | None) -> None:
    """Refuse a model whose first rows differ from those in smaller batches."""
    n, model, points = len(seen.points), seen.model, seen.points
    first = torch.arange(min(n, _ALONE if few is None else len(few.points)), device="cpu")
    if few is not None:
        seen.refuse(seen.differs(few.logits[first], first), mixing())
        first = first[few.known[first]]
        seen.refuse(seen.gradients_differ(few.gradients[first], first), mixing_backward())
        return
    alone, one = [], torch.ones(1, dtype=torch.bool, device="cpu")
    try:
        for k in first.tolist():
            leaf, logits = tracked(model, points[k : k + 1])
            seen.refuse(seen.differs(logits, slice(k, k + 1)), mixing())
            alone.append(gradient_of(leaf, logits, one))
        two = tracked(model, points[:2])[1]
    except PassFailedError as error:
        raise _one_size(n, error) from error
    seen.refuse(seen.differs(two, slice(0, 2)), mixing())
    seen.refuse(seen.gradients_differ(torch.cat(alone), first), mixing_backward())
