"""Passes at given points, a device batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..kernels import ops
from ..kernels.balls import dual_exponent
from .plan import Plan


def in_batches(plan: Plan, n: int, work: Callable[[slice], None]) -> None:
    """Work on slices of 0..n of the device batch's size, in another way where a pass fails."""
    done = 0
    while done < n:
        part = slice(done, min(n, done + plan.device_batch))
        try:
            work(part)
            plan.sizes.add(part.stop - part.start)
        except Exception as error:  # whatever a model raises
            plan.recover(error, part.stop - part.start)
        else:
            done = part.stop


def filled(plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Repeat the rows of tensors to the size that a plan's passes have, where that is fixed."""
    n = len(tensors[0])
    if not plan.fixed_batch or n >= plan.device_batch:
        return tensors
    fill = torch.arange(plan.device_batch, device=tensors[0].device) % n
    return tuple(tensor[fill] for tensor in tensors)


def norms_at(
    plan: Plan,
    images: Tensor,
    classes: Tensor,
    targets: Tensor,
    norms: list[float],
) -> npt.NDArray[np.float64]:
    """Return the gradient norms at the images themselves, [len(norms), I, T] float64."""
    duals = [dual_exponent(p) for p in norms]
    shape = len(norms), len(images), targets.shape[1]
    out = torch.zeros(shape, dtype=torch.float64, device="cpu")

    def work(part: slice) -> None:
        n, given = len(images[part]), filled(plan, images[part], classes[part], targets[part])
        gradients = plan.oracle.margin_gradients(*given)
        for target, gradient in enumerate(gradients):
            for first in range(0, len(duals), ops.MAX_NORMS):
                group = slice(first, first + ops.MAX_NORMS)
                found = torch.zeros(
                    len(duals[group]), n, dtype=torch.float64, device=gradient.device
                )
                ops.grad_norm_max(gradient[:n, None], duals[group], found)
                out[group, part, target] = found.cpu()

    in_batches(plan, len(images), work)
    return out.numpy()
