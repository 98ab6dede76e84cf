"""Gradients of many targets at the images alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..engine.at_points import norms_at
from ..engine.plan import Plan
from .subjects import Subjects

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

#: Targets whose gradients are asked for together.
TARGETS_AT_ONCE = 64


def norms_of_many(
    subjects: Subjects,
    plan: Plan,
    image: Places,
    targets: Ints,
    norms: list[float],
    count: Callable[[int], None],
) -> Floats:
    """Return the gradient norms of many targets at images, [len(norms), I, T].

    Args:
        subjects: The images; their engine is running.
        plan: How passes are made.
        image: [I] places.
        targets: [I, T].
        norms: Each p.
        count: Called with the gradients of each step.
    """
    parts = []
    for begin in range(0, targets.shape[1], TARGETS_AT_ONCE):
        some = np.ascontiguousarray(targets[:, begin : begin + TARGETS_AT_ONCE])
        parts.append(norms_at(plan, *subjects.tensors(image, some), norms))
        count(some.size)
    return np.concatenate(parts, axis=2)
