"""All that decides a score besides the model and the images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ..kernels.balls import AUTO

#: What `clever_score(estimator=...)` may be: the `NAME`s of the estimators in `estimators.table`.
EstimatorName = Literal["clever", "first-order", "steepest"]


@dataclass(frozen=True)
class Settings:
    """What a call has asked for; `estimators.table.check_settings` makes it.

    Attributes:
        norms: Each p.
        radii: Of each norm those that were asked for, or AUTO.
        targets: As `clever_score` takes them.
        n_batches: N_b.
        batch_samples: N_s.
        clip: Range that samples are clamped to.
        seed: Of the samples.
        first_batch: Number of the first of the n_batches, where others were drawn before.
        estimator: As `clever_score` names it.
        max_gradients: The most that a row may spend; 0 where n_batches decides.
        candidates: Points of others that a search looks at for each image, at most, besides.
        keep_witness: Whether rows keep the points that decided what a search has found.
        race: Whether targets drop out that cannot have the smallest score.
        tolerance: Of a score's interval; None where n_batches decides.
        confidence: Of that interval.
    """

    norms: tuple[float, ...]
    radii: tuple[tuple[float, ...] | str, ...]
    targets: Any
    n_batches: int
    batch_samples: int
    clip: tuple[float, float]
    seed: int
    first_batch: int = 0
    estimator: EstimatorName = "clever"
    max_gradients: int = 0
    candidates: int = 0
    keep_witness: bool = False
    race: bool = False
    tolerance: float | None = None
    confidence: float = 0.95

    @property
    def gradients_of_row(self) -> int:
        """Gradients of one image, target and (norm, radius), without a radius's pilots."""
        return (self.max_gradients or self.n_batches * self.batch_samples) + self.candidates

    @property
    def most_gradients_of_row(self) -> int:
        """The same with what it takes to find a radius: pilots, half as many at most.

        A race may take twice as many, since it may begin again in a smaller ball.
        """
        if self.max_gradients or AUTO not in self.radii:
            return self.gradients_of_row
        n_batches = 2 * self.n_batches if self.race else self.n_batches + self.n_batches // 2
        return n_batches * self.batch_samples

    @property
    def balls(self) -> list[tuple[float, float]]:
        """Each (norm, radius) that a target gets a row for; NaN where the radius is to be found."""
        return [
            (p, radius)
            for p, radii in zip(self.norms, self.radii, strict=True)
            for radius in ((math.nan,) if isinstance(radii, str) else radii)
        ]
