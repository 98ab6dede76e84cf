"""Small networks of the kinds that are hard to copy, to fold or to lay out otherwise."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SMALL = (3, 16, 16)
# What torch gives no types.
quantization: Any = torch.ao.quantization
prune: Any = importlib.import_module("torch.nn.utils.prune")
weights: Any = nn.utils
parametrized: Any = torch.nn.utils.parametrizations


class Net(nn.Module):
    """Two convolutions with batch norms and a linear layer; the others differ from it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.out = nn.Linear(8 * 64, 10)

    def begin(self, x: Tensor) -> Tensor:
        """Return what the first convolution and its batch norm give."""
        return F.relu(self.norm(self.first(x)))

    def end(self, x: Tensor) -> Tensor:
        """Return the logits of that."""
        logits: Tensor = self.out(F.relu(self.norm2(self.second(x))).flatten(1))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 3, 16, 16] to [B, 10]."""
        return self.end(self.begin(x))


class Views(Net):
    """Flattens by `view`, as the tutorials do."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.relu(self.norm2(self.second(self.begin(x))))
        logits: Tensor = self.out(x.view(len(x), -1))
        return logits


class Residual(Net):
    """Reads the first convolution's result twice."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        between = self.first(x)
        return self.end(self.norm(between) + 0.1 * between)


class Shared(Net):
    """Calls one convolution twice, before two batch norms."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.norm2(self.first(x[:, :3])))
        return self.end(x)


class Conditional(Net):
    """Goes another way where a row is bright."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        bright = x.mean(dim=(1, 2, 3), keepdim=True) > 0.5
        between = self.first(x)
        if bool(bright.all()):
            return self.end(F.relu(self.norm(between)))
        return self.end(torch.where(bright, F.relu(self.norm(between)), between.tanh()))


class InPlace(Net):
    """Modifies its input, and results, in place."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x -= 0.5
        x /= 0.25
        return self.end(self.norm(self.first(x)).relu_())


class ReluFirst(Net):
    """Begins with an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(self.before(x))


class UnderNoGrad(Net):
    """Sets a few values in place under no_grad."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + 0
        with torch.no_grad():
            x[:, :, 0] = 0.5
        return super().forward(x)


class StraightThrough(torch.autograd.Function):
    """Clamps, with the backward pass of the identity."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        """Clamp."""
        return x.clamp(0.2, 0.8)

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        """Hand on."""
        return gradients[0]


class ClampedStraight(Net):
    """Clamps its input without losing gradients."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = StraightThrough.apply(x)  # type: ignore[no-untyped-call]
        return super().forward(y)


class Once(torch.autograd.Function):
    """Its backward pass can be made once, for one gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Square."""
        ctx.kept = [2 * x]
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Use up what was kept."""
        if gradients[0].sum().item() == math.inf:
            raise ValueError
        return ctx.kept.pop() * gradients[0]


class OneBackward(Net):
    """Frees what its backward pass needs."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = Once.apply(x)  # type: ignore[no-untyped-call]
        return super().forward(y)


class Checkpointed(Net):
    """Computes its first part again in the backward pass."""

    reentrant = False

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        between: Tensor = checkpoint(self.begin, x, use_reentrant=self.reentrant)
        return self.end(between)


class Reentrant(Checkpointed):
    """The same in torch's older way, which takes no gradient of an input alone."""

    reentrant = True


class Standardised(nn.Conv2d):
    """Standardises its weights at each call."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out


class SamePadding(nn.Conv2d):
    """Pads its input itself."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Counting(Net):
    """Counts its calls, and keeps its last features."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        self.calls += 1
        self.features = self.begin(x)
        return self.end(self.features)


class LayoutDependent(Net):
    """Reads its numbers as they lie in memory."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        first = x[0]
        flat = x.as_strided((len(x), first.numel()), (first.numel(), 1), x.storage_offset())
        return super().forward(x) + 0.1 * flat[:, :10]


def changed(change: Callable[[Any], object]) -> Callable[[], nn.Module]:
    """Build a Net and change it."""

    def build() -> nn.Module:
        model = Net()
        return made if isinstance(made := change(model), nn.Module) else model

    return build


def hooks(model: Net) -> None:
    """Clamp the input, scale the first convolution's result and shift a batch norm's input."""
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0].clamp(0.1, 0.9),))
    model.first.register_forward_hook(lambda _, __, out: 1.5 * out)
    model.norm2.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 0.1,))


