"""A model behind a transformation of its input that has no gradient of use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CleverError
from .calling import check_kind
from .oracle import GradientOracle, parts_of


class BPDA(nn.Module):
    """A model behind an input transformation: x -> model(transform(x)), with gradients straight by.

    JPEG, a smaller bit depth or a median filter have gradients that are zero, useless or unknown,
    so that scores of the model behind them would say nothing. BPDA (backward pass differentiable
    approximation: Athalye, Carlini & Wagner, ICML 2018, arXiv 1802.00420; for CLEVER Weng et al.
    2018, arXiv 1810.08640) takes logits and margins of the transformed input, and the model's
    gradients there for those of the input, as if the transformation were the identity.

    Distances are those of the input before the transformation. Flips are real: their margins are
    computed with it. The gradients are approximate, and so is every score that is made of them;
    `check` says so.

    Args:
        model: Module or callable, [B, *shape] -> logits [B, K]; the mode that it is in stays. A
            normalisation belongs into it: `BPDA(Normalized(net, mean, std), transform)`.
        transform: Module or callable, a batch [B, *shape] in the units of the images -> another of
            that shape. It may leave torch, as Pillow does; it may neither draw random numbers nor
            mix the rows of the batch.

    Raises:
        CleverError: If either cannot be called; in a pass, if the transformation returns no tensor
            of the shape that it is given.

    >>> import clever_ext as cx, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    >>> eight_levels = cx.BPDA(model, lambda x: (x * 7).round() / 7)
    >>> result = cx.clever_score(
    ...     eight_levels, torch.rand(2, 3, 4, 4), clip=(0, 1), estimator="steepest"
    ... )
    >>> result.scores[2].shape
    (2,)
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        transform: nn.Module | Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        check_kind(model)
        if isinstance(model, GradientOracle) and not isinstance(model, nn.Module):
            raise CleverError(
                "BPDA is given a GradientOracle",
                "a module or a callable",
                "transform the points in its logits and margin_gradients",
            )
        if not callable(transform):
            raise CleverError(
                f"the transformation of type {type(transform).__name__} cannot be called",
                "a module or a callable that takes a batch to a batch of the same shape",
                "pass the function itself",
            )
        self.model, self.transform = model, transform
        self.training = any(getattr(each, "training", False) for each in (model, transform))

    def forward(self, x: Tensor) -> Any:
        """Logits [B, K] of points [B, *shape]."""
        passed: Tensor = _StraightThrough.apply(x, self.transform)  # type: ignore[no-untyped-call]
        return self.model(passed)


def approximates(model: Any) -> bool:
    """Tell whether gradients of a model, or of a part of it, are passed straight through."""
    return any(isinstance(part, BPDA) for _, part in parts_of(model).values())


class _StraightThrough(torch.autograd.Function):
    """A transformation whose derivative is taken for that of the identity."""

    @staticmethod
    def forward(_: Any, x: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
        made: Any = transform(x.detach().clone())  # into which it may write
        if not isinstance(made, Tensor) or made.shape != x.shape:
            got = f"shape {list(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise CleverError(
                f"the transformation makes {got} of a batch of shape {list(x.shape)}",
                "a tensor of the same shape",
                "let it return one; what changes the size belongs into the model",
            )
        return made.detach().to(x)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None
