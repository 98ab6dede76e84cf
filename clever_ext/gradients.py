"""Logits and gradients of margins: all that scoring needs to know of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .errors import CleverError

#: How far a row's logits may move with the batch it is computed in, relative to the largest logit:
#: rounding of other kernels for other batch sizes, float32 and half.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


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

    Args:
        model: [B, *shape] -> logits [B, K].
        batched_backward: Whether one backward pass takes all the targets.
    """

    def __init__(
        self, model: Callable[[Tensor], Tensor], *, batched_backward: bool = False
    ) -> None:
        self.model = model
        self.batched_backward = batched_backward

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, K] of points x [B, *shape], without a graph."""
        with torch.no_grad():
            return self.model(x)

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Yield the gradients [B, *shape] of the margins, target after target."""
        return self.margins_and_gradients(x, classes, targets)[1]

    def margins_and_gradients(
        self, x: Tensor, classes: Tensor, targets: Tensor
    ) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the margins [B, T] and their gradients of one forward pass."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self.model(leaf)
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
            (gradient,) = torch.autograd.grad(logits, leaf, signs, retain_graph=t < n_targets - 1)
            yield gradient


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


def _module(model: Any) -> torch.nn.Module | None:
    return model if isinstance(model, torch.nn.Module) else None


def model_placement(model: Any) -> tuple[torch.device | None, torch.dtype | None]:
    """Return device and dtype of a module's first floating parameter or buffer, if any."""
    module = _module(model)
    if module is not None:
        for tensors in (module.parameters(), module.buffers()):
            for tensor in tensors:
                if tensor.is_floating_point():
                    return tensor.device, tensor.dtype
    return None, None


def _check_eval_mode(module: torch.nn.Module) -> None:
    # An exported program has no modes: the one it was traced in is part of its graph.
    for name, part in module.named_modules():
        if part.training and not isinstance(part, torch.fx.GraphModule):
            where = f"its submodule {name!r}" if name else "the model"
            raise CleverError(
                f"{where} is in training mode",
                "a model in evaluation mode, whose rows do not influence each other",
                "call model.eval() first",
            )


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """Keep a module's parameters from requiring gradients, and give them back as they were."""
    module = _module(model)
    trainable = [p for p in module.parameters() if p.requires_grad] if module is not None else []
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _run(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        logits: Any = model(x)
    except Exception as error:
        raise CleverError(
            f"the model failed on a batch of shape {list(x.shape)}, {x.dtype}, {x.device}: {error}",
            "a model that takes such a batch to logits [B, K]",
            "check the images' shape, range and dtype, and where the model's weights are",
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise CleverError(
            f"the model's output for a batch of {len(x)} is {got}",
            f"a tensor of logits [{len(x)}, K]",
            "wrap the model in a function that returns its logits alone",
        )
    if logits.shape[1] < 2:
        raise CleverError(
            "the model has one logit", "at least 2 classes", "give [0, logit] for a binary model"
        )
    return logits


def probe_points(images: Tensor) -> Tensor:
    """Return three points [3, *shape] at and beside the images, to compare passes at."""
    # Neighbouring points stand in where there are too few images; one image alone tells nothing.
    return torch.cat([images[:1], images[:1] * 0.5, images[-1:] * 0.75]).contiguous()


def check_classifier(model: Any, images: Tensor) -> None:
    """Refuse a model that cannot be scored, by a few passes over up to three points.

    Refused are: training mode, an output that is no [B, K], no gradient to the input, a forward
    pass that differs from run to run, and rows that influence each other.

    Raises:
        CleverError: one of these.
    """
    module = _module(model)
    if module is not None:
        _check_eval_mode(module)
    rng = torch.random.get_rng_state()
    x = probe_points(images)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        logits = _run(model, leaf)
        if not logits.requires_grad:
            raise CleverError(
                "the model's logits do not depend on its input through torch operations",
                "logits that torch can differentiate with respect to the input",
                "remove torch.no_grad(), .detach() and NumPy from the forward pass, or pass a "
                "GradientOracle",
            )
        (gradient,) = torch.autograd.grad(logits[0].sum(), leaf)
    with torch.no_grad():
        again, alone = _run(model, x), _run(model, x[:1])
    torch.random.set_rng_state(rng)
    tolerance = _ROUNDING.get(logits.dtype, 1e-3) * float(logits.detach().abs().max().nan_to_num())
    if not torch.allclose(again, logits.detach(), rtol=0, atol=tolerance, equal_nan=True):
        raise CleverError(
            "two passes over the same batch gave different logits",
            "a deterministic model",
            "switch off its random parts, or fix their randomness",
        )
    mixed = bool((gradient[1:].nan_to_num(0, 0, 0) != 0).any())
    if mixed or not torch.allclose(alone[0], again[0], rtol=0, atol=tolerance, equal_nan=True):
        raise CleverError(
            "the rows of a batch influence each other's logits",
            "a model whose logits of a row depend on that row alone",
            "put batch normalisation into evaluation mode, and remove what is computed over the "
            "batch",
        )