def hook_on_output(model: Net) -> None:
    """Scale the logits by a hook of the model itself."""
    model.register_forward_hook(lambda _, __, out: 2 * out.tanh())


def replaced_forward(model: Net) -> None:
    """Give a convolution a forward pass of its own, as libraries do that patch models."""
    own = model.first.forward
    vars(model.first)["forward"] = lambda x: own(x).clamp(min=-0.5)


def replaced(name: str, make: Callable[[nn.Module], nn.Module]) -> Callable[[Net], None]:
    """Put another module in the place of one."""
    return lambda model: setattr(model, name, make(getattr(model, name)))


def pruned(model: Net) -> None:
    """Prune both convolutions; one for good."""
    prune.l1_unstructured(model.first, "weight", amount=0.3)
    prune.random_structured(model.second, "weight", amount=0.3, dim=0)
    prune.remove(model.second, "weight")


def fake_quantised(model: Net) -> nn.Module:
    """Quantise weights and activations to 8 bits, as in training for that."""
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    made: nn.Module = quantization.prepare_qat(model.train())
    made(torch.rand(8, *SMALL))
    return made.apply(quantization.disable_observer)


def fused_qat(model: Net) -> nn.Module:
    """The same of a convolution and batch norm in one module."""
    parts = nn.Sequential(model.first, model.norm, nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10))
    fused = quantization.fuse_modules_qat(parts.train(), [["0", "1", "2"]])
    fused.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    made: nn.Module = quantization.prepare_qat(fused)
    made(torch.rand(8, *SMALL))
    return made.apply(quantization.disable_observer)


def traced(model: nn.Module) -> nn.Module:
    """Record the operations of one pass."""
    jit: Any = torch.jit
    made: nn.Module = jit.trace(model, torch.rand(2, *SMALL))
    return made


def exported(model: nn.Module) -> nn.Module:
    """Export and load again, as a module."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(
        model.eval(), (torch.rand(4, *SMALL),), dynamic_shapes={"x": {0: batch}}
    )
    made: nn.Module = program.module()
    return made


PECULIAR: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "float64": lambda: Net().double(),
    "view": Views,
    "conv output used twice": Residual,
    "shared convolution": Shared,
    "conditional": Conditional,
    "input modified in place": InPlace,
    "ReLU(inplace) first": ReluFirst,
    "in place under no_grad": UnderNoGrad,
    "straight-through clamp": ClampedStraight,
    "one backward pass for a forward pass": OneBackward,
    "checkpoint": Checkpointed,
    "checkpoint, reentrant": Reentrant,
    "keeps features": Counting,
    "reads memory as it lies": LayoutDependent,
    "hooks and pre-hooks": changed(hooks),
    "hook on the output": changed(hook_on_output),
    "replaced forward": changed(replaced_forward),
    "weight standardisation": changed(
        replaced("first", lambda _: Standardised(3, 8, 3, padding=1))
    ),
    "same padding": changed(replaced("first", lambda _: SamePadding(3, 8, 3))),
    "weight_norm, old": changed(replaced("first", lambda m: weights.weight_norm(m))),
    "weight_norm": changed(replaced("first", lambda m: parametrized.weight_norm(m))),
    "spectral_norm, old": changed(replaced("first", lambda m: weights.spectral_norm(m))),
    "spectral_norm": changed(replaced("first", lambda m: parametrized.spectral_norm(m))),
    "orthogonal": changed(replaced("second", lambda m: parametrized.orthogonal(m))),
    "pruned": changed(pruned),
    "fake quantisation": changed(fake_quantised),
    "fused fake quantisation": changed(fused_qat),
    "frozen parameters": changed(lambda model: model.requires_grad_(False)),
    "channels_last": changed(lambda model: model.to(memory_format=torch.channels_last)),
    "jit.script": changed(lambda model: torch.jit.script(model.eval())),
    "jit.trace": changed(lambda model: traced(model.eval())),
    "torch.export": changed(exported),
    "torch.fx": changed(lambda model: torch.fx.symbolic_trace(model.eval())),
    "torch.compile": changed(lambda model: torch.compile(model, dynamic=True)),
    "model.compile()": changed(lambda model: model.compile(dynamic=True)),
    "DataParallel": changed(lambda model: nn.DataParallel(model)),
}  # fmt: skip
