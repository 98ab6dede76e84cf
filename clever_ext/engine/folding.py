"""Batch norms taken into the convolutions before them, by watching which feed which.

A copy of the model is run once with its convolutions and batch norms watched. Where all that a
convolution gives is read by one batch norm, and a convolution with other weights gives the same as
both, the two are a pair. The copy then runs the model's own forward pass: the convolution of a pair
computes what the batch norm would have made of its result, and hands it on in a `_Pending`, from
which that batch norm alone can take it. All else, such as hooks or a backward pass of its own, is
as in the model.

Whatever else touches a `_Pending`, as a branch may that was not taken before, raises. The copy then
makes that pass and all later ones with its pairs undone. So folding changes rounding or nothing.
"""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._pytree import tree_leaves, tree_map_only

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TORCH_S_OWN = {kind.forward for kind in (*_CONVOLUTIONS, *_BATCH_NORMS)}
#: Multiples of the activations at which forward passes other than torch's own are compared too:
#: what is not linear, or goes by values, shows at one of them.
_MULTIPLES = (-1.0, 0.1, 10.0)


class CannotFoldError(Exception):
    """No batch norm of a model can be folded; the text says why."""


class _ReadByOthersError(RuntimeError):
    """Something but its batch norm has read what a convolution gave."""


class _Pending(Tensor):
    """What a convolution hands to its batch norm: a tensor without contents for anything else."""

    pair: _Pair
    value: Tensor

    @staticmethod
    def of(value: Tensor, pair: _Pair) -> _Pending:
        """Wrap the value that is meant for the batch norm of a pair."""
        made: _Pending = Tensor._make_wrapper_subclass(
            _Pending, value.shape, dtype=value.dtype, device=value.device
        )
        made.value, made.pair = value, pair
        return made

    @classmethod
    def __torch_function__(cls, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        pairs = [x.pair for x in tree_leaves(given) if isinstance(x, _Pending)]
        for pair in pairs:
            pair.read_by_others = True
        if not all(pair.watched for pair in pairs):
            raise _ReadByOthersError("a convolution's result is read by more than its batch norm")
        args, kwargs = tree_map_only(_Pending, lambda x: x.value, given)
        return func(*args, **kwargs)

    # For what goes past Python, such as an autograd.Function that hands its input on.
    __torch_dispatch__ = __torch_function__  # type: ignore[assignment]


class _Pair:
    """A convolution, the batch norm that reads it, and the convolution that is both.

    Attributes:
        watched: Whether it is still to be found out which batch norm that is.
        suits: Whether they may be folded, by all that was seen.
        read_by_others: Whether something else has read the convolution's result.
    """

    def __init__(self, convolution: nn.Module, rounding: float) -> None:
        # What stands in for a module's forward pass does not hold it: a copy in such a cycle would
        # stay in memory until Python looks for cycles.
        self._convolution, self.rounding = weakref.ref(convolution), rounding
        self.norm: Any = None
        self.fused: Any = None
        self.watched, self.suits, self.read_by_others = True, True, False
        self._seen: Any = None
        self._made_of: list[tuple[Tensor, int]] = []

    @property
    def convolution(self) -> Any:
        """The convolution, as long as its model is there."""
        return self._convolution()

    def convolve(self, x: Tensor, *others: Any, **named: Any) -> Any:
        """Stand in for the convolution's forward pass."""
        x = x.detach() if isinstance(x, _Pending) else x  # which tells that it is read
        if self.watched or others or named or not self._up_to_date():
            out = _forward(self.convolution, x, *others, **named)
            self.suits &= type(x) is Tensor and type(out) is Tensor and not (others or named)
            if not (self.watched and self.suits):
                return out
            self._seen = x
        else:
            out = self.fused.forward(x)  # of autocast's, where it has cast the weights
        return _Pending.of(out, self)

    def normalise(self, norm: nn.Module, value: Tensor) -> Any:
        """Return what the pair's batch norm, or another while watched, makes of a value."""
        if not self.watched:
            return value
        out = _forward(norm, value)
        if self.norm is None:
            self.norm, self.fused = norm, _fused(self.convolution, norm)
        self.suits &= self.norm is norm and self._computes(self._seen, out)
        if self.suits and not {type(m).forward for m in (self.convolution, norm)} <= _TORCH_S_OWN:
            for multiple in (by * self._seen for by in _MULTIPLES):
                expected = _forward(norm, _forward(self.convolution, multiple))
                self.suits &= self._computes(multiple, expected)
        self._seen = None
        return out

    def _computes(self, x: Tensor, expected: Tensor) -> bool:
        found = _forward(self.fused, x)
        allowed = self.rounding * float(expected.detach().abs().max())
        same = found.shape == expected.shape and found.dtype == expected.dtype
        return same and torch.allclose(found, expected, rtol=0, atol=allowed)

    def use(self) -> None:
        """Compute by the fused convolution from now on."""
        self.watched = False
        self._made_of = [(x, x._version) for x in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        held = [each for m in (self.convolution, self.norm) for each in (m._parameters, m._buffers)]
        return [x for each in held for x in each.values() if x is not None]

    def _up_to_date(self) -> bool:
        """Tell whether the modules are as they were when they were fused."""
        now = self._tensors()
        same = len(now) == len(self._made_of) and all(
            x is before and x._version == version
            for x, (before, version) in zip(now, self._made_of, strict=True)
        )
        return same and not self.norm.training


def _forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a module as its class does, whatever stands in for it."""
    return type(module).forward(module, *args, **kwargs)


def _normalise(of: weakref.ref[nn.Module], x: Any, *others: Any, **named: Any) -> Any:
    """Stand in for a batch norm's forward pass."""
    norm = of()
    assert norm is not None
    alone = isinstance(x, _Pending) and not (others or named)
    if alone and (x.pair.watched or x.pair.norm is norm):
        return x.pair.normalise(norm, x.value)
    return _forward(norm, x, *others, **named)


def _as_its_class(module: nn.Module) -> bool:
    """Tell whether nothing but its class and its own weights decides what a module computes."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
        module._backward_pre_hooks,
    )  # fmt: skip
    weights = [x for x in module._parameters.values() if x is not None]
    return (
        {"weight", "bias"} <= set(module._parameters)
        and all(type(x) is nn.Parameter for x in weights)
        and not any(hooks)
        and "forward" not in vars(module)
        and module._compiled_call_impl is None
    )


def _fused(convolution: Any, norm: Any) -> nn.Module:
    stand_in = vars(convolution).pop("forward")
    made = copy.deepcopy(convolution)
    convolution.forward = stand_in
    made.weight, made.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
        norm.weight, norm.bias,
    )  # fmt: skip
    fused: nn.Module = made.requires_grad_(False)
    return fused


class Folded(nn.Module):
    """A model whose batch norms are computed by the convolutions before them.

    Args:
        model: A copy, in evaluation mode, that nobody else uses; it is changed.
        points: [B, *shape], to watch it at.
        rounding: How far the two ways may be apart, relative to an activation's largest value.

    Raises:
        CannotFoldError: there is nothing to fold, or it cannot be told what is.

    Attributes:
        folded: How many batch norms are; 0 once one of them was not the only reader after all.
    """

    def __init__(self, model: nn.Module, points: Tensor, rounding: float) -> None:
        super().__init__()
        if torch_modules._has_any_global_hook():  # type: ignore[no-untyped-call]
            raise CannotFoldError("hooks are set for all modules of the process")
        self.model, self.training = model, False
        self._pairs = self._watch(points, rounding)
        if not self._pairs:
            raise CannotFoldError("no convolution is followed by a batch norm that can be folded")
        self.fused = nn.ModuleList(pair.fused for pair in self._pairs)
        for pair in self._pairs:
            pair.use()
            pair.convolution.forward = pair.convolve
            pair.norm.forward = partial(_normalise, weakref.ref(pair.norm))

    @property
    def folded(self) -> int:
        """How many batch norms are computed by a convolution."""
        return len(self._pairs)

    def _watch(self, points: Tensor, rounding: float) -> list[_Pair]:
        modules = [m for m in self.model.modules() if _as_its_class(m)]
        pairs = [
            _Pair(m, rounding)
            for m in modules
            if isinstance(m, _CONVOLUTIONS) and m.weight.dtype in (torch.float32, torch.float64)
        ]
        norms = [
            m
            for m in modules
            if isinstance(m, _BATCH_NORMS)
            and not m.training
            and None not in (m.running_mean, m.running_var)
        ]
        for pair in pairs:
            pair.convolution.forward = pair.convolve
        for norm in norms:
            norm.forward = partial(_normalise, weakref.ref(norm))  # type: ignore[method-assign]
        try:
            with torch.enable_grad():  # as in the passes to come; the copy is frozen
                self.model(points.clone())
        finally:
            for module in (*(pair.convolution for pair in pairs), *norms):
                del module.forward
        return [p for p in pairs if p.fused is not None and p.suits and not p.read_by_others]

    def unguarded(self) -> None:
        """Hand plain tensors on, as a compiler wants them, without a look at who reads them."""
        for pair in self._pairs:
            pair.convolution.forward = pair.fused.forward
            pair.norm.forward = _as_it_is

    def forward(self, x: Tensor) -> Any:
        """Return the model's logits."""
        try:
            logits = self.model(x)
        except Exception:
            if not any(pair.read_by_others for pair in self._pairs):
                raise
        else:
            handed_on = any(isinstance(each, _Pending) for each in tree_leaves(logits))
            if not handed_on and not any(pair.read_by_others for pair in self._pairs):
                return logits
        self._undo()
        return self.model(x)

    def _undo(self) -> None:
        for module in {m for pair in self._pairs for m in (pair.convolution, pair.norm)}:
            del module.forward
        self._pairs, self.fused = [], nn.ModuleList()


def _as_it_is(x: Tensor) -> Tensor:
    return x
