"""Whether a model is a classifier that can be scored, told by a few passes before any work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from .errors import CleverError
from .findings import Finding
from .gradients import as_module

#: How far a row's logits may move with the batch it is computed in, relative to the largest logit:
#: rounding of other kernels for other batch sizes, float32 and half.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


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


def check_classifier(model: Any, images: Tensor) -> list[Finding]:
    """Refuse a model that cannot be scored, by a few passes over up to three points.

    Refused are: training mode, an output that is no [B, K], no gradient to the input, a forward
    pass that differs from run to run, and rows that influence each other.

    Returns:
        What was seen besides.

    Raises:
        CleverError: one of these.
    """
    module = as_module(model)
    if module is not None:
        _check_eval_mode(module)
    rng = torch.random.get_rng_state()
    x = probe_points(images)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        logits = _run(model, leaf.clone())
        if not logits.requires_grad:
            raise CleverError(
                "the model's logits do not depend on its input through torch operations",
                "logits that torch can differentiate with respect to the input",
                "remove torch.no_grad(), .detach() and NumPy from the forward pass, or pass a "
                "GradientOracle",
            )
        (gradient,) = torch.autograd.grad(logits[0].sum(), leaf)
    with torch.no_grad():
        again, alone = _run(model, x.clone()), _run(model, x[:1].clone())
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
    return []


def modifies_input(model: Any, x: Tensor) -> bool:
    """Tell whether a model writes to the points that it is given; `x` [B, *shape] are some.

    It then needs a copy of them in each pass. What it raises is left to `check_classifier`.
    """
    given = x.clone()
    version = given._version
    with torch.no_grad(), suppress(Exception):
        model(given)
    if given._version != version or not torch.equal(given, x):
        return True
    leaf = given.requires_grad_()  # of which a model may take another way
    try:
        with torch.enable_grad():
            model(leaf)
    except RuntimeError as error:
        return "leaf Variable" in str(error) and "in-place" in str(error)
    except Exception:
        return False
    return leaf._version != version or not torch.equal(leaf.detach(), x)
