"""Reads properties of verified networks: a box of inputs, and a class that must stay the largest.

They are .vnnlib files of VNN-COMP: one assertion a line for each side of the box, then a
disjunction of the counterexamples, each of which is that another class's output is at least as
large. Boxes are in units of the network's input, and clipped to valid pixels; `original` finds the
picture in the middle and the radius in units of pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SIDE = re.compile(r"\(assert \((<=|>=) X_(\d+) ([-+.\deE]+)\)\)")
_BEATEN = re.compile(r"\((<=|>=) Y_(\d+) Y_(\d+)\)")
#: Grey levels of a pixel, beyond 0.
_LEVELS = 255
#: How far numbers in files may be from the pixels and radii that they were made from.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Property:
    """What is to hold: for all inputs of a box one class's output is above those of some others.

    Attributes:
        low: [n], and high: the box.
        label: The class.
        others: The other classes.
    """

    low: Floats
    high: Floats
    label: int
    others: tuple[int, ...]


def parse(text: str) -> Property:
    """Read a property from the text of its file.

    Raises:
        ValueError: It is of another form.
    """
    box, _, output = text.partition("Output constraints")
    sides: dict[str, dict[int, float]] = {"<=": {}, ">=": {}}
    for relation, element, value in _SIDE.findall(box):
        sides[relation][int(element)] = float(value)
    n = len(re.findall(r"\(declare-const X_\d+ Real\)", box))
    if any(sorted(each) != list(range(n)) for each in sides.values()) or n == 0:
        raise ValueError(f"a box of {n} elements has not one lower and one upper side for each")
    pairs = [
        (int(first), int(second)) if relation == "<=" else (int(second), int(first))
        for relation, first, second in _BEATEN.findall(output)
    ]
    labels = {beaten for beaten, _ in pairs}
    conjunctions = len(re.findall(r"\(and ", output))
    if len(labels) != 1 or conjunctions != len(pairs) or output.count("(assert") != 1:
        raise ValueError("the output is not one class that one of several others may reach")
    low, high = (np.array([sides[of][n] for n in range(n)]) for of in (">=", "<="))
    return Property(low, high, labels.pop(), tuple(by for _, by in pairs))


def original(low: Floats, high: Floats) -> tuple[Floats, float]:
    """Find the picture and the radius that a box was made from, in units of pixels.

    The box is [max(x - eps, 0), min(x + eps, 1)]. Where neither side is cut off, eps is half its
    width; a side that is not cut off is eps away from the pixel, which is a multiple of 1 / 255.

    Args:
        low: [n], the lower sides of the box in units of pixels.
        high: [n], the upper ones.

    Returns:
        Pixels [n] and the radius.

    Raises:
        ValueError: Some element has both sides cut off, or the box is not that of an 8-bit picture.
    """
    low_free, high_free = low > _ROUNDING, high < 1 - _ROUNDING
    whole = low_free & high_free
    if not whole.any() or not (low_free | high_free).all():
        raise ValueError("the box is cut off on both sides: its radius cannot be found")
    eps = float(np.median((high - low)[whole]) / 2)
    near = np.where(low_free, low + eps, high - eps)
    pixels: Floats = np.round(_LEVELS * near) / _LEVELS
    for side, made in ((low, (pixels - eps).clip(0, 1)), (high, (pixels + eps).clip(0, 1))):
        if np.abs(side - made).max() > _ROUNDING:
            raise ValueError("the box is not that of a radius around an 8-bit picture")
    return pixels, eps
