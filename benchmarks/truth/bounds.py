"""Bounds of margins on balls, proved: linear ones walked backwards through a ReLU network.

Each ReLU that may be on either side of its kink is enclosed by two lines: the chord above, a line
through 0 below (CROWN, Zhang et al. 2018; DeepPoly, Singh et al. 2019). Walked back to the pixels
they make one linear function below the margin, whose least value on the ball, cut to the box
[0, 1], is known. Balls are of the norms 1, 2 and inf. Written for networks of Linear, Conv2d,
Flatten and ReLU, behind a normalisation or not. Rounding is not accounted for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from published import Normalised
from torch import Tensor, nn

from truth.boxed_balls import least_change

#: Rows that are walked back at a time.
_ROWS = 512


@dataclass(frozen=True)
class Relaxed:
    """A ReLU layer's two lines, of the shape of its input: low * s below, high * s + above over it.

    Attributes:
        low: Slopes of the lines below.
        high: Slopes of the chords.
        above: What the chords are at 0.
    """

    low: Tensor
    high: Tensor
    above: Tensor

    @classmethod
    def of(cls, least: Tensor, most: Tensor, on: Tensor | None = None) -> Relaxed:
        """Enclose ReLUs whose inputs lie between bounds.

        Args:
            least: Lower bounds of the inputs.
            most: Upper bounds.
            on: Where the line below a kink is to be the identity and not 0; None: where the
                triangle between the lines is then the smaller one.
        """
        on = most > -least if on is None else on
        split = (least < 0) & (most > 0)
        slope = most / (most - least).clamp(min=torch.finfo(most.dtype).tiny)
        active = (least >= 0).to(most)
        return cls(
            torch.where(split, on.to(most), active),
            torch.where(split, slope, active),
            torch.where(split, -least * slope, torch.zeros_like(most)),
        )


class Layers:
    """A network as a list of layers, with the shapes between them.

    Args:
        model: Sequential, or Normalised around one.
        x: One input, [*shape].
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.layers = _flat(model)
        self.shapes, self.dtype = [x.shape], x.dtype
        with torch.no_grad():
            for layer in self.layers:
                x = layer(x[None])[0]
                self.shapes.append(x.shape)
        self.relus = [i for i, layer in enumerate(self.layers) if isinstance(layer, nn.ReLU)]

    def backward(self, rows: Tensor, end: int, relaxed: Sequence[Relaxed]) -> tuple[Tensor, Tensor]:
        """Return linear functions of the input that are nowhere above functions of a layer's input.

        Args:
            rows: [n, features], linear functions of what goes into layer `end`.
            end: The layer.
            relaxed: Of the ReLU layers before it.

        Returns:
            Slopes [n, inputs] and values at 0 [n].
        """
        at_zero = rows.new_zeros(len(rows))
        c = rows.reshape(len(rows), *self.shapes[end])
        number = sum(i < end for i in self.relus)
        for i in range(end - 1, -1, -1):
            layer = self.layers[i]
            if isinstance(layer, nn.ReLU):
                number -= 1
                lines = relaxed[number]
                at_zero = at_zero + (c.clamp(max=0) * lines.above).flatten(1).sum(dim=1)
                c = c.clamp(min=0) * lines.low + c.clamp(max=0) * lines.high
            else:
                c, constant = _through(layer, c, self.shapes[i])
                at_zero = at_zero + constant
        return c.flatten(1), at_zero

    def least(
        self, rows: Tensor, end: int, relaxed: Sequence[Relaxed], x: Tensor, radius: float, p: float
    ) -> Tensor:
        """Bound functions of a layer's input from below on a ball around x: [n]."""
        found = []
        for part in torch.split(rows, _ROWS):
            slopes, at_zero = self.backward(part, end, relaxed)
            flat = x.flatten()
            found.append(slopes @ flat + at_zero + least_change(slopes, flat, radius, p))
        return torch.cat(found)

    def enclosed(self, x: Tensor, radius: float, p: float) -> list[tuple[Tensor, Tensor]]:
        """Bound what goes into each ReLU layer on a ball around x: lower and upper bounds."""
        found: list[tuple[Tensor, Tensor]] = []
        relaxed: list[Relaxed] = []
        for i in self.relus:
            unit = torch.eye(self.shapes[i].numel(), dtype=x.dtype)
            least, most = (
                sign * self.least(sign * unit, i, relaxed, x, radius, p).reshape(self.shapes[i])
                for sign in (1, -1)
            )
            found.append((least, most))
            relaxed.append(Relaxed.of(least, most))
        return found

    def margins(self, c: int) -> Tensor:
        """Return the rows that take logits to the margins of class c, [classes - 1, classes]."""
        n = self.shapes[-1].numel()
        unit = torch.eye(n, dtype=self.dtype)
        return unit[c] - unit[[j for j in range(n) if j != c]]

    def least_margins(self, x: Tensor, c: int, radius: float, p: float) -> Tensor:
        """Bound the margins of class c against all others on a ball around x: [classes - 1]."""
        relaxed = [Relaxed.of(*bounds) for bounds in self.enclosed(x, radius, p)]
        return self.least(self.margins(c), len(self.layers), relaxed, x, radius, p)

    def steepest(self, x: Tensor, c: int, radius: float, p: float) -> Tensor:
        """Bound the dual norms of the margins' gradients on a ball around x: [classes - 1].

        Every ReLU that may be on either side of its kink may pass a gradient or not (Fast-Lip,
        Weng et al. 2018).
        """
        low = high = self.margins(c)
        enclosed = self.enclosed(x, radius, p)
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            low, high = (c.reshape(-1, *self.shapes[i + 1]) for c in (low, high))
            if isinstance(layer, nn.ReLU):
                least, most = enclosed.pop()
                kink, off = (least < 0) & (most > 0), most <= 0
                low = torch.where(kink, low.clamp(max=0), low).masked_fill(off, 0.0)
                high = torch.where(kink, high.clamp(min=0), high).masked_fill(off, 0.0)
            else:
                middle, _ = _through(layer, (low + high) / 2, self.shapes[i])
                around, _ = _through(_absolute(layer), (high - low) / 2, self.shapes[i])
                low, high = middle - around, middle + around
        largest = torch.maximum(low.abs(), high.abs()).flatten(1)
        dual = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[p]
        norms: Tensor = torch.linalg.vector_norm(largest, dual, dim=1)
        return norms


