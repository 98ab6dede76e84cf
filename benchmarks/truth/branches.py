"""Nearest flips by branch and bound over the ReLUs of a perceptron.

A branch fixes some ReLUs to one side of their kinks. On it the margin lies above linear functions
(truth.bounds), and each side is one more linear condition. The nearest point of the box that meets
some of these conditions is no farther than the nearest flip of the branch.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from truth.bounds import Layers, Relaxed
from truth.pieces import Flip, Margin, nearest_of
from truth.projections import projected

Floats = npt.NDArray[np.float64]

#: Relative gap between the nearest flip known and the bound at which the search ends.
GAP = 1e-3
#: Branches after which it ends as it is.
_MOST_BRANCHES = 20_000
#: Linear functions below the margin that a branch asks for, and that it hands on.
_CUTS, _KEPT = 4, 6
#: How far inside a linear piece its flips are looked for, in l2.
_INSIDE = 1e-6
#: Linear pieces that a branch's point is brought nearer on.
_PIECES = 2


@dataclass(order=True)
class _Branch:
    """Sides [features] of all ReLUs (1, -1, 0 for both), its bound, and what it hands on."""

    bound: float
    number: int
    sides: Tensor = field(compare=False)
    cuts: list[tuple[Tensor, float]] = field(compare=False)
    point: Tensor = field(compare=False)


class BranchAndBound:
    """The search of one picture and target.

    Args:
        layers: Of the network.
        margin: Of the picture and the target.
        row: [classes], which takes logits to the margin.
        known: A flip.
        enclosed: Bounds of what goes into each ReLU layer, within the distance of the flip.
        p: Norm.
    """

    def __init__(
        self,
        layers: Layers,
        margin: Margin,
        row: Tensor,
        known: Flip,
        enclosed: list[tuple[Tensor, Tensor]],
        p: float,
    ) -> None:
        self.p = p
        self.layers, self.margin, self.row, self.best = layers, margin, row, known
        self.enclosed = enclosed
        self.sizes = [len(least) for least, _ in enclosed]
        self.weights = self._weights()
        self.branches = 0

    def _weights(self) -> list[Tensor]:
        """Return how much each ReLU may matter to the margin, by layers."""
        after = [self.layers.layers[i + 1] for i in self.layers.relus]
        linears = [layer.weight.detach() for layer in after if isinstance(layer, torch.nn.Linear)]
        # Of the last layer only chords, of ReLUs that lower the margin, are inexact.
        found = [(-self.row @ linears[-1]).clamp(min=0)]
        all_of_last = (self.row @ linears[-1]).abs()
        for weight in linears[-2::-1]:
            all_of_last = all_of_last @ weight.abs()
            found.append(all_of_last)
        return found[::-1]

    def run(self) -> tuple[Flip, float]:
        """Return the nearest flip, and the distance that none is below."""
        numbers = count()
        everywhere = torch.zeros(sum(self.sizes))
        heap = [_Branch(0.0, next(numbers), everywhere, [], self.margin.x)]
        self._bound(heap[0])
        while heap and heap[0].bound < self._enough():
            branch = heapq.heappop(heap)
            split = self._split(branch)
            if split is None:
                self._look_inside(branch)
            if branch.bound >= self._enough():
                continue
            if split is None or self.branches >= _MOST_BRANCHES:
                return self.best, branch.bound
            for side in (1.0, -1.0):
                sides = branch.sides.clone()
                sides[split] = side
                child = _Branch(branch.bound, next(numbers), sides, branch.cuts, branch.point)
                self._bound(child)
                heapq.heappush(heap, child)
        return self.best, self._enough()

    def _enough(self) -> float:
        return self.best.distance * (1 - GAP)

    def _split(self, branch: _Branch) -> int | None:
        """Return the ReLU whose enclosure is the loosest where the branch's bound was found."""
        scores = []
        for (least, most), s, weight in zip(
            self.enclosed, self._inputs(branch.point), self.weights, strict=True
        ):
            kink = (least < 0) & (most > 0)
            chord = most * (s - least) / (most - least)
            # Where all are tight at the point, the widest goes first.
            loose = (chord - s.clamp(min=0)).clamp(min=0) + 1e-9 * torch.minimum(-least, most)
            scores.append(torch.where(kink, loose * (weight + 1e-9), 0))
        score = torch.cat(scores).masked_fill(branch.sides != 0, 0)
        return int(score.argmax()) if score.max() > 0 else None

    def _bound(self, branch: _Branch) -> None:
        """Raise the bound of a branch, and look for flips on the way."""
        self.branches += 1
        bounds = self._of_sides(branch.sides)
        flat = self.margin.x.numpy()
        point, cuts = branch.point, list(branch.cuts)
        for turn in range(_CUTS):
            inputs = self._inputs(point)
            relaxed = [Relaxed.of(*b, on=s > 0) for b, s in zip(bounds, inputs, strict=True)]
            a, at_zero = self.layers.backward(self.row[None], len(self.layers.layers), relaxed)
            cut = a[0], float(at_zero[0])
            if turn and float(cut[0] @ point) + cut[1] <= 1e-7 * self.margin.here:
                break
            cuts.append(cut)
            slopes, values = self._conditions(branch.sides, relaxed, cuts)
            found, bound = projected(slopes, slopes @ flat + values, flat, self.p, self._enough())
            branch.bound = max(branch.bound, bound)
            if branch.bound >= self._enough():
                break
            point = torch.from_numpy(found)
            tries = (
                self.margin.from_start(point, self.p, _PIECES),
                self.margin.beside(point, self.p),
            )
            self.best = nearest_of([self.best, *tries]) or self.best
        branch.cuts, branch.point = cuts[-_KEPT:], point

    def _look_inside(self, branch: _Branch) -> None:
        """Look for the nearest flip of a linear piece, which may lie on kinks, a little inside."""
        bounds = self._of_sides(branch.sides)
        relaxed = [Relaxed.of(*each) for each in bounds]
        a, at_zero = self.layers.backward(self.row[None], len(self.layers.layers), relaxed)
        slopes, values = self._conditions(branch.sides, relaxed, [(a[0], float(at_zero[0]))])
        flat = self.margin.x.numpy()
        values = slopes @ flat + values + _INSIDE * np.linalg.norm(slopes, axis=1)
        point, _ = projected(slopes, values, flat, self.p, 2 * self.best.distance)
        found = self.margin.flip(torch.from_numpy(point), self.p)
        self.best = nearest_of([self.best, found]) or self.best

    def _inputs(self, x: Tensor) -> list[Tensor]:
        """Return what goes into each ReLU layer at a point."""
        found = []
        with torch.no_grad():
            for layer in self.layers.layers:
                if isinstance(layer, torch.nn.ReLU):
                    found.append(x)
                x = layer(x)
        return found

    def _of_sides(self, sides: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = []
        for (least, most), side in zip(self.enclosed, torch.split(sides, self.sizes), strict=True):
            found.append(
                (torch.where(side > 0, least.clamp(min=0), least),
                 torch.where(side < 0, most.clamp(max=0), most))
            )  # fmt: skip
        return found

    def _conditions(
        self, sides: Tensor, relaxed: list[Relaxed], cuts: list[tuple[Tensor, float]]
    ) -> tuple[Floats, Floats]:
        """Return slopes [n, d] and values at 0 [n] of what is not positive at a flip."""
        slopes, values = (
            [torch.stack([a for a, _ in cuts])],
            [torch.tensor([v for _, v in cuts], dtype=torch.float64)],
        )
        for i, side in zip(self.layers.relus, torch.split(sides, self.sizes), strict=True):
            fixed = side.nonzero()[:, 0]
            if len(fixed):
                rows = torch.zeros(len(fixed), len(side), dtype=torch.float64)
                rows[torch.arange(len(fixed)), fixed] = -side[fixed].double()
                a, at_zero = self.layers.backward(rows, i, relaxed)
                slopes.append(a)
                values.append(at_zero)
        return torch.cat(slopes).numpy(), torch.cat(values).numpy()
