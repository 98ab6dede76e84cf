"""What searches share: looks at points that they have chosen, and the directions they take."""

from __future__ import annotations

import torch
from torch import Tensor

from ..classifier.oracle import margins_and_gradients, margins_of
from ..engine.at_points import filled, in_batches
from ..engine.plan import Plan
from ..kernels import ops
from ..kernels.balls import dual_exponent

#: Secants count where the margin moved by this share of the largest logit: rounding makes others.
SHORTEST_RISE = 1e-2
#: Exponent of directions for p = 1, whose own is infinite: a step along one element gets nowhere.
_SHARPEST = 4.0
#: What a running mean keeps of its past.
_MEMORY = 0.9


def sharpness(p: float) -> float:
    """Return the exponent s for which sign(g) |g|^s is the steepest ascent, blunter for p = 1."""
    return min(dual_exponent(p) - 1, _SHARPEST)


def each(of_points: Tensor, points: Tensor) -> Tensor:
    """Return one number [B] for each point in a shape that goes with points [B, *shape]."""
    return of_points.view(-1, *[1] * (points.dim() - 1))


def remember(mean: Tensor, at_probe: Tensor, gradient: Tensor, sign: float) -> None:
    """Take the difference of gradients, at unit length, into its running mean.

    Args:
        mean: [B, *shape], changed.
        at_probe: [B, *shape], gradients a step away; overwritten.
        gradient: [B, *shape], where the step began.
        sign: Of the step.
    """
    difference = at_probe.sub_(gradient)
    length = torch.zeros(1, len(difference), dtype=torch.float64, device=mean.device)
    ops.grad_norm_max(difference[:, None], [2.0], length)
    scale = each(torch.where(length > 0, sign / length, 0.0)[0], mean)
    mean.mul_(_MEMORY).addcmul_(difference, scale.to(difference.dtype))


def gradients_at(
    plan: Plan, x: Tensor, classes: Tensor, targets: Tensor, gradient: Tensor
) -> Tensor:
    """Write the gradients of first targets' margins at points, and return all targets' margins.

    Args:
        plan: How passes are made.
        x: [B, *shape].
        classes: [B] int64, predicted at the images.
        targets: [B, T] int64; the first one's margin is differentiated.
        gradient: [B, *shape], written.

    Returns:
        [B, T] float64: the forward pass knows the other targets' too.
    """
    margins = torch.empty(targets.shape, dtype=torch.float64, device=x.device)

    def work(part: slice) -> None:
        points, of, to = filled(plan, x[part], classes[part], targets[part])
        n = len(x[part])
        found, gradients = margins_and_gradients(plan.oracle, points, of, to[:, :1], to[:, 1:])
        margins[part] = found[:n].double()
        gradient[part] = next(iter(gradients))[:n]

    in_batches(plan, len(x), work)
    return margins


def margins_at(plan: Plan, x: Tensor, classes: Tensor, targets: Tensor) -> Tensor:
    """Return margins [B, T] float64 at points by forward passes; arguments as `gradients_at`."""
    margins = torch.empty(targets.shape, dtype=torch.float64, device=x.device)

    def work(part: slice) -> None:
        (points,) = filled(plan, x[part])
        logits = plan.oracle.logits(points)[: len(x[part])]
        margins[part] = margins_of(logits, classes[part], targets[part]).double()

    in_batches(plan, len(x), work)
    return margins
