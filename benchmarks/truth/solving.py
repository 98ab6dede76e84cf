"""Nearest flips of perceptrons over all other classes: solved, and proved."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from truth.bounds import Layers, Relaxed
from truth.branches import BranchAndBound
from truth.mixed_integers import nearest_by_program
from truth.pieces import Flip, Margin, halved, nearest_of

#: Pictures of a target's class from which a first flip is looked for.
_STARTS = 2
#: How much larger than a flip's distance the ball is in which nearer ones are looked for.
_WIDER = 1 + 1e-6


class Solver:
    """Nearest flips of one network.

    Args:
        model: Of Linear and ReLU in turn, in float64.
        others: [N, d], pictures from which first flips are looked for.
    """

    def __init__(self, model: nn.Sequential, others: Tensor) -> None:
        self.model, self.others = model, others
        with torch.no_grad():
            self.classes = model(others).argmax(dim=1)

    def first_flip(self, margin: Margin, p: float) -> Flip:
        """Return a flip, from the picture and from some of the target's class.

        Raises:
            ValueError: If no picture is of that class.
        """
        of_target = self.others[self.classes == margin.target][:_STARTS]
        near = [halved(margin, other, p) for other in of_target]
        starts = [margin.x, *(flip.x for flip in near if flip is not None)]
        found = nearest_of([*near, *(margin.from_start(start, p) for start in starts)])
        if found is None:
            raise ValueError(f"no picture is of class {margin.target}")
        return found

    def nearest(
        self, margin: Margin, known: Flip, p: float, by_branches: bool = False
    ) -> tuple[Flip, float]:
        """Return the nearest flip of one target, and the proven bound.

        Args:
            margin: Of the picture and the target.
            known: A flip, of any target: where none of this one is nearer, it is returned.
            p: Norm.
            by_branches: Whether p = 1 and inf are solved as p = 2 is, not by integer programming.
        """
        layers = Layers(self.model, margin.x)
        radius = known.distance * _WIDER
        enclosed = layers.enclosed(margin.x, radius, p)
        others = [j for j in range(layers.shapes[-1].numel()) if j != margin.c]
        row = layers.margins(margin.c)[others.index(margin.target)]
        if p == 2 or by_branches:
            return BranchAndBound(layers, margin, row, known, enclosed, p).run()
        end = len(layers.layers)
        relaxed = [Relaxed.of(*bounds) for bounds in enclosed]
        if layers.least(row[None], end, relaxed, margin.x, radius, p) > 0:
            return known, known.distance
        point, bound = nearest_by_program(self.model, margin.x, row, p, radius, enclosed)
        if point is None:
            return known, known.distance
        flips = [margin.from_start(point, p), margin.beside(point, p)]
        return nearest_of([known, *flips]) or known, min(bound, known.distance)

    def nearest_of_all(self, x: Tensor, p: float) -> dict[str, Any]:
        """Return the nearest flip of a picture [d] over all other classes, in one norm.

        Returns:
            `target`, the class of the flip, `runner_up`, `distance`, the proven `bound` of all, and
            `seconds`.
        """
        start = time.perf_counter()
        with torch.no_grad():
            order = self.model(x[None])[0].argsort(descending=True).tolist()
        margins = {j: Margin(self.model, x, order[0], j) for j in order[1:]}
        firsts = {j: self.first_flip(margin, p) for j, margin in margins.items()}
        target = min(firsts, key=lambda j: firsts[j].distance)
        best, bound = firsts[target], math.inf
        for j in sorted(firsts, key=lambda j: firsts[j].distance):
            found, own = self.nearest(margins[j], best, p)
            bound = min(bound, own)
            if found.distance < best.distance:
                best, target = found, j
        return {
            "target": target,
            "runner_up": order[1],
            "distance": best.distance,
            "bound": min(bound, best.distance),
            "seconds": time.perf_counter() - start,
        }
