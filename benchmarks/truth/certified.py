"""Scores beside certified radii: no flip may lie within one, and no lower end need be below it.

    python -m truth.certified --out results/truth-certified-cpu.json      # half an hour on one core

Certified radii are those of truth.bounds, over all other classes, of provably trained networks
(Wong & Kolter 2018) and of small perceptrons. The provably trained network for SVHN is not among
them, for want of its pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from attacks import prepared
from bracket import RESULTS, best_attack, kept_attacks, rounded
from published import REPORTED, Case, pictures, provable
from side_by_side import arguments, parsed, quantity, share, show, write
from torch import Tensor, nn

import clever_ext as cx
from truth.bounds import Layers, certified_by_slope, certified_radius
from truth.perceptrons import PERCEPTRONS, pooled_digits, trained_perceptron

Floats = npt.NDArray[np.float64]

NORMS = (1.0, 2.0, math.inf)
#: Radii are looked for up to so many times the upper end: a flip within one would be seen.
_BEYOND = 1.25
#: Parts of that, to which they are found.
_PARTS, _PARTS_OF_SMALL = 60, 200
#: Norms in which networks with convolutions are bounded: those that they were trained for.
_PROVED_FOR = {
    "mnist-provable-0.1": (math.inf,),
    "mnist-provable-0.3": (math.inf,),
    "fashion-provable": (math.inf,),
    "cifar-provable": (math.inf,),
    "cifar-provable-l2": (2.0,),
}
_FASHION = Case(provable("models/fashion_mnist.pth"), partial(pictures, "fashionMNIST"), {})


@dataclass(frozen=True)
class Subject:
    """A network with pictures [N, *shape] and their classes [N], and how it is bounded."""

    name: str
    model: nn.Module
    x: Tensor
    classes: list[int]
    norms: tuple[float, ...]
    parts: int


def subject(name: str, n: int) -> Subject:
    """Return a network with its first n pictures that it classifies correctly."""
    if name in PERCEPTRONS:
        model: nn.Module = trained_perceptron(name)
        x, labels = pooled_digits(model, n)
        return Subject(name, model, x, labels.tolist(), NORMS, _PARTS_OF_SMALL)
    work, _ = prepared(_FASHION if name == "fashion-provable" else REPORTED[name], None, 0)
    work = work.some(slice(n))
    x, model = work.x.contiguous(), work.pair.model
    return Subject(name, model, x, work.classes.tolist(), _PROVED_FOR[name], _PARTS)


def measured(of: Subject, gradients: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of one network."""
    result = cx.clever_score(
        of.model, of.x, norm=of.norms, radius="auto", clip=(0, 1), estimator="steepest",
        max_gradients=gradients,
    )  # fmt: skip
    for p in of.norms:
        lower, upper = result.scores[p], result.flips[p]
        linear = _radii(certified_radius, of, p, upper)
        case = f"{of.name}, p = {p:g}, {len(lower)} pictures, {gradients} gradients"
        yield from _figures(case, lower, upper, linear)
        if of.name in PERCEPTRONS:  # others would take twice their time
            by_slope = _radii(certified_by_slope, of, p, upper)
            yield quantity("certified by slopes / certified", case, None, by_slope / linear)
        if (RESULTS / f"attacks-{of.name}-cpu.json").exists():
            attack = best_attack(kept_attacks(of.name), p)[: len(linear)]
            yield share("attack within the certified radius", case, 0.0, attack < linear,
                        at_most=True)  # fmt: skip


def _radii(find: Callable[..., float], of: Subject, p: float, upper: Floats) -> Floats:
    return np.array([
        find(Layers(of.model, x), x, c, p, float(_BEYOND * most), of.parts)
        for x, c, most in zip(of.x, of.classes, upper, strict=True)
    ])  # fmt: skip


def _figures(case: str, lower: Floats, upper: Floats, linear: Floats) -> list[dict[str, Any]]:
    raw = {"lower": lower, "upper": upper, "certified": linear}
    proved = linear > 0
    return [
        share("flip within the certified radius", case, 0.0, upper < linear, at_most=True,
              **{key: rounded(values) for key, values in raw.items()}),
        share("lower below the certified radius", case, None, lower < linear),
        quantity("lower / certified", case, None, lower[proved] / linear[proved]),
        quantity("upper / certified", case, None, upper[proved] / linear[proved]),
    ]  # fmt: skip


def main() -> None:
    """Measure what is named."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("names", nargs="*", default=[*PERCEPTRONS, *_PROVED_FOR])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--gradients", type=int, default=400)
    args = parsed(parser)
    torch.set_num_threads(1)
    figures = []
    for name in args.names:
        for figure in measured(subject(name, args.images), args.gradients):
            show(figure)
            figures.append(figure)
            write(args.out, figures)


if __name__ == "__main__":
    main()
