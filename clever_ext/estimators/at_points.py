"""Margins and gradients at points that a search has chosen, as many as there are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..classifier.oracle import margins_and_gradients, margins_of
from ..engine.at_points import in_batches
from ..engine.plan import Plan


def gradients_at(
    plan: Plan, x: Tensor, classes: Tensor, targets: Tensor, gradient: Tensor
) -> Tensor:
    """Write the gradients of margins at points, and return the margins.

    Args:
        plan: How passes are made.
        x: [B, *shape].
        classes: [B] int64, predicted at the images.
        targets: [B, 1] int64.
        gradient: [B, *shape], written.

    Returns:
        [B] float64.
    """
    margins = torch.empty(len(x), dtype=torch.float64, device=x.device)

    def work(part: slice) -> None:
        points, of_classes, of_targets = x[part], classes[part], targets[part]
        n = len(points)
        if plan.fixed_batch and n < plan.device_batch:
            fill = torch.arange(plan.device_batch, device=x.device) % n
            points, of_classes, of_targets = points[fill], of_classes[fill], of_targets[fill]
        found, gradients = margins_and_gradients(plan.oracle, points, of_classes, of_targets)
        margins[part] = found[:n, 0].double()
        gradient[part] = next(iter(gradients))[:n]

    in_batches(plan, len(x), work)
    return margins


def margins_at(plan: Plan, x: Tensor, classes: Tensor, targets: Tensor) -> Tensor:
    """Return margins [B] float64 at points by forward passes; arguments as for `gradients_at`."""
    margins = torch.empty(len(x), dtype=torch.float64, device=x.device)

    def work(part: slice) -> None:
        n = len(x[part])
        points = x[part]
        if plan.fixed_batch and n < plan.device_batch:
            points = points[torch.arange(plan.device_batch, device=x.device) % n]
        logits = plan.oracle.logits(points)[:n]
        margins[part] = margins_of(logits, classes[part], targets[part])[:, 0].double()

    in_batches(plan, len(x), work)
    return margins
