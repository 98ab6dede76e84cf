"""A first pass of a model over some points, and whether other passes agree with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CleverError, first_line
from ..machine.memory import is_out_of_memory
from .calling import called, check_logits
from .foreign import outside_torch
from .outputs import logits_of
from .process_state import precision, seed_all
from .tolerances import LAST_PLACES, OTHER_BATCHES, SAME_BATCH, close

#: Calls by which randomness is told from rows that mix, where something differs.
_REPEATED = 8
#: Logits beyond so many times the small ones are masks, and tell nothing of the arithmetic.
_MASK = 1e3
#: Gradients below this share of the largest row's are none.
_NO_GRADIENT = 1e-4


class FirstPass:
    """The logits and gradients of some points by a first pass, with which others are compared.

    Args:
        model: [B, *shape] -> logits [B, K].
        points: [B, *shape].

    Attributes:
        graph: The leaf and the logits of the first pass.
        logits: [B, K].
        gradients: [B, *shape], of the rows whose gradients were asked for.
        known: [B], which these are.
        kind: The coarsest type that the model computes in.
        products: The type that products of its numbers are rounded as.
    """

    def __init__(self, model: Callable[[Tensor], Any], points: Tensor) -> None:
        self.model, self.points = model, points
        self.graph = tracked(model, points)
        self.logits = self.graph[1].detach()
        self.kind = self.products = _coarsest(points.dtype, self.graph[1])
        if self.kind == torch.float32 and "bf16" in precision(points.device).values():
            self.products = torch.bfloat16
        self.gradients = torch.zeros_like(points)
        self.known = torch.zeros(len(points), dtype=torch.bool, device="cpu")
        self._columns = _that_vary(self.logits)
        usual = self.logits.double()[:, self._columns], self._differences(self.logits)
        self._scales = [_typical_size(each) for each in usual]

    def refuse(self, differs: bool, reason: CleverError) -> None:
        """Refuse what differs: for a reason, unless the same batch does from call to call."""
        if not differs:
            return
        every = torch.ones(len(self.points), dtype=torch.bool, device="cpu")
        first: Tensor | None = None
        for seed in range(_REPEATED):
            seed_all(1000 + seed)
            leaf, logits = tracked(self.model, self.points)
            if self.differs(logits, slice(None), SAME_BATCH):
                raise _changing("logits")
            gradient = gradient_of(leaf, logits, every)
            first = gradient if first is None else first
            if self.moved(gradient, first):
                raise _changing("gradients")
        raise reason

    def differs(self, found: Tensor, rows: Any, share: float = 1.0) -> bool:
        """Tell whether logits differ by more than rounding from those of some rows.

        So do their differences within a row, which alone count: an offset of all hides nothing.
        """
        a, b = found.detach().double(), self.logits[rows].double()
        if a.shape != b.shape:  # another number of classes
            return True
        allowed = OTHER_BATCHES[self.products].logits
        sizes = torch.where(torch.isfinite(b), b.abs(), 0)
        last = min(allowed, LAST_PLACES * torch.finfo(self.products).eps)
        of_offset = last * sizes.maximum(sizes[:, self._columns].amax(dim=1, keepdim=True))
        of_logits = share * allowed * sizes.clamp(min=self._scales[0])
        if not close(a, b, of_logits):
            return True
        a, b = self._differences(a), self._differences(b)
        return not close(a, b, share * allowed * b.abs().clamp(min=self._scales[1]) + of_offset)

    def gradients_differ(self, found: Tensor, rows: Tensor) -> bool:
        """Tell whether gradients [R, *shape] differ from those known of some rows, [R] places.

        Those of rows of which none is known yet become known.
        """
        known = self.known[rows]
        self.gradients[rows[~known]] = found[~known.to(found.device)].detach()
        self.known[rows] = True
        return self.moved(found[known.to(found.device)], self.gradients[rows[known]])

    def moved(self, found: Tensor, known: Tensor) -> bool:
        """Tell whether gradients [R, *shape] are others than rounding makes of known ones."""
        a, b = found.detach().flatten(1).double(), known.flatten(1).double()
        if not torch.equal(torch.isfinite(a), torch.isfinite(b)):
            return True
        a, b = (x.nan_to_num(0, 0, 0) for x in (a, b))
        size = torch.maximum(a.norm(dim=1), b.norm(dim=1))
        there = size > _NO_GRADIENT * size.max() if len(size) else size > 0
        if not bool(there.any()):
            return False
        change = ((a - b).norm(dim=1) / b.norm(dim=1).clamp(min=1e-300))[there]
        allowed = OTHER_BATCHES[self.products]
        most = len(change) > 1 and bool(change.median() > allowed.typical)
        return most or bool(change.max() > allowed.worst)

    def _differences(self, logits: Tensor) -> Tensor:
        """Return logits [B, K] less the largest of their row, of those that are no masks."""
        logits = logits.double()
        usable = torch.isfinite(logits) & self._columns
        largest = torch.where(usable, logits, -torch.inf).amax(dim=1, keepdim=True)
        return logits - torch.where(torch.isfinite(largest), largest, 0)


def mixes(gradient: Tensor, rows: Tensor) -> bool:
    """Tell whether a gradient [B, *shape] of some rows' logits, [B], is one at other rows too."""
    others = gradient[~rows.to(gradient.device)]
    return bool((others.nan_to_num(0, 0, 0) != 0).any())


