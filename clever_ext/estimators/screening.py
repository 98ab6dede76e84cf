"""Which classes are nearest to an image, by the gradients at the image alone.

The first-order distance of a class is margin / ||gradient of the margin||_q: where the network is
linear, the distance itself. Of many classes few need a gradient. They are asked for in the order of
their margins; let d be the K-th smallest distance so far. A class that was not asked for is among
the K nearest only if its gradient's norm exceeds its margin / d. Screening stops where that would
take a norm `_LARGER` times the largest seen, or at a limit: docs/concepts/targets.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..engine.plan import Plan
from ..inputs.settings import Settings
from .subjects import Screened, Subjects

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

#: Classes whose gradients are asked for before the rule is asked again.
_ROUND = 16
#: How much larger than any norm seen that of a class must be for the class to be missed.
_LARGER = 1.5
#: Classes of an image that are looked at, at most; and the share of a search's gradients.
_MOST, _SHARE = 128, 0.5
#: Images that are worked on together.
_IMAGES_AT_ONCE = 256
#: Targets whose gradients are asked for together.
TARGETS_AT_ONCE = 64


def most_screened(settings: Settings, k: int) -> int:
    """Return how many classes of an image may be looked at, to keep k.

    They are at most half of what one row of a search may spend. A row of first order spends one,
    and the classes are looked at all the same.
    """
    spends = None if settings.estimator == "first-order" else settings.max_gradients
    most = int(_SHARE * spends) if spends else _MOST
    return max(k, min(most, _MOST))


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
        parts.append(subjects.norms_by(plan, image, some, norms))
        count(some.size)
    return np.concatenate(parts, axis=2)


def screen(
    subjects: Subjects, k: int, norms: list[float], most: int, count: Callable[[int], None]
) -> None:
    """Give the images that are scored their k nearest classes as targets, the nearest first.

    With several norms the nearest class of each comes first, then the second nearest of each, and
    so on. Equal distances go by margin, then by class. A distance that is no number comes first,
    since it decides a score.

    Args:
        subjects: The images; their engine is running.
        k: Classes to keep, fewer than there are.
        norms: Each p.
        most: Classes of an image that may be looked at, at least k.
        count: Called with the gradients of each step.
    """
    targets, n = subjects.targets.copy(), len(subjects.targets)
    found = Screened(
        norms={p: np.full(targets.shape, np.nan) for p in norms},
        left_out_by={p: np.full(n, np.nan) for p in norms},
        gradients_left_out=np.zeros(n, dtype=np.int64),
    )
    for begin in range(0, len(subjects.scored), _IMAGES_AT_ONCE):
        images = subjects.scored[begin : begin + _IMAGES_AT_ONCE]
        some = _Screen(subjects, images, k, norms, most)
        some.run(count)
        kept, left_out_by = some.nearest()
        targets[images] = np.take_along_axis(some.classes, kept, axis=1)
        for p, own, by in zip(norms, some.norms, left_out_by, strict=True):
            found.norms[p][images] = np.take_along_axis(own, kept, axis=1)
            found.left_out_by[p][images] = by
        found.gradients_left_out[images] = some.seen - k
    subjects.take_targets(targets, found)


class _Screen:
    """The classes of some images, in the order of their margins.

    Attributes:
        classes: [I, C], all but the predicted one; those out of reach are infinitely far.
        margins: [I, C + 1], an infinite one behind them.
        norms: [norms, I, most], NaN where a class was not looked at.
        seen: [I], how many were looked at.
    """

    def __init__(
        self, subjects: Subjects, images: Places, k: int, norms: list[float], most: int
    ) -> None:
        self.subjects, self.images, self.k, self.p = subjects, images, k, norms
        self.classes, margins = subjects.by_margin(images)
        self.margins = np.append(margins, np.full((len(images), 1), np.inf), axis=1)
        self.most = min(most, self.classes.shape[1])
        self.norms = np.full((len(norms), len(images), self.most), np.nan)
        self.seen = np.zeros(len(images), dtype=np.int64)

    def run(self, count: Callable[[int], None]) -> None:
        """Look at classes, round after round, until no other can be among the nearest."""
        plan, going = self.subjects.engine.own, np.arange(len(self.images))
        begin, end = 0, min(max(self.k, _ROUND), self.most)
        while len(going):
            targets = self.classes[going, begin:end]
            self.norms[:, going, begin:end] = norms_of_many(
                self.subjects, plan, self.images[going], targets, self.p, count
            )
            self.seen[going] = end
            if end == self.most:
                break
            going = going[~self._is_enough(going)]
            begin, end = end, min(end + _ROUND, self.most)

    def _distances(self) -> Floats:
        """Return first-order distances [norms, I, most]; infinite where they are not known."""
        unknown = np.arange(self.most) >= self.seen[:, None]
        return np.where(unknown, np.inf, _distance(self.margins[:, : self.most], self.norms))

    def _next_margin(self) -> Floats:
        """Return the smallest margin, [I], of the classes that were not looked at."""
        return np.take_along_axis(self.margins, self.seen[:, None], axis=1)[:, 0]

    def _is_enough(self, going: Places) -> npt.NDArray[np.bool_]:
        kth = np.partition(_decisive(self._distances()[:, going]), self.k - 1)[..., self.k - 1]
        margin = self._next_margin()[going]
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(kth > 0, margin / kth, np.inf)
        all_norms: npt.NDArray[np.bool_] = np.all(
            needed > _LARGER * self._largest()[:, going], axis=0
        )
        return np.logical_or(all_norms, np.isposinf(margin))

    def _largest(self) -> Floats:
        """Return the largest norm seen, [norms, I]."""
        largest: Floats = np.fmax.reduce(self.norms, axis=2, initial=0.0)
        return largest

    def nearest(self) -> tuple[Places, Floats]:
        """Return the places of the nearest classes, [I, k], and how near those left out are.

        The latter, [norms, I], is the smallest distance of a class that was left out over that of
        those kept; a class that was not looked at is taken to have the largest norm seen.
        """
        distances = self._distances()
        order = np.argsort(_decisive(distances), axis=2, kind="stable")
        rank = np.argsort(order, axis=2)
        # Of classes that are as near by their best norms, that of the earlier norm goes first.
        first = rank.min(axis=0) * len(rank) + rank.argmin(axis=0)
        kept = np.argsort(first, axis=1)[:, : self.k]
        out = np.ones(first.shape, dtype=bool)
        np.put_along_axis(out, kept, False, axis=1)
        not_seen = _distance(self._next_margin(), self._largest())
        left_out = np.minimum(np.where(out, distances, np.inf).min(axis=2), not_seen)
        nearest = np.where(out, np.inf, distances).min(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return kept, np.where(left_out == nearest, 1.0, left_out / nearest)


def _distance(margin: Floats, norm: Floats) -> Floats:
    """Return margin / norm: 0 without a margin, infinite without a gradient or out of reach."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(margin > 0, margin / norm, 0.0)
    known = np.isfinite(margin) & np.isfinite(norm)
    return np.where(np.isposinf(margin), np.inf, np.where(known, distance, np.nan))


def _decisive(distances: Floats) -> Floats:
    """Return distances to order by: what is no number decides a score, so it comes first."""
    return np.where(np.isnan(distances), -np.inf, distances)
