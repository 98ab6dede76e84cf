"""Logits and gradients of margins: all that scoring needs to know of a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .memory import is_out_of_memory
from .sampling import FLOATS


@runtime_checkable
class GradientOracle(Protocol):
    """What can be scored: anything that gives logits and gradients of margins."""

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield for each of T targets the gradients [B, *shape] of margins at x [B, *shape].

        The t-th margin of row i is logit classes[i] minus logit targets[i, t]; classes are [B],
        targets [B, T], int64. A yielded gradient is used before the next one is asked for.
        """


class TorchOracle:
    """Logits and margin gradients of a torch module, or of a callable that torch can differentiate.

    One forward pass serves all the targets of a point. Each target takes one backward pass, with
    respect to the input only; or one pass, batched by `torch.vmap`, takes all of them at once,
    which is faster for small networks and holds the gradients of all targets together.

    Where a graph does not serve a second backward pass, as that of a compiled model which gives its
    buffers away, each target gets a forward pass of its own. Parameters get no gradients.

    Args:
        model: [B, *shape] -> logits [B, K].
        batched_backward: Whether one backward pass takes all the targets.
        clone_input: Whether the model modifies its input, and so gets a copy of it.
        one_forward: Whether one forward pass serves all the targets, as far as is known.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        *,
        batched_backward: bool = False,
        clone_input: bool = False,
        one_forward: bool = True,
    ) -> None:
        self.model = model
        self.batched_backward = batched_backward
        self.clone_input = clone_input
        self._one_forward = one_forward

    def _logits(self, x: Tensor) -> Tensor:
        return self.model(x.clone() if self.clone_input else x)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""
        with torch.no_grad():
            return self._logits(x)

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield the gradients [B, *shape] of the margins, target after target."""
        return self.margins_and_gradients(x, classes, targets)[1]

    def margins_and_gradients(
        self, x: Tensor, classes: Tensor, targets: Tensor
    ) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the margins [B, T] and their gradients of one forward pass."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self._logits(leaf)
        return margins_of(logits.detach(), classes, targets), self._backward(
            leaf, logits, classes, targets
        )

    def _backward(
        self, leaf: Tensor, logits: Tensor, classes: Tensor, targets: Tensor
    ) -> Iterator[Tensor]:
        # A margin's gradient is that of the logits' product with one 1 and one -1: the margins
        # themselves are not needed, and rows do not influence each other.
        ones = torch.ones_like(targets[:, :1], dtype=logits.dtype)
        plus = torch.zeros_like(logits).scatter_(1, classes[:, None], ones)
        n_targets = targets.shape[1]
        if self.batched_backward and n_targets > 1:
            signs = plus.expand(n_targets, -1, -1).scatter_add(
                2, targets.T[:, :, None], -ones.expand(n_targets, -1, -1)
            )
            (gradients,) = torch.autograd.grad(logits, leaf, signs, is_grads_batched=True)
            yield from gradients
            return
        for t in range(n_targets):
            signs = plus.scatter_add(1, targets[:, t, None], -ones)
            if t > 0 and not self._one_forward:
                logits = self._again(leaf)
            keep = self._one_forward and t < n_targets - 1
            try:
                (gradient,) = torch.autograd.grad(logits, leaf, signs, retain_graph=keep)
            except Exception as error:  # whatever a model's own backward pass raises
                if n_targets == 1 or not self._one_forward or is_out_of_memory(error):
                    raise
                (gradient,) = torch.autograd.grad(self._again(leaf), leaf, signs)
                self._one_forward = False
            yield gradient

    def _again(self, leaf: Tensor) -> Tensor:
        with torch.enable_grad():
            return self._logits(leaf)


def margins_of(logits: Tensor, classes: Tensor, targets: Tensor) -> Tensor:
    """Return the margins [B, T] of logits [B, K]."""
    return logits.gather(1, classes[:, None]) - logits.gather(1, targets)


def margins_and_gradients(
    oracle: GradientOracle, x: Tensor, classes: Tensor, targets: Tensor
) -> tuple[Tensor, Iterator[Tensor]]:
    """Return the margins [B, T] at x and their gradients, by one forward pass where that can be."""
    own = getattr(type(oracle), "margin_gradients", None) is TorchOracle.margin_gradients
    if own and isinstance(oracle, TorchOracle):  # not where a subclass has its own gradients
        return oracle.margins_and_gradients(x, classes, targets)
    margins = margins_of(oracle.logits(x), classes, targets)
    return margins, oracle.margin_gradients(x, classes, targets)


def as_module(model: Any) -> torch.nn.Module | None:
    """Return a model that is a torch module, None for anything else."""
    return model if isinstance(model, torch.nn.Module) else None


def model_placement(model: Any) -> tuple[torch.device | None, torch.dtype | None]:
    """Return the device and dtype of most of a module's floating point weights, if it has any.

    Buffers count where no parameter is of a type that images can have: weights of a type that is
    only stored, such as float8, do not tell what the module computes in.
    """
    module = as_module(model)
    if module is None:
        return None, None
    device = None
    for tensors in (list(module.parameters()), list(module.buffers())):
        elements: Counter[tuple[torch.device, torch.dtype]] = Counter()
        for tensor in tensors:
            if tensor.dtype in FLOATS:
                elements[tensor.device, tensor.dtype] += tensor.numel()
        if elements:
            return elements.most_common(1)[0][0]
        device = device or next((each.device for each in tensors), None)
    return device, None