def tracked(model: Callable[[Tensor], Any], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf of the graph and its logits: with a graph, as gradients are made."""
    with torch.enable_grad():
        leaf = points.detach().clone().requires_grad_()
        output = called(model, leaf.clone())  # into which it may write
        logits = logits_of(output)
    check_logits(logits, output, len(points))
    return leaf, logits


def gradient_of(
    leaf: Tensor, logits: Tensor, rows: Tensor, factor: float = 1.0, keep: bool = False
) -> Tensor:
    """Return the gradient [B, *shape] of some rows' logits, rows [B] boolean.

    It is that of the sum of their logits, each times a number of its own, and times the factor.

    Raises:
        CleverError: there is none, or the backward pass fails.
    """
    if not logits.requires_grad:
        raise _cut_off()
    weights = factor * torch.linspace(1, 2, logits.shape[1], dtype=torch.float64, device="cpu")
    weights[1::2] *= -1  # as margins, which are differences
    signs = (rows[:, None] * weights).to(logits)
    try:
        (gradient,) = torch.autograd.grad(logits, leaf, signs, retain_graph=keep, allow_unused=True)
    except Exception as error:  # whatever a backward pass of the model's own raises
        if is_out_of_memory(error):
            raise
        raise _no_gradient(error) from error
    if gradient is None:
        raise _cut_off()
    return gradient


def _that_vary(logits: Tensor) -> Tensor:
    """Return [K], whether a column varies over the rows, and is no mask; all if none does."""
    finite = torch.isfinite(logits)
    varying = ((logits != logits[:1]) & finite & finite[:1]).any(dim=0)
    return varying if bool(varying.any()) else torch.ones_like(varying)


def _typical_size(values: Tensor) -> float:
    """Return the size of typical logits, or of their differences; masks are left out."""
    sizes = values.abs()
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
    return max(kinds & set(OTHER_BATCHES), key=lambda kind: OTHER_BATCHES[kind].logits)


def _cut_off() -> CleverError:
    return outside_torch("the model's logits do not depend on its input through torch operations")


def _no_gradient(error: Exception) -> CleverError:
    fix = "see that logits.sum().backward() works and gives the input a gradient"
    if "heckpoint" in str(error):
        fix = "checkpoint with use_reentrant=False, or not at all: activations are small here"
    return CleverError(
        f"the backward pass to the input failed: {first_line(error)}",
        "logits that torch can differentiate with respect to the input",
        fix,
    )


def _changing(what: str) -> CleverError:
    return CleverError(
        f"two passes over the same batch gave different {what}",
        "a deterministic model",
        "switch off its random parts and what it keeps from call to call (F.dropout(x) "
        "drops in evaluation mode too: pass training=self.training)",
    )


def mixing_backward() -> CleverError:
    """Return the error for a model whose gradients of a row depend on the batch it is in."""
    return CleverError(
        "a row's gradient depends on the batch that it is computed in, and its logits do not",
        "a model whose backward pass treats each row by itself",
        "remove what its hooks or autograd.Functions compute over the batch, such as a norm that "
        "gradients are clipped to",
    )
