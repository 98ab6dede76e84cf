"""What a search has found for rows: a record of arrays, beside the particles that find it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Steepest:
    """What the search found for rows.

    Attributes:
        lipschitz: [rows], L': the largest gradient norm or secant.
        max_norm: [rows], the largest gradient norm.
        nearest_flip: [rows], smallest distance of a point whose margin was not positive; or inf.
        n_gradients: [rows], gradients spent, that at the image among them.
        curve: For each row L' after so many gradients, [E] ...
        curve_gradients: ... and how many these are, [E].
        witness: For each row the steepest point, flattened; or nothing.
    """

    lipschitz: Floats
    max_norm: Floats
    nearest_flip: Floats
    n_gradients: npt.NDArray[np.int64]
    curve: list[Floats]
    curve_gradients: list[Floats]
    witness: list[Floats]

    @classmethod
    def of_images(cls, norm_at_image: Floats, images: Floats | None) -> Steepest:
        """Return what is known of rows by one gradient each.

        Args:
            norm_at_image: [rows].
            images: [rows, numel], the first witnesses; None: none are kept.
        """
        n = len(norm_at_image)
        return cls(
            norm_at_image.copy(),
            norm_at_image.copy(),
            np.full(n, math.inf),
            np.ones(n, dtype=np.int64),
            list(norm_at_image[:, None]),
            list(np.ones((n, 1))),
            [np.empty(0)] * n if images is None else list(images),
        )

    def take(self, which: Places) -> Steepest:
        """Return what was found for some rows."""
        parts: list[Any] = []
        for f in fields(self):
            values = getattr(self, f.name)
            array = isinstance(values, np.ndarray)
            parts.append(values[which] if array else [values[i] for i in which])
        return Steepest(*parts)

    def put(self, which: Places, found: Steepest) -> None:
        """Replace what was found for some rows."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(found, f.name)
            for place, value in zip(which, theirs, strict=True):
                mine[place] = value
