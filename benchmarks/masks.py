"""Networks whose gradients are masked, and what looks like it and is not: one case each.

Functions before or behind a network, a network with rounded weights and activations, networks that
draw random numbers, and two that are trained to saturate, in a minute each, when they are first
asked for: distilled at a temperature of 100 (Papernot et al. 2016, arXiv 1511.04508), and one of
steep sigmoids.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from published import MNIST, WEIGHTS, lenet_clean, read_idx, small_convolutions
from torch import Tensor, nn

import clever_ext as cx

Function = Callable[[Tensor], Tensor]
#: Digits that the two networks are trained on.
_TRAINED_ON = 20_000


class Masked(nn.Module):
    """A network with a function before it and one behind it."""

    def __init__(
        self,
        network: nn.Module,
        before: Function = lambda x: x,
        after: Function = lambda z: z,
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [B, 1, 28, 28] to [B, 10]."""
        return self.after(self.network(self.before(x)))


class Quantised(nn.Module):
    """A sequential network whose weights and activations are rounded, as integers of some bits.

    Args:
        network: Its layers are copied.
        through: Whether gradients pass straight through the rounding of activations.
        bits: Of weights, and of activations up to a fixed size.
        most: That size.
    """

    def __init__(self, network: nn.Module, through: bool, bits: int = 8, most: float = 8.0) -> None:
        super().__init__()
        layers = list(copy.deepcopy(network).children())
        levels = 2 ** (bits - 1) - 1
        with torch.no_grad():
            for weight in (each for layer in layers for each in layer.parameters()):
                scale = weight.abs().max() / levels
                weight.copy_((weight / scale).round() * scale)
        parts: list[nn.Module] = [_Rounding(most / levels, through)]
        for layer in layers:
            parts += [layer, *([parts[0]] if isinstance(layer, nn.ReLU) else [])]
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels to logits."""
        logits: Tensor = self.parts(x)
        return logits


class _Rounding(nn.Module):
    def __init__(self, step: float, through: bool) -> None:
        super().__init__()
        rounded = rounding(1 / step)
        self.how = cx.BPDA(nn.Identity(), rounded) if through else rounded

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.how(x)
        return found


def rounding(levels: float) -> Function:
    """Return what rounds to so many levels from 0 to 1."""
    return lambda x: (levels * x).round() / levels


def soft_staircase(x: Tensor) -> Tensor:
    """Four soft steps from 0 to 1, flat between."""
    return soft_steps(4 * x, 60) / 4


def soft_steps(x: Tensor, steepness: float) -> Tensor:
    """A soft step at each half of a number."""
    return x.floor() + torch.sigmoid(steepness * (x % 1 - 0.5))


def like_jpeg(x: Tensor, step: float = 0.08) -> Tensor:
    """Cosine transforms of 8 x 8 pixels, rounded to multiples of a step, and back."""
    k = torch.arange(8.0)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    height, width = x.shape[2:]
    more = 0, -width % 8, 0, -height % 8
    blocks = F.pad(x, more).unfold(2, 8, 8).unfold(3, 8, 8)
    rounded = (basis @ blocks @ basis.T / step).round() * step
    back = (basis.T @ rounded @ basis).transpose(3, 4)
    whole = back.reshape(*x.shape[:2], height + more[3], width + more[1])
    return whole[:, :, :height, :width]


def resized(x: Tensor) -> Tensor:
    """Pictures at a random size and back."""
    size = int(torch.randint(20, 28, ()))
    small = F.interpolate(x, size=(size, size), mode="bilinear")
    return F.interpolate(small, size=x.shape[2:], mode="bilinear")


@dataclass(frozen=True)
class Case:
    """One way to change a network.

    Attributes:
        build: Makes the changed network of one.
        before: What stands before the network, where gradients may be passed around that.
        target: Whether something shall be said of it, 1 or 0: it hides gradients, or changes what
            is scored. None: its gradients are of use, and either will do.
    """

    build: Callable[[nn.Module], nn.Module]
    before: Function | None = None
    target: float | None = 1.0


def _behind(after: Function, target: float | None = 1.0) -> Case:
    return Case(lambda network: Masked(network, after=after), target=target)


def _before(before: Function, target: float | None = 1.0) -> Case:
    return Case(lambda network: Masked(network, before=before), before, target)


def _through(before: Function) -> Case:
    """Gradients pass straight through: they are of use, and nothing is to be said."""
    return Case(lambda network: cx.BPDA(network, before), before, target=None)


def _integers(network: nn.Module) -> nn.Module:
    from torch.ao import quantization

    quantise: Any = quantization.quantize_dynamic
    made: nn.Module = quantise(network, {nn.Linear}, dtype=torch.qint8)
    return made


#: By how the docs name them.
CASES = {
    "as it is": Case(lambda network: network, target=0.0),
    "log-softmax behind it": _behind(lambda z: z.log_softmax(dim=1), target=0.0),
    "logits times 10,000": _behind(lambda z: 1e4 * z, target=0.0),
    "softmax(z) behind it": _behind(lambda z: z.softmax(dim=1)),
    "softmax(10 z)": _behind(lambda z: (10 * z).softmax(dim=1)),
    "softmax(100 z)": _behind(lambda z: (100 * z).softmax(dim=1)),
    "softmax(10,000 z)": _behind(lambda z: (1e4 * z).softmax(dim=1)),
    "tanh(z)": _behind(torch.tanh),
    "hardsigmoid(z)": _behind(F.hardsigmoid),
    "logits rounded to quarters": _behind(rounding(4)),
    "logits by a soft staircase": _behind(lambda z: soft_steps(z, 40)),
    "input rounded to eighths": _before(rounding(8)),
    "input rounded to 8 bits": _before(rounding(255)),
    "input like JPEG": _before(like_jpeg),
    "input by a soft staircase": _before(soft_staircase),
    "input by sigmoid(50 (x - 1/2))": _before(lambda x: torch.sigmoid(50 * (x - 0.5))),
    "eighths, straight through": _through(rounding(8)),
    "8 bits, straight through": _through(rounding(255)),
    "like JPEG, straight through": _through(like_jpeg),
    "quantised to 8 bits": Case(lambda network: Quantised(network, through=False)),
    "quantised, straight through": Case(
        lambda network: Quantised(network, through=True), target=None
    ),
    "linear layers in int8 (torch.ao)": Case(_integers),
    "noise at the input": _before(lambda x: x + 0.1 * torch.randn_like(x)),
    "random sizes of the input": _before(resized),
    "dropout in evaluation mode": _behind(lambda z: F.dropout(z, 0.2)),
}


def distilled() -> nn.Module:
    """A student of the clean LeNet's soft answers at a temperature of 100: its logits."""

    def loss(student: nn.Module, x: Tensor, _: Tensor, teacher: nn.Module) -> Tensor:
        with torch.no_grad():
            soft = (teacher(x) / 100).softmax(dim=1)
        return 1e4 * F.cross_entropy(student(x) / 100, soft)

    return _trained("masks-distilled", small_convolutions(), loss, lenet_clean())


def saturated() -> nn.Module:
    """784-256-10 with sigmoids whose inputs are ten times as large as usual."""

    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(10 * x)

    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), Steep(), nn.Linear(256, 10))
    return _trained(
        "masks-saturated", network, lambda model, x, y, _: F.cross_entropy(model(x), y), network
    )


def _trained(
    name: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor, nn.Module], Tensor],
    teacher: nn.Module,
) -> nn.Module:
    """Return a network with the weights that are kept, or train it by two epochs."""
    file = WEIGHTS / f"{name}.pt"
    if not file.exists():
        x = read_idx(MNIST / "train-images-idx3-ubyte")[:_TRAINED_ON, None].float() / 255
        y = read_idx(MNIST / "train-labels-idx1-ubyte")[:_TRAINED_ON].long()
        torch.manual_seed(0)
        for layer in network.children():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for batch in (each for _ in range(2) for each in torch.split(torch.randperm(len(x)), 128)):
            optimizer.zero_grad()
            torch.autograd.backward(loss(network, x[batch], y[batch], teacher))
            optimizer.step()
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()
