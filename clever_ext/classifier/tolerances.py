"""How far rounding may move logits and gradients, and how they are compared."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Allowed(NamedTuple):
    """How far two passes over the same points may be apart.

    Attributes:
        logits: Any logit, relative to how far typical logits lie apart.
        typical: The gradient, or its norm, relative to the norm: the median over the points.
        worst: That of any point. Beside a kink rounding decides on which side a unit is.
    """

    logits: float
    typical: float
    worst: float


#: Checks before the work: of a row in other batches, where other kernels may compute it; by the
#: coarsest type that the model computes in.
OTHER_BATCHES = {
    torch.float64: Allowed(1e-9, 1e-6, 0.1),
    torch.float32: Allowed(1e-3, 2e-3, 0.1),
    torch.float16: Allowed(5e-2, 0.2, 0.7),
    torch.bfloat16: Allowed(1e-1, 0.4, 0.9),
}
#: The same checks: share of that which logits of the same batch may move from call to call.
SAME_BATCH = 0.1
#: After the work: of logits and gradients of the same batch, by the type of the points. Relative to
#: the spread of a row's logits, or to its gradient: nothing, but for a GPU's order of sums.
AFTER_WORK = {
    torch.float64: 1e-9,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
#: By how much more on a GPU, and of how many rows a gradient may cross a kink by rounding.
ON_GPU, CROSSED = 100.0, 0.25
#: After the work: of a row's logits in one of its batches and alone, by the type of the points.
#: Relative to the spread of the row's logits.
WORK_BATCHES = {
    torch.float64: 1e-9,
    torch.float32: 2e-3,
    torch.float16: 0.1,
    torch.bfloat16: 0.2,
}
#: Rounding of large numbers that all logits have in common, in units of their last place.
LAST_PLACES = 64


def close(a: Tensor, b: Tensor, allowed: Tensor) -> bool:
    """Tell whether all of a are within what is allowed of b, or the same infinity, or NaN."""
    finite = torch.isfinite(a) & torch.isfinite(b)
    return bool((_same(a, b) | (finite & ((a - b).abs() <= allowed))).all())


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Return absolute differences; 0 where both are the same infinity, or NaN."""
    return torch.where(_same(a, b), 0.0, (a - b).abs().nan_to_num(torch.inf))


def _same(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def spread(logits: Tensor) -> Tensor:
    """Return how far the finite logits of each row lie apart, [B]."""
    finite = logits.isfinite()
    high = torch.where(finite, logits, -torch.inf).amax(dim=1)
    low = torch.where(finite, logits, torch.inf).amin(dim=1)
    return (high - low).nan_to_num(0.0, 0.0, 0.0).clamp_min(1e-30)
