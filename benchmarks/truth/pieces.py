"""Margins of perceptrons, and the nearest flips of their linear pieces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from truth.boxed_balls import nearest_below

#: How far beyond the boundary a piece's nearest flip is looked for, in margins of the picture.
_BEYOND = 1e-7
#: The same beside a point that a solver has found: its tolerances are these.
_BESIDE = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4)
#: Pieces on the way from one start.
_PIECES = 30


@dataclass(frozen=True)
class Flip:
    """A point of another class, and how far it is."""

    x: Tensor
    distance: float


class Margin:
    """The margin of one picture between two classes, in float64.

    Args:
        model: The network, in float64, of flat inputs.
        x: [d], the picture.
        c: Its class.
        target: The other class.
    """

    def __init__(self, model: nn.Module, x: Tensor, c: int, target: int) -> None:
        self.model, self.x, self.c, self.target = model, x, c, target
        self.here = self.at(x)[0]

    def at(self, x: Tensor) -> tuple[float, Tensor]:
        """Return the margin and its gradient at a point [d]."""
        x = x.clone().requires_grad_()
        logits = self.model(x[None])[0]
        margin = logits[self.c] - logits[self.target]
        (gradient,) = torch.autograd.grad(margin, x)
        return float(margin.detach()), gradient

    def flip(self, x: Tensor, p: float) -> Flip | None:
        """Return a point as a flip, if a forward pass says that it is one, within the box."""
        inside = x.clamp(0, 1)
        with torch.no_grad():
            logits = self.model(inside[None])[0]
        if logits[self.c] > logits[self.target]:
            return None
        return Flip(inside, float(torch.linalg.vector_norm(inside - self.x, p)))

    def beside(self, x: Tensor, p: float) -> Flip | None:
        """Return a flip beside a point [d] on the boundary, which rounding may have missed."""
        margin, gradient = self.at(x)
        for beyond in _BESIDE:
            found = nearest_below(gradient, margin + beyond * self.here, x, p)
            flip = None if found is None else self.flip(found, p)
            if flip is not None:
                return flip
        return None

    def from_start(self, start: Tensor, p: float, pieces: int = _PIECES) -> Flip | None:
        """Go from a point to the nearest flip of its linear piece, and on from there.

        Args:
            start: [d].
            p: Norm.
            pieces: How many are looked at.

        Returns:
            The nearest flip on the way.
        """
        best, x = self.flip(start, p), start
        for _ in range(pieces):
            margin, gradient = self.at(x)
            value = margin + float(gradient @ (self.x - x)) + _BEYOND * self.here
            found = nearest_below(gradient, value, self.x, p)
            if found is None or bool((found == x).all()):
                break
            x = found
            flip = self.flip(x, p)
            if flip is not None and (best is None or flip.distance < best.distance):
                best = flip
        return best


def nearest_of(flips: list[Flip | None]) -> Flip | None:
    """Return the nearest of some flips."""
    known = [flip for flip in flips if flip is not None]
    return min(known, key=lambda flip: flip.distance, default=None)


def halved(margin: Margin, far: Tensor, p: float) -> Flip | None:
    """Return the last flip of a bisection from a flip to the picture."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        flips = margin.flip(torch.lerp(margin.x, far, middle), p) is not None
        low, high = (low, middle) if flips else (middle, high)
    return margin.flip(torch.lerp(margin.x, far, high), p)
