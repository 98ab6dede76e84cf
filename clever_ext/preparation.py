"""Making a model faster without changing what it computes: named options, each checked.

Every option works on a copy; the user's module stays as it is. What an option makes of the model is
compared with the model itself, logits and gradients, before it is used.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .errors import CleverError

Model = Callable[[Tensor], Tensor]

#: What can be asked for, in the order in which it is done, and its effect on the numbers: the
#: largest change of a gradient norm that is let through, relative to the norm.
OPTIONS: dict[str, float] = {
    "fold_batch_norm": 1e-2,
    "channels_last": 1e-2,
    "bfloat16": 0.3,
    "float16": 0.1,
    "compile": 1e-2,
    "tf32": 0.1,
    "cuda_graph": 0.0,
}
#: What "auto" tries, in order: rounding alone changes.
AUTOMATIC = ("fold_batch_norm", "channels_last")


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
            "see docs/performance.md for what each does",
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
    for name in OPTIONS:
        if name in options and name in _STEPS:
            try:
                prepared = _STEPS[name](prepared, points)
            except CannotPrepareError:
                raise
            except Exception as error:  # whatever a model's own code raises
                raise CannotPrepareError(f"{type(error).__name__}: {error}") from error
            prepared = replace(prepared, options=(*prepared.options, name))
    if prepared.options:
        _compare(model, prepared, points)
    return prepared


@contextmanager
def process_settings(options: Sequence[str]) -> Iterator[None]:
    """Set what options need of the whole process while the block runs.

    Products of float32 numbers on GPUs are taken in TF32 with "tf32" alone; torch's own default is
    TF32 for convolutions and float32 for matrix products.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = "tf32" in options
    try:
        with _several_backward_passes() if "compile" in options else nullcontext():
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _several_backward_passes() -> Any:
    """Forbid compiled backward passes to overwrite what the next one over the same graph needs."""
    from torch._functorch import config  # what only compiling needs

    return config.patch(donated_buffer=False)


def _module_copy(prepared: Prepared) -> nn.Module:
    if not isinstance(prepared.model, nn.Module):
        raise CannotPrepareError("the model is no torch.nn.Module")
    if prepared.options:  # a copy already
        return prepared.model
    return copy.deepcopy(prepared.model).requires_grad_(False)


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(fx.Tracer):
    """Keeps convolutions and batch norms whole, those that a model derives from torch's too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, (*_CONVOLUTIONS, *_BATCH_NORMS))
        return whole or super().is_leaf_module(m, module_qualified_name)


def _foldable(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield each convolution and the batch norm that alone reads its result."""
    modules = dict(traced.named_modules())
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    times_called = Counter(node.target for node in calls)
    for norm in calls:
        if not isinstance(modules[norm.target], _BATCH_NORMS):
            continue
        source = norm.args[0]
        called = source.op == "call_module" and isinstance(modules[source.target], _CONVOLUTIONS)
        if called and len(source.users) == 1 and times_called[source.target] == 1:
            yield source, norm


def _fold_batch_norm(prepared: Prepared, _: Tensor) -> Prepared:
    module = _module_copy(prepared)
    traced = fx.GraphModule(module, _Tracer().trace(module))
    pairs = list(_foldable(traced))
    if not pairs:
        raise CannotPrepareError("no convolution is followed by a batch norm")
    for convolution, norm in pairs:
        target = str(convolution.target)
        parent, _dot, name = target.rpartition(".")
        fused = fuse_conv_bn_eval(
            traced.get_submodule(target),  # type: ignore[type-var]
            traced.get_submodule(str(norm.target)),  # type: ignore[arg-type]
        )
        setattr(traced.get_submodule(parent), name, fused)
        norm.replace_all_uses_with(convolution)
        traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return replace(prepared, model=traced.eval().requires_grad_(False))


def _channels_last(prepared: Prepared, points: Tensor) -> Prepared:
    if points.dim() != 4:
        raise CannotPrepareError("the points are no pictures [C, H, W]")
    module = _module_copy(prepared)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(prepared, model=module, memory_format=torch.channels_last)


class _Autocast(nn.Module):
    """Runs a model in a shorter type where torch holds that to be safe; logits are float32."""

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype):
            return self.model(x).float()


def _autocast(dtype: torch.dtype) -> Callable[[Prepared, Tensor], Prepared]:
    def step(prepared: Prepared, points: Tensor) -> Prepared:
        if points.dtype != torch.float32:
            raise CannotPrepareError(f"the points are {points.dtype}, not float32")
        return replace(prepared, model=_Autocast(prepared.model, dtype).eval())

    return step


def _compile(prepared: Prepared, _: Tensor) -> Prepared:
    compiled = torch.compile(prepared.model, dynamic=False)
    return replace(prepared, model=compiled, fixed_batch=True)


_STEPS: dict[str, Callable[[Prepared, Tensor], Prepared]] = {
    "fold_batch_norm": _fold_batch_norm,
    "channels_last": _channels_last,
    "bfloat16": _autocast(torch.bfloat16),
    "float16": _autocast(torch.float16),
    "compile": _compile,
}


def _compare(model: Model, prepared: Prepared, points: Tensor) -> None:
    """Refuse what moves logits or the norms of gradients by more than the options may.

    Gradients are compared too, since a copy may lose a backward pass of its own, such as that of a
    straight-through estimator.
    """
    logits, norms = _logits_and_norms(model, points)
    inputs = points.contiguous(memory_format=prepared.memory_format)
    other_logits, other_norms = _logits_and_norms(prepared.model, inputs)
    allowed = max(OPTIONS[name] for name in prepared.options)
    moved = float((other_logits - logits).abs().max() / logits.abs().max().clamp_min(1e-30))
    # Where a gradient all but vanishes, what is left of it is rounding.
    sizes = norms.clamp_min(max(1e-6 * float(norms.max()), 1e-30))
    changed = float(((other_norms - norms).abs() / sizes).max())
    if not (moved <= allowed and changed <= allowed):
        raise CannotPrepareError(
            f"logits move by {moved:.1e} of the largest, gradient norms by {changed:.1e}; "
            f"{allowed:g} is allowed"
        )


def _logits_and_norms(model: Model, points: Tensor) -> tuple[Tensor, Tensor]:
    leaf = points.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.enable_grad():
        logits = model(leaf)
        (gradient,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)
    return logits.detach().double(), gradient.double().flatten(1).norm(dim=1)
