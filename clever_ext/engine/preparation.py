"""Making a model faster without changing what it computes: named options, each checked.

Every option works on a copy, through which the model's own forward pass runs; the user's module
stays as it is. What an option makes of the model is compared with the model itself, logits and
gradients, before it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..classifier.oracle import TorchOracle
from ..classifier.process_state import precision
from ..classifier.tolerances import Allowed, apart, spread
from ..errors import CleverError, in_short
from .casting import Autocast
from .folding import CannotFoldError, Folded

Model = Callable[[Tensor], Tensor]

#: What rounding does. Networks of rectifiers are piecewise linear: at most points rounding moves
#: their gradients by about 1e-6, and beside a kink, which the other way of rounding may put on the
#: other side, by the share of one unit: 1.4e-3 at most on EfficientNet-Lite0, at one in five points
#: around photographs and at two of three pictures of noise. A copy that computes something else is
#: told by its logits, or by gradients that are off by per cents at all the points.
_ROUNDING = Allowed(1e-4, 2e-3, 2e-2)
#: The same for factors of 11 bits, which lie 1e4 times as far apart.
_TF32_ROUNDING = Allowed(2e-2, 2e-2, 0.2)

Option = Literal[
    "fold_batch_norm", "channels_last", "bfloat16", "float16", "compile", "tf32", "cuda_graph"
]
PrepareWord = Literal["auto", "none", Option]
#: What `clever_score(prepare=...)` may be.
Prepare = PrepareWord | Sequence[PrepareWord]

#: What can be asked for, in the order in which it is done, and what each may do to the numbers.
OPTIONS: dict[str, Allowed] = {
    "fold_batch_norm": _ROUNDING,
    "channels_last": _ROUNDING,
    "bfloat16": Allowed(0.3, 0.3, 0.3),
    "float16": Allowed(0.1, 0.1, 0.1),
    "compile": Allowed(1e-2, 1e-2, 1e-2),
    "tf32": Allowed(0.1, 0.1, 0.1),
    "cuda_graph": Allowed(0.0, 0.0, 0.0),
}
#: What "auto" tries, in order: rounding alone changes.
AUTOMATIC = ("fold_batch_norm", "channels_last")
#: Targets whose gradients are compared, at most.
_TARGETS = 4


class CannotPrepareError(Exception):
    """An option does not suit a model; the text says why."""


@dataclass(frozen=True)
class Prepared:
    """A model with options applied to it.

    Attributes:
        model: [B, *shape] -> logits [B, K].
        options: The names of what was done.
        memory_format: How the points that it is given should lie.
        fixed_batch: Whether another batch size costs a new compilation.
    """

    model: Model
    options: tuple[str, ...] = ()
    memory_format: torch.memory_format = torch.contiguous_format
    fixed_batch: bool = False


def check_options(prepare: Any) -> tuple[tuple[str, ...], bool]:
    """Return the options that `prepare` names, and whether "auto" is among them.

    Raises:
        CleverError: it names something else, or two that exclude each other.
    """
    given = (prepare,) if isinstance(prepare, str) else prepare
    known = isinstance(given, Sequence) and all(isinstance(name, str) for name in given)
    names = [name.replace("-", "_") for name in given] if known else []
    unknown = [name for name in names if name not in (*OPTIONS, "auto", "none")]
    if not known or unknown or ("none" in names and len(names) > 1):
        raise CleverError(
            f"prepare={prepare!r} names {unknown[0]!r}" if unknown else f"prepare={prepare!r}",
            f'"auto", "none", or some of {", ".join(OPTIONS)}',
            "see docs/guide/speed.md for what each does",
        )
    if {"bfloat16", "float16"} <= set(names):
        raise CleverError(
            "prepare names bfloat16 and float16", "one of the two at most", "leave one out"
        )
    return tuple(name for name in OPTIONS if name in names), "auto" in names


def apply(model: Model, options: Sequence[str], points: Tensor) -> Prepared:
    """Apply options to a copy of a model, and compare the two.

    Args:
        model: The user's; not changed.
        options: Names among OPTIONS. "tf32" is a setting of the process and "cuda_graph" one of the
            loop: they leave the model alone.
        points: [B, *shape], where the two are compared.

    Raises:
        CannotPrepareError: an option does not suit the model, or changes what it computes.
    """
    prepared = Prepared(model)
    try:
        for name in OPTIONS:
            if name in options and name in _STEPS:
                prepared = _STEPS[name](prepared, points)
                prepared = replace(prepared, options=(*prepared.options, name))
        if prepared.options:
            _compare(model, prepared, points)
    except CannotPrepareError:
        raise
    except Exception as error:  # whatever a model's own code raises
        raise CannotPrepareError(in_short(error)) from error
    return prepared


def _module_copy(prepared: Prepared) -> nn.Module:
    model = prepared.model
    if not isinstance(model, nn.Module):
        raise CannotPrepareError("the model is no torch.nn.Module")
    if prepared.options:  # a copy already
        return model
    if any(_is_compiled(part) for part in model.modules()):
        raise CannotPrepareError("the model is compiled: a copy would be compiled again")
    # Weights that hooks make anew in each pass, as weight_norm's do, cannot be copied as they lie.
    lying = [x for m in model.modules() for x in vars(m).values() if isinstance(x, Tensor)]
    made = copy.deepcopy(model, {id(x): x.detach() for x in lying if not x.is_leaf})
    if _storages(made) & _storages(model):
        raise CannotPrepareError("a copy of the model shares weights with it")
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    return made


def _is_compiled(module: nn.Module) -> bool:
    # By name, since the class costs the import of the compiler.
    called = module._compiled_call_impl is not None
    return called or type(module).__name__ == "OptimizedModule"


def _storages(model: nn.Module) -> set[int]:
    tensors = (*model.parameters(), *model.buffers())
    return {x.untyped_storage().data_ptr() for x in tensors} - {0}


def _fold_batch_norm(prepared: Prepared, points: Tensor) -> Prepared:
    allowed = _allowed(("fold_batch_norm",), points)
    try:
        return replace(
            prepared, model=Folded(_module_copy(prepared), points, rounding=allowed.logits)
        )
    except CannotFoldError as error:
        raise CannotPrepareError(str(error)) from error


def _channels_last(prepared: Prepared, points: Tensor) -> Prepared:
    if points.dim() != 4:
        raise CannotPrepareError("the points are no pictures [C, H, W]")
    module = _module_copy(prepared)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(prepared, model=module, memory_format=torch.channels_last)


def _autocast(dtype: torch.dtype) -> Callable[[Prepared, Tensor], Prepared]:
    def step(prepared: Prepared, points: Tensor) -> Prepared:
        if points.dtype != torch.float32:
            raise CannotPrepareError(f"the points are {points.dtype}, not float32")
        try:
            made = Autocast(_module_copy(prepared), dtype)
        except Exception:  # whatever a model's own code raises: what is no copy is left alone
            return replace(prepared, model=Autocast(prepared.model, dtype))
        made.cast_once()
        return replace(prepared, model=made)

    return step


def _compile(prepared: Prepared, _: Tensor) -> Prepared:
    for part in prepared.model.modules() if isinstance(prepared.model, nn.Module) else ():
        if isinstance(part, (Folded, Autocast)):
            part.unguarded()
    compiled = torch.compile(prepared.model, dynamic=False)
    return replace(prepared, model=compiled, fixed_batch=True)


_STEPS: dict[str, Callable[[Prepared, Tensor], Prepared]] = {
    "fold_batch_norm": _fold_batch_norm,
    "channels_last": _channels_last,
    "bfloat16": _autocast(torch.bfloat16),
    "float16": _autocast(torch.float16),
    "compile": _compile,
}


def _allowed(options: Sequence[str], points: Tensor) -> Allowed:
    limits = [OPTIONS[name] for name in options]
    if points.is_cuda and "tf32" in precision(points.device).values():
        limits.append(_TF32_ROUNDING)
    return Allowed(*(max(limit) for limit in zip(*limits, strict=True)))


def _compare(model: Model, prepared: Prepared, points: Tensor) -> None:
    """Refuse what moves logits or the norms of gradients by more than the options may.

    Gradients are compared too, since a copy may lose a backward pass of its own.
    """
    inputs = points.contiguous(memory_format=prepared.memory_format)
    logits, gradient, pair = _passes(model, points)
    other_logits, other_gradient, _ = _passes(prepared.model, inputs, pair)
    moved = apart(other_logits, logits).amax(dim=1) / spread(logits)
    allowed = _allowed(prepared.options, points)
    largest = float(moved.max())
    if not largest <= allowed.logits:
        raise CannotPrepareError(
            f"logits move by {largest:.1e} of their spread; {allowed.logits:g} is allowed"
        )
    _compare_norms(other_gradient, gradient, allowed)


def compare_batched(model: Model, points: Tensor, classes: Tensor, targets: Tensor) -> None:
    """Refuse a backward pass for all targets that gives other gradients than one for each.

    Args:
        model: A prepared one.
        points: [B, *shape], in its memory format.
        classes: [1] int64.
        targets: [1, T] int64.

    Raises:
        CannotPrepareError: it does.
    """
    few = targets[:, :_TARGETS].expand(len(points), -1)
    try:
        one, all_at_once = (
            torch.cat(
                [
                    gradient.flatten(1)
                    for gradient in TorchOracle(model, batched_backward=batched).margin_gradients(
                        points, classes.expand(len(points)), few
                    )
                ]
            )
            for batched in (False, True)
        )
    except Exception as error:  # whatever a model's own code raises
        raise CannotPrepareError(in_short(error)) from error
    _compare_norms(all_at_once, one, _allowed(AUTOMATIC, points))


def _compare_norms(found: Tensor, expected: Tensor, allowed: Allowed) -> None:
    ours, theirs = (
        torch.stack([x.double().flatten(1).norm(p, dim=1) for p in (1, 2, torch.inf)])
        for x in (found, expected)
    )
    # Where a gradient all but vanishes, what is left of it is rounding.
    finite = theirs.nan_to_num(0.0, 0.0, 0.0)
    changed = apart(ours, theirs) / finite.clamp_min(
        1e-6 * finite.amax(dim=1, keepdim=True) + 1e-30
    )
    typical, worst = float(changed.median(dim=1).values.max()), float(changed.max())
    if not (typical <= allowed.typical and worst <= allowed.worst):
        raise CannotPrepareError(
            f"gradient norms move by {typical:.1e} in the median and {worst:.1e} at most; "
            f"{allowed.typical:g} and {allowed.worst:g} are allowed"
        )


def _passes(
    model: Model, points: Tensor, pair: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits [B, K], the gradients of a margin [B, *shape], and its two classes [B, 2].

    The margin is that of the largest two logits if no other is named.
    """
    leaf = points.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.enable_grad():
        logits = model(leaf.clone())  # a model may modify its input
        pair = logits.detach().topk(2, dim=1).indices if pair is None else pair
        high, low = logits.gather(1, pair).unbind(dim=1)
        (gradient,) = torch.autograd.grad((high - low).sum(), leaf)
    return logits.detach().double(), gradient, pair
