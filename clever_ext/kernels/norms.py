"""The largest gradient norm of each group."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import CleverError
from . import ops
from .balls import FLOATS, Norm, check_norm


def grad_norm_max(grads: Tensor, q: Norm = 2) -> Tensor:
    """Return the largest q-norm of each group of gradients.

    Norms accumulate in float32 (float64 for float64 gradients) and are combined in float64; a row
    that under- or overflows there is taken again, scaled. The same bits on each run.

    Args:
        grads: [G, B, *shape], any strides; float64, float32, float16 or bfloat16.
        q: The norm, 1 <= q <= inf; for an l_p ball its dual, 1/p + 1/q = 1.

    Returns:
        [G] float64: max over B of the q-norm over all of shape. A NaN or an infinity in a group is
        never dropped: its maximum is NaN (which wins) or inf.

    Raises:
        CleverError: a wrong rank or dtype, an empty group, or q < 1.

    >>> import torch
    >>> grad_norm_max(torch.tensor([[[3.0, 4.0], [1.0, 0.0]]]), q=2)
    tensor([5.], dtype=torch.float64)
    """
    if not isinstance(grads, Tensor) or grads.dim() < 3 or grads.dtype not in FLOATS:
        given = (
            f"{grads.dtype} of shape {list(grads.shape)}"
            if isinstance(grads, Tensor)
            else type(grads).__name__
        )
        raise CleverError(
            f"grads is {given}",
            "a floating point tensor [G, B, *shape]",
            "give single vectors as grads[None, :, :]",
        )
    if grads[0:1].numel() == 0 and len(grads):
        raise CleverError(
            f"grads of shape {list(grads.shape)} has empty groups",
            "at least one gradient of one element in each group",
            "leave the empty groups out",
        )
    maxima = torch.zeros(1, len(grads), dtype=torch.float64, device=grads.device)
    ops.grad_norm_max(grads.detach(), [check_norm(q)], maxima)
    return maxima[0]
