"""Whether a model is a classifier that can be scored, told by a few passes before any work."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .calling import called, check_eval_mode, check_logits, mixing
from .doubts import doubts_of
from .errors import CleverError
from .findings import Finding
from .memory import is_out_of_memory
from .outputs import LogitsAlone, is_named, logits_of
from .sampling import default_radius, sample_lp_ball

#: How far a row's logits may move with the batch it is computed in, relative to its logits:
#: rounding of other kernels for other batch sizes.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}
#: Share of it by which the same batch may move from one call to the next.
_SAME_BATCH = 0.1
#: Points of a batch of which every row's gradient is held against every other row's.
_PAIRS = 8
#: Rows that are computed alone.
_ALONE = 8
#: Calls by which randomness is told from rows that mix, where something differs.
_REPEATED = 8
#: Logits beyond so many times the small ones are masks, and tell nothing of the arithmetic.
_MASK = 1e3


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
    with own_randomness(), torch.no_grad():
        output = called(model, x, images)
    check_logits(logits_of(output), output, len(x))
    return model if isinstance(output, Tensor) else LogitsAlone(model)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Give all random states back as they were."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if _on_gpu() else ()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.default_generator.manual_seed(number)
    if _on_gpu():
        torch.cuda.manual_seed_all(number)


def probe_points(images: Tensor) -> Tensor:
    """Return three points [3, *shape] at and beside the images, to compare passes at."""
    # Neighbouring points stand in where there are too few images; one image alone tells nothing.
    return torch.cat([images[:1], images[:1] * 0.5, images[-1:] * 0.75]).contiguous()


def points_of_balls(
    images: Tensor, n: int, balls: list[tuple[float, float]], clip: tuple[float, float]
) -> Tensor:
    """Return n points [n, *shape]: images, and samples of the balls around them, in turn."""
    numbered = [(p, R if math.isfinite(R) else default_radius(p)) for p, R in balls]
    rows = [images[k % len(images)] for k in range(n)]
    for k in range(1, n):  # the first is an image itself
        p, radius = (numbered or [(2.0, default_radius(2))])[k % max(1, len(numbered))]
        one = sample_lp_ball(rows[k], 1, p=p, radius=radius, seed=k, image_id=k, clip=clip)
        rows[k] = one[0].to(images)
    return torch.stack(rows)


class _Seen:
    """The logits of some points by a first pass, with which others are compared.

    Args:
        model: [B, *shape] -> logits [B, K].
        points: [B, *shape].

    Attributes:
        graph: The leaf and the logits of the first pass.
        logits: [B, K].
        kind: The coarsest type that the model computes in.
        slopes: Whether a gradient was seen that is not zero.
    """

    def __init__(self, model: Callable[[Tensor], Any], points: Tensor) -> None:
        self.model, self.points = model, points
        self.graph = _tracked(model, points)
        self.logits = self.graph[1].detach()
        self.kind = _coarsest(points.dtype, self.graph[1])
        self.slopes = False
        self._scale = _scale(self.logits)

    def refuse(self, differs: bool) -> None:
        """Refuse what differs: for its other rows, unless the same batch does from call to call."""
        for seed in range(_REPEATED) if differs else ():
            _seed(1000 + seed)
            again = _tracked(self.model, self.points)[1].detach()
            if self.differs(again, slice(None), _SAME_BATCH):
                raise CleverError(
                    "two passes over the same batch gave different logits",
                    "a deterministic model",
                    "switch off its random parts and what it keeps from call to call (F.dropout(x) "
                    "drops in evaluation mode too: pass training=self.training)",
                )
        if differs:
            raise mixing()

    def mixes(self, leaf: Tensor, logits: Tensor, rows: Tensor) -> bool:
        """Tell whether the logits of some rows, [B] boolean, depend on the points of the others."""
        gradient = _gradient(leaf, logits, rows).nan_to_num(0, 0, 0)
        self.slopes |= bool((gradient != 0).any())
        return bool((gradient[~rows.to(gradient.device)] != 0).any())

    def differs(self, found: Tensor, rows: Any, share: float = 1.0) -> bool:
        """Tell whether logits differ by more than rounding from those of some rows."""
        a, b = found.detach().double(), self.logits[rows].double()
        finite = torch.isfinite(a) & torch.isfinite(b)
        same = (a == b) | (a.isnan() & b.isnan())
        allowed = share * _ROUNDING[self.kind] * b.abs().clamp(min=self._scale)
        close = finite & ((a - b).abs() <= allowed)
        return not bool((same | close).all())


def _tracked(model: Callable[[Tensor], Any], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf of the graph and its logits: with a graph, as gradients are made."""
    with torch.enable_grad():
        leaf = points.detach().clone().requires_grad_()
        output = called(model, leaf.clone())  # into which it may write
        logits = logits_of(output)
    check_logits(logits, output, len(points))
    return leaf, logits


