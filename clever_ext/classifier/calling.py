"""What can be called as a classifier, and what is behind a call that fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ..errors import CleverError, first_line
from ..machine.memory import is_out_of_memory
from .foreign import left_torch, outside_torch, refuse_foreign
from .oracle import GradientOracle, parts_of, tensors_of
from .outputs import logits_of


class PassFailedError(CleverError):
    """The model raised, at this size of batch at least."""


def check_kind(model: Any) -> None:
    """Refuse what is no model that could be called, or one that has no weights yet.

    Raises:
        CleverError: it is one of these; the text says which.
    """
    expected = "a torch.nn.Module, a callable or a GradientOracle"
    kind = type(model).__name__
    if isinstance(model, type):
        raise CleverError(
            f"model is the class {model.__name__}, not a model",
            expected,
            f"make one and load its weights: model = {model.__name__}(...).eval()",
        )
    if isinstance(model, torch.nn.Module):
        _check_weights_are_there(model)
        return
    if isinstance(model, GradientOracle):
        return
    refuse_foreign(model, expected)
    if callable(model):
        return
    fix = "pass the model itself"
    if model is None:
        fix = "see that what makes the model returns it"
    elif isinstance(model, str):
        fix = "load the model first, e.g. model = clever_ext.load_model(name)"
    elif isinstance(model, Mapping):
        fix = "make the network, and load these weights into it: net.load_state_dict(...)"
    raise CleverError(f"model of type {kind} cannot be called", expected, fix)


def _check_weights_are_there(module: torch.nn.Module) -> None:
    for name, tensor in (one for tensors in tensors_of(module) for one in tensors.items()):
        if is_lazy(tensor):
            raise CleverError(
                f"the model's weight {name!r} has no shape yet: it is of a lazy module",
                "a model whose weights are loaded",
                "call the model on a batch once, then load its weights and call model.eval()",
            )
        if tensor.is_meta:
            raise CleverError(
                f"the model's weight {name!r} has no values: it is on the meta device",
                "a model whose weights are loaded",
                "call model.to_empty(device=...) and load its weights",
            )


def check_eval_mode(model: Any) -> None:
    """Refuse a module of which some part is in training mode."""
    for name, part in parts_of(model).values():
        # Of what was traced, exported or frozen, the mode is part of the graph; what has no
        # forward pass of its own has no mode.
        traced = type(part).__module__.startswith(("torch.fx.", "torch.export."))
        if traced or getattr(type(part), "forward", None) is torch.nn.Module.forward:
            continue
        if getattr(part, "training", False):
            where = f"its submodule {name!r}" if name else "the model"
            raise CleverError(
                f"{where} is in training mode",
                "a model in evaluation mode, whose rows do not influence each other",
                "call model.eval() first",
            )


def called(model: Callable[[Tensor], Any], x: Tensor, images: Tensor | None = None) -> Any:
    """Return what a model makes of points, or raise a `CleverError` that tells why it fails.

    Args:
        model: Any.
        x: [B, *shape].
        images: What the user gave, if that may be the reason.
    """
    try:
        return model(x)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _cause(model, x, images, error) from error


def _cause(
    model: Callable[[Tensor], Any], x: Tensor, images: Tensor | None, error: Exception
) -> CleverError:
    """Return what is likely to be behind a pass that failed."""
    function = model.forward if isinstance(model, torch.nn.Module) else model
    signature = None
    with suppress(ValueError, TypeError):  # of a built-in function nothing is known
        signature = inspect.signature(function)
    try:
        if signature is not None:
            signature.bind(x)
    except TypeError as mismatch:
        return CleverError(
            f"the model cannot be called with a batch alone ({mismatch}): it takes {signature}",
            "a model that takes a batch [B, *shape] as its only argument",
            "wrap it, e.g. lambda x: model(name_of_the_argument=x)",
        )
    if images is not None and images.dim() in (2, 3):
        with suppress(Exception):
            whole = logits_of(model(images[None]))
            if isinstance(whole, Tensor) and whole.dim() == 2:
                return CleverError(
                    f"images of shape {list(images.shape)} are one image for this model",
                    "a batch of images, [N, *shape]",
                    "give images[None]",
                )
    outside = left_torch(model, error)
    if outside is not None:
        return outside
    if isinstance(error, CleverError):  # of a part of ours, such as Normalized
        return PassFailedError(error.wrong, error.expected, error.fix)
    said = first_line(error)
    if "more than 1 value per channel" in said:
        return mixing()
    return PassFailedError(
        f"the model failed on a batch of shape {list(x.shape)}, {x.dtype}, {x.device}: {said}",
        "a model that takes such a batch, of any size, to logits [B, K]",
        "check the images' shape, range and dtype, and where the model's weights are",
    )


def check_logits(logits: Any, output: Any, n: int) -> None:
    """Refuse what are no logits [n, K], taken out of an output."""
    if isinstance(output, torch.nn.Module):
        raise CleverError(
            f"the model returned another model, {type(output).__name__}",
            f"a tensor of logits [{n}, K]",
            "pass what it returns: it makes the model",
        )
    if hasattr(logits, "__array__") and not isinstance(logits, Tensor):
        raise outside_torch(f"the model's output is of type {type(logits).__name__}, no tensor")
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != n:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if isinstance(logits, Mapping):
            got = f"a {got} of {', '.join(map(str, logits))}"
        raise CleverError(
            f"the model's output for a batch of {n} is {got}",
            f"a tensor of logits [{n}, K]",
            "wrap the model in a function that returns its logits alone",
        )
    if not logits.is_floating_point():
        raise CleverError(
            f"the model's logits are {logits.dtype}",
            "real floating point numbers",
            "return the numbers before the classes are chosen, or the absolute values of complex "
            "ones",
        )
    if logits.shape[1] < 2:
        raise CleverError(
            "the model has one logit", "at least 2 classes", "give [0, logit] for a binary model"
        )


def mixing() -> CleverError:
    """Return the error for a model whose rows influence each other."""
    return CleverError(
        "the rows of a batch influence each other's logits, or a row's place in the batch does",
        "a model whose logits of a row depend on that row alone",
        "put batch normalisation into evaluation mode, and remove what is computed over the batch "
        "and noise, also noise from a fixed seed",
    )
