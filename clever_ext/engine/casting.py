"""Autocast that takes the weights of a model's layers to the shorter type once, not in each pass.

Autocast keeps what it has cast only where that requires gradients, which a copy's weights do not.
So the layers whose weights it would cast in each pass get twins with shorter weights, which stand
in for their forward passes. The weights themselves stay as they are for all else that reads them.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
_OF_ATTENTION = (
    "in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight",
    "out_proj.weight", "out_proj.bias",
)  # fmt: skip


class Autocast(nn.Module):
    """Runs a model in a shorter type where torch holds that to be safe; logits are float32.

    Args:
        model: [B, *shape] -> logits [B, K]; a module is changed: a copy, in evaluation mode, that
            nobody else uses.
        dtype: The shorter type.

    Attributes:
        twins: Of the layers whose weights are cast.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype, self.training = model, dtype, False
        self.twins = nn.ModuleList()

    def cast_once(self) -> None:
        """Give the model's layers twins."""
        assert isinstance(self.model, nn.Module)
        made: dict[int, nn.Parameter] = {}  # what layers share stays shared
        for layer in list(self.model.modules()):
            names = _cast_weights(layer)
            if names:
                twin = _Twin(layer, names, self.dtype, made)
                self.twins.append(twin.layer)
                layer.forward = twin

    def unguarded(self) -> None:
        """Call the twins without a look at the weights they were made of, as a compiler wants."""
        for layer in self.model.modules() if isinstance(self.model, nn.Module) else ():
            twin = vars(layer).get("forward")
            if isinstance(twin, _Twin):
                layer.forward = _unguarded(layer, twin.layer, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits."""
        with torch.autocast(x.device.type, self.dtype):
            return self.model(x).float()


def _cast_weights(layer: nn.Module) -> list[str]:
    """Return the names of the float32 weights that autocast would cast; of other layers none."""
    if "forward" in vars(layer) or layer._compiled_call_impl is not None:
        return []
    names = []
    for name in _weights_of(layer):
        parameters, last = _owner(layer, name)
        weight = parameters.get(last)
        if weight is not None:
            names.append(name)
        # Else it is made anew in each pass, as by a parametrization.
        plain = last in parameters and (weight is None or type(weight) is nn.Parameter)
        if not plain or (weight is not None and weight.dtype != torch.float32):
            return []
        # On a CPU attention has a way of its own, which goes by the types of its weights.
        if "proj" in name and weight is not None and not weight.is_cuda:
            return []
    return names


def _weights_of(layer: nn.Module) -> tuple[str, ...]:
    """Name the weights that autocast takes to the shorter type, by whose forward pass it is."""
    forward = type(layer).forward
    if not any(forward is kind.forward for kind in _LAYERS):
        return ()
    return _OF_ATTENTION if forward is nn.MultiheadAttention.forward else ("weight", "bias")


def _casts_to(device: str, dtype: torch.dtype) -> bool:
    """Tell whether autocast takes weights to a type here: a model may have left it."""
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == dtype


def _unguarded(layer: nn.Module, twin: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    own, device = type(layer).forward, next(twin.parameters()).device.type

    def forward(*args: Any, **kwargs: Any) -> Any:
        return own(twin if _casts_to(device, dtype) else layer, *args, **kwargs)

    return forward


def _owner(layer: nn.Module, name: str) -> tuple[dict[str, nn.Parameter | None], str]:
    """Return the parameters among which a weight is, and its name there."""
    owner, _, last = name.rpartition(".")
    return layer.get_submodule(owner)._parameters, last


class _Twin:
    """Stands in for a layer's forward pass.

    It does not hold the layer: a copy of a model in such a cycle would stay in memory until Python
    looks for cycles.

    Attributes:
        layer: The same with shorter weights.
    """

    def __init__(
        self, layer: nn.Module, names: list[str], dtype: torch.dtype, made: dict[int, nn.Parameter]
    ) -> None:
        self._of, self._like, self._dtype = weakref.ref(layer), dict(vars(layer)), dtype
        self._device = next(layer.parameters()).device.type
        self._weights: list[tuple[str, Tensor, int]] = []
        self.layer = _shallow(layer)
        for name in names:
            owner = name.rpartition(".")[0]
            if owner and self.layer._modules[owner] is layer._modules[owner]:
                self.layer._modules[owner] = _shallow(layer.get_submodule(owner))
            parameters, last = _owner(self.layer, name)
            weight = parameters[last]
            assert weight is not None
            self._weights.append((name, weight, weight._version))
            if id(weight) not in made:
                made[id(weight)] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
            parameters[last] = made[id(weight)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        layer = self._of()
        assert layer is not None
        # Autocast does not reach into a transform of torch.func.
        plain = torch._C._functorch.peek_interpreter_stack() is None
        if plain and _casts_to(self._device, self._dtype) and self._up_to_date(layer):
            layer = self.layer
        return type(layer).forward(layer, *args, **kwargs)

    def _up_to_date(self, layer: nn.Module) -> bool:
        """Tell whether nothing of the layer was changed, as by the model's own forward pass."""
        now = vars(layer)
        if any(now.get(name) is not value for name, value in self._like.items()):
            return False
        for name, weight, version in self._weights:
            parameters, last = _owner(layer, name)
            if parameters.get(last) is not weight or weight._version != version:
                return False
        return True


def _shallow(layer: nn.Module) -> nn.Module:
    """Return a layer with the same weights, in a place of its own."""
    made = copy.copy(layer)
    made._parameters, made._modules = dict(layer._parameters), dict(layer._modules)
    return made