def _gradient(leaf: Tensor, logits: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient [B, *shape] of some rows' logits, rows [B] boolean."""
    if not logits.requires_grad:
        raise _cut_off()
    weights = torch.linspace(1, 2, logits.shape[1], dtype=torch.float64, device="cpu")
    signs = (rows[:, None] * weights).to(logits)
    try:
        (gradient,) = torch.autograd.grad(logits, leaf, signs, allow_unused=True)
    except Exception as error:  # whatever a backward pass of the model's own raises
        if is_out_of_memory(error):
            raise
        raise _no_gradient(error) from error
    if gradient is None:
        raise _cut_off()
    return gradient


def _scale(logits: Tensor) -> float:
    """Return the size of typical logits; columns that do not vary, and masks, are left out."""
    varying = logits[:, (logits != logits[:1]).any(dim=0)] if len(logits) > 1 else logits
    sizes = varying.double().abs()
    sizes = sizes[torch.isfinite(sizes) & (sizes > 0)].cpu()
    if len(sizes) == 0:
        return 0.0
    usual = sizes[sizes <= _MASK * np.quantile(sizes.numpy(), 0.1)]
    return float(usual.median())


def _coarsest(dtype: torch.dtype, logits: Tensor) -> torch.dtype:
    """Return the coarsest type of numbers on the way from the points to the logits."""
    kinds, seen, waiting = {dtype, logits.dtype}, set(), [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        kinds |= {each.dtype for each in getattr(node, "_input_metadata", ())}
        waiting += [before for before, _ in node.next_functions]
    return max(kinds & set(_ROUNDING), key=lambda kind: _ROUNDING[kind])


def _cut_off() -> CleverError:
    return CleverError(
        "the model's logits do not depend on its input through torch operations",
        "logits that torch can differentiate with respect to the input",
        "remove torch.no_grad(), .detach() and NumPy from the forward pass, or pass a "
        "GradientOracle",
    )


def _no_gradient(error: Exception) -> CleverError:
    said = str(error).strip().splitlines() or [type(error).__name__]
    fix = "see that logits.sum().backward() works and gives the input a gradient"
    if "heckpoint" in str(error):
        fix = "checkpoint with use_reentrant=False, or not at all: activations are small here"
    return CleverError(
        f"the backward pass to the input failed: {said[0]}",
        "logits that torch can differentiate with respect to the input",
        fix,
    )


def check_classifier(
    model: Any,
    images: Tensor,
    device_batch: int = _PAIRS,
    balls: list[tuple[float, float]] | None = None,
    clip: tuple[float, float] = (-math.inf, math.inf),
) -> list[Finding]:
    """Refuse a model that cannot be scored, by a few passes over points of the balls.

    Refused are: training mode, an output that is no [B, K], no gradient to the input, a forward
    pass that differs from call to call, and rows that influence each other, in batches of one or
    two points, of a few, and of the size that will run. Logits that are infinite must be equal;
    others may differ by the rounding of the coarsest type that the model computes in.

    Args:
        model: A module or callable.
        images: [N, *shape].
        device_batch: The size that will run.
        balls: (norm, radius) of each; a radius that is no number stands for the default.
        clip: Range that samples are clamped to.

    Returns:
        What was seen besides.

    Raises:
        CleverError: one of these.
    """
    check_eval_mode(model)
    with own_randomness():
        few = points_of_balls(images, min(device_batch, _PAIRS), balls or [], clip)
        seen = _checked_rows(model, few, _masks(len(few)))
        if device_batch > len(few):
            check_batch_size(model, images, device_batch, balls, clip)
        found = doubts_of(model, few, seen.logits, seen.slopes, seen.kind)
        with torch.no_grad():
            inner = model.model if isinstance(model, LogitsAlone) else model
            output = inner(few[:2].clone())
    if not is_named(output):
        n_classes = logits_of(output).shape[1]
        found.append(
            Finding(
                "model",
                f"the model returns several tensors [B, K]; the first, of {n_classes} columns, was "
                "taken for the logits",
                "wrap the model in a function that returns its logits alone",
            )
        )
    return found


def check_batch_size(
    model: Any,
    images: Tensor,
    device_batch: int,
    balls: list[tuple[float, float]] | None = None,
    clip: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Refuse a model whose rows influence each other in batches of some size.

    Raises:
        CleverError: they do.
    """
    half = torch.arange(device_batch, device="cpu") % 2 == 0
    with own_randomness():
        points = points_of_balls(images, device_batch, balls or [], clip)
        _checked_rows(model, points, [half, ~half])


def _masks(n: int) -> list[Tensor]:
    """Return choices of n rows, [n] each, such that for each two rows one has the first alone.

    Each row is in as many choices as any other, and no two in the same ones.
    """
    size = next(size for size in itertools.count(2) if math.comb(size, size // 2) >= n)
    codes = list(itertools.islice(itertools.combinations(range(size), size // 2), n))
    return [
        torch.tensor([choice in code for code in codes], device="cpu") for choice in range(size)
    ]


def _checked_rows(model: Any, points: Tensor, masks: list[Tensor]) -> _Seen:
    """Refuse a model by one pass for each choice of rows, and by passes of single rows.

    Every other pass has the rows at other places, and among other points.
    """
    n, rows = len(points), torch.arange(len(points), device="cpu")
    place, kept = rows.roll(n // 2), rows % 2 == 0
    moved = points[place]
    if n > 2:
        moved[~kept] = points[0] + 0.25 * (moved[~kept] - points[0])
    _seed(0)
    seen = _Seen(model, points)
    for turn, mask in enumerate(masks):
        leaf, logits = seen.graph
        if turn > 0:
            _seed(turn)
            leaf, logits = _tracked(model, moved if turn % 2 else points)
            if turn % 2:
                seen.refuse(seen.differs(logits[kept], place[kept]))
            else:
                seen.refuse(seen.differs(logits, slice(None), _SAME_BATCH))
        seen.refuse(seen.mixes(leaf, logits, mask))
    for part in [slice(k, k + 1) for k in range(min(n, _ALONE))] + [slice(0, 2)]:
        seen.refuse(seen.differs(_tracked(model, points[part])[1], part))
    return seen