def certified_radius(
    layers: Layers, x: Tensor, c: int, p: float, most: float, parts: int = 200
) -> float:
    """Return a radius within which no margin of class c vanishes, by linear bounds.

    Args:
        layers: Of the network.
        x: [*shape].
        c: Its class.
        p: Norm.
        most: Larger ones are not asked for, such as the distance of a flip.
        parts: Of `most`, to which the largest is looked for by bisection.
    """

    def holds(radius: float) -> bool:
        return bool((layers.least_margins(x, c, radius, p) > 0).all())

    return _largest(holds, most, parts)


def certified_by_slope(
    layers: Layers, x: Tensor, c: int, p: float, most: float, parts: int = 200
) -> float:
    """Return such a radius by the largest gradient that its ball may hold: radius * L < margin."""
    with torch.no_grad():
        logits = nn.Sequential(*layers.layers)(x[None])[0]
    margins = layers.margins(c) @ logits

    def holds(radius: float) -> bool:
        return bool((layers.steepest(x, c, radius, p) * radius < margins).all())

    return _largest(holds, most, parts)


def _largest(holds: Callable[[float], bool], most: float, parts: int) -> float:
    low, high = 0.0, most
    while high - low > most / parts:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


class _Scaled(nn.Module):
    """The normalisation of `Normalised`, as a layer."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _flat(model: nn.Module) -> list[nn.Module]:
    if isinstance(model, Normalised):
        return [_Scaled(model.mean, model.std), *_flat(model.model)]
    if isinstance(model, nn.Sequential):
        return [layer for part in model for layer in _flat(part)]
    return [model]


def _through(layer: nn.Module, c: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Take linear functions of outputs [n, *shape] back through a layer, with their constants."""
    none = c.new_zeros(len(c))
    if isinstance(layer, nn.Linear):
        bias = none if layer.bias is None else c @ layer.bias.detach()
        return c @ layer.weight.detach(), bias
    if isinstance(layer, nn.Conv2d):
        bias = none if layer.bias is None else c.sum(dim=(2, 3)) @ layer.bias.detach()
        padding = [int(n) for n in layer.padding]
        unseen = _unseen(layer, padding, shape, c.shape)
        weight = layer.weight.detach()
        return F.conv_transpose2d(c, weight, None, layer.stride, padding, unseen), bias
    if isinstance(layer, _Scaled):
        c = c / layer.std
        return c, -(c * layer.mean).flatten(1).sum(dim=1)
    if isinstance(layer, nn.Flatten):
        return c.reshape(len(c), *shape), none
    raise TypeError(f"{type(layer).__name__} is not of a network that bounds are written for")


def _unseen(layer: nn.Conv2d, padding: list[int], shape: torch.Size, out: torch.Size) -> list[int]:
    """Return the rows and columns of pixels at the end that no window of a convolution reaches."""
    return [
        shape[i] + 2 * padding[i - 1] - layer.kernel_size[i - 1]
        - (out[i + 1] - 1) * layer.stride[i - 1]
        for i in (1, 2)
    ]  # fmt: skip


def _absolute(layer: nn.Module) -> nn.Module:
    """Return a layer with the absolute values of its weights."""
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        return layer
    other = copy.deepcopy(layer)
    other.weight.data.abs_()
    return other
