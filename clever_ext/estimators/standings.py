"""One image's race in one norm: which target leads, and which ones are surely behind.

Targets are compared by D = log(largest norm / margin), the negative log of their score: the one
with the largest D wins. They see the same samples (common random numbers), so two of them are
compared by the batches that both have drawn: what the samples have in common drops out of the
difference. What is left is of the size of the scatter of the logs of the ratios of two targets'
maxima, whatever their number, for the largest of n has much the same scatter for all n: a target is
surely behind when its deficit is more than some deviations of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..evt.reverse_weibull import fit_reverse_weibull

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

#: Targets that get batches at first, those of the smallest first-order scores; they share
#: n_batches between them.
FIRST_TARGETS = 16
#: Deviations by which a target must be behind to be out. Chosen with benchmarks/race.py --choose.
_SURE = 3.0
#: Standard error of a deficit in the same deviations, for the probability that another is lower.
_ERROR = 1.5
#: How far, in log R, a leader is below a radius that is not its own before one is sought for it.
_CLEARLY = 0.02
#: Batches from which locations are compared, not the largest norms.
_FIT_FROM = 8


class Race:
    """One image's race in one norm; arrays are [T], one entry for each target.

    Args:
        margin: At the image.
        at_image: Gradient norms at the image.
        n_batches: What a target gets that stays in to the end.

    Attributes:
        maxima: Of each target: its first batches, as many as it has got.
    """

    def __init__(self, margin: Floats, at_image: Floats, n_batches: int) -> None:
        self.margin, self.at_image, self.n_batches = margin, at_image, n_batches
        self.maxima: list[Floats] = [np.empty(0)] * len(margin)
        self._constants: dict[tuple[int, int], float] = {}  # by (target, batches)
        self.first = max(2, n_batches // min(len(margin), FIRST_TARGETS))
        self._begun = False

    @property
    def drawn(self) -> Ints:
        """Batches of each target."""
        return np.array([len(own) for own in self.maxima])

    def next(self) -> list[tuple[int, int]]:
        """Return which targets to bring to how many batches; none when the race is over."""
        drawn = self.drawn
        top = drawn.max()
        if not self._begun:
            self._begun = True
            best = np.argsort(-self._against_margin(self.at_image), kind="stable")
            few = [int(t) for t in best[:FIRST_TARGETS] if drawn[t] < self.first]
            if few:
                return [(target, self.first) for target in few]
        leader, deficit, deviation = self.standing()
        in_race = (deficit <= _SURE * deviation) & (drawn < self.n_batches)
        behind = np.flatnonzero(in_race & (drawn < top))
        if len(behind):
            sizes = np.clip(2 * drawn[behind], self.first, top)
            return list(zip(behind.tolist(), sizes.tolist(), strict=True))
        going = np.flatnonzero(in_race)
        alone = len(going) == 1 and going[0] == leader
        size = self.n_batches if alone else min(2 * top, self.n_batches)
        return [(int(target), int(size)) for target in going]

    def favourite(self) -> int:
        """Return the target of the smallest first-order score."""
        return int(np.argmax(self._against_margin(self.at_image)))

    def below(self, radius: float) -> int | None:
        """Return the leader where its margin / L is clearly below a radius, that of the ball."""
        if not self.drawn.any():
            return None
        leader, _, _ = self.standing()
        level = self._leading(leader, len(self.maxima[leader]))
        # A score of 0, or none that is a number, is that in every ball.
        clearly = math.isfinite(level) and -level < math.log(radius) - _CLEARLY
        return leader if clearly else None

    def standing(self) -> tuple[int, Floats, Floats]:
        """Return the leader, the others' deficits to it, and their deviations."""
        drawn = self.drawn
        front = np.flatnonzero(drawn == drawn.max())
        leader = int(front[np.argmax(self._level(front, int(drawn.max())))])
        # A target with fewer batches is compared by those: the leader's first ones.
        deficit = np.zeros(len(drawn))
        sampled = np.flatnonzero(drawn)
        for size in np.unique(drawn[sampled]).tolist():
            these = np.flatnonzero(drawn == size)
            with np.errstate(invalid="ignore"):  # two that are infinite tie
                deficit[these] = self._leading(leader, size) - self._level(these, size)
        growth = [
            math.log(self.maxima[t].max() / self.at_image[t])
            for t in sampled
            if self.at_image[t] > 0 and self.maxima[t].max() > 0
        ]
        growth = [value for value in growth if math.isfinite(value)] or [0.0]
        outside = drawn == 0
        expected = self._against_margin(self.at_image)[outside] + np.mean(growth)
        deficit[outside] = self._leading(leader, int(drawn.max())) - expected
        deviation = np.where(outside, np.std(growth), self._scatter(leader, sampled))
        return leader, np.nan_to_num(deficit, nan=0.0, posinf=np.inf, neginf=-np.inf), deviation

    def _scatter(self, leader: int, sampled: Places) -> float:
        """Root mean square of the scatters of log maxima relative to the leader's.

        Over all targets that have batches: of the few of one, the scatter says little.
        """
        found = []
        for t in sampled[sampled != leader]:
            own, leaders = self.maxima[t], self.maxima[leader]
            both = min(len(own), len(leaders))
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(np.log(own[:both] / leaders[:both]).var(ddof=1))
        finite = [value for value in found if math.isfinite(value)]
        return float(np.sqrt(np.mean(finite))) if finite else 0.0

    def _leading(self, leader: int, size: int) -> float:
        return float(self._level(np.array([leader]), size)[0])

    def _level(self, targets: Places, size: int) -> Floats:
        """Return D of some targets by their first batches, each fitted once."""
        new = [int(t) for t in targets if (int(t), size) not in self._constants]
        if new:
            maxima = np.stack([self.maxima[t][:size] for t in new])
            fitted = size >= _FIT_FROM
            found = fit_reverse_weibull(maxima).location if fitted else maxima.max(axis=1)
            self._constants.update({(t, size): x for t, x in zip(new, found, strict=True)})
        constant = np.array([self._constants[int(t), size] for t in targets])
        return self._against_margin(constant, targets)

    def _against_margin(self, constant: Floats, targets: Any = slice(None)) -> Floats:
        """Return D = log(constant / margin); what is no number counts as the smallest score."""
        margin = self.margin[targets]
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(margin > 0, np.log(constant / margin), np.inf)
        against: Floats = np.where(np.isnan(level), np.inf, level)
        return np.where(np.isposinf(margin), -np.inf, against)  # nothing to reach

    def probabilities(self) -> Floats:
        """Return for each target the probability that its score is the lowest; they add up to 1."""
        leader, deficit, deviation = self.standing()
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.nan_to_num(-deficit / (_ERROR * deviation), nan=0.0)  # 0 / 0: a tie
        lower: Floats = torch.special.ndtr(torch.from_numpy(z)).numpy()
        lower[leader] = 0.0
        none = float(np.prod(1 - lower))
        p: Floats = (1 - none) * lower / max(lower.sum(), np.finfo(float).tiny)
        p[leader] = none
        return p

    def estimates(self) -> tuple[Floats, Floats]:
        """Return the locations of targets, and their upper ends, as the leader's tells them.

        The leader's is scaled by the ratio that the batches of both have shown: so a target that is
        behind in the race has a larger score than the leader, if not one as exact.
        """
        leader, deficit, deviation = self.standing()
        largest = np.array(
            [own.max() if len(own) else norm
             for own, norm in zip(self.maxima, self.at_image, strict=True)]
        )  # fmt: skip
        level = self._leading(leader, len(self.maxima[leader]))
        if not math.isfinite(level):  # the leader's score is 0, or no number
            return largest, largest
        with np.errstate(invalid="ignore"):
            location = self.margin * np.exp(level - deficit)
        location = np.where(np.isposinf(self.margin), largest, location)
        return location, location * np.exp(_SURE * deviation)
