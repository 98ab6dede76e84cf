"""The smallest score over many targets, without the batches of those that cannot have it.

Targets of one image and norm are compared by D = log(largest norm / margin), the negative log of
their score: the one with the largest D wins. All start with the gradient at the image alone
(first-order scores); the best get a few batches, then those that are not surely behind get twice
as many, and so on. Targets see the same samples (common random numbers), so two of them are
compared by the batches that both have drawn: what the samples have in common drops out of the
difference. What is left is of the size of the scatter of the logs of the ratios of two targets'
maxima, whatever their number, for the largest of n has much the same scatter for all n: a target
is surely behind when its deficit is more than some deviations of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..arguments import shown
from ..errors import CleverError
from ..evt.reverse_weibull import fit_reverse_weibull
from ..inputs.settings import Settings
from ..kernels.balls import AUTO
from ..progress import Counter, Progress
from .batches import draw
from .parts import IMAGES_AT_ONCE, Part, collect
from .protocol import Scored
from .screening import norms_of_many
from .subjects import Rows, Subjects

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

NAME = "clever"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = True

#: Flag of the rows of targets that are out.
ELIMINATED = "eliminated"
#: Targets that get batches at first, those of the smallest first-order scores; they share
#: n_batches between them.
_FIRST_TARGETS = 16
#: Deviations by which a target must be behind to be out. Chosen with benchmarks/race.py --choose.
_SURE = 3.0
#: Standard error of a deficit in the same deviations, for the probability that another is lower.
_ERROR = 1.5
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
        self.first = max(2, n_batches // min(len(margin), _FIRST_TARGETS))

    @property
    def drawn(self) -> Ints:
        """Batches of each target."""
        return np.array([len(own) for own in self.maxima])

    def next(self) -> list[tuple[int, int]]:
        """Return which targets to bring to how many batches; none when the race is over."""
        drawn = self.drawn
        top = drawn.max()
        if top == 0:
            best = np.argsort(-self._against_margin(self.at_image), kind="stable")
            return [(int(target), self.first) for target in best[:_FIRST_TARGETS]]
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


def is_asked(settings: Settings) -> bool:
    """Tell whether targets shall race."""
    return settings.estimator == NAME and settings.race


def check(settings: Settings) -> None:
    """Refuse several radii of a norm: targets race in one ball."""
    given = [each if each == AUTO or len(each) == 1 else list(each) for each in settings.radii]
    if any(each == AUTO or isinstance(each, list) for each in given):
        plain = [each[0] if isinstance(each, tuple) else each for each in given]
        same = all(each == plain[0] for each in plain)
        radius = plain[0] if same else dict(zip(settings.norms, plain, strict=True))
        raise CleverError(
            f"race=True with radius={shown(radius)}",
            "one number for each norm: targets race in one ball",
            "give one radius, or leave race out",
        )


def budget(_: Settings) -> None:
    """Leave it to the number of batches."""


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Give each target as many batches as the race needs.

    The rows of targets that are out hold the batches that they got, their score is estimated from
    the leader's, and they are flagged `ELIMINATED`. `p_lowest` is the probability that a target has
    the lowest score of all.
    """
    return collect(subjects, settings, _parts(subjects, settings, progress), NAME)


def _parts(subjects: Subjects, settings: Settings, progress: Progress) -> Iterator[Part]:
    """Score images, some at a time."""
    n_races = len(subjects.scored) * len(settings.balls)
    each = settings.n_batches * settings.batch_samples
    screening = len(subjects.scored) * subjects.n_targets
    counter = Counter(progress, screening + n_races * subjects.n_targets * each)
    for start in range(0, len(subjects.scored), IMAGES_AT_ONCE):
        these = subjects.scored[start : start + IMAGES_AT_ONCE]
        few = subjects.targets[these][:, :_FIRST_TARGETS]
        subjects.engine.ready(*subjects.tensors(these, few), n_races * each)
        yield _raced(subjects, settings, these, counter)
    counter.finish()


def _raced(subjects: Subjects, settings: Settings, these: Places, counter: Counter) -> Part:
    """Run the races of some images, all together round after round."""
    balls, rows = settings.balls, subjects.rows(settings.balls, of=these)
    norms = [p for p, _ in balls]
    plan, targets = subjects.engine.plan, subjects.targets[these]
    at_image = norms_of_many(subjects, plan, these, targets, norms, counter.add).transpose(1, 2, 0)
    margin = subjects.margins(rows.image, rows.target).reshape(at_image.shape)
    place = np.arange(len(rows)).reshape(at_image.shape)  # of each (image, target, ball)
    races = {
        (i, n): Race(margin[i, :, n], at_image[i, :, n], settings.n_batches)
        for i in range(len(these))
        for n in range(len(balls))
    }
    running, flips = dict(races), np.full(len(rows), np.inf)
    while running:
        wanted: dict[tuple[int, int], list[tuple[Race, int, int]]] = {}
        for (i, n), race in list(running.items()):
            going = race.next()
            if not going:
                del running[i, n]
            for target, size in going:
                key = len(race.maxima[target]), size
                wanted.setdefault(key, []).append((race, target, int(place[i, target, n])))
        for (first, last), entries in wanted.items():
            drawn = draw(
                subjects, rows.take([row for *_, row in entries]), range(first, last),
                settings.batch_samples, settings.seed, settings.clip, counter.add,
            )  # fmt: skip
            for (race, target, row), more, flip in zip(entries, *drawn, strict=True):
                race.maxima[target] = np.append(race.maxima[target], more)
                flips[row] = min(flips[row], flip)
    return _part(settings, rows, at_image, flips, races)


def _part(
    settings: Settings,
    rows: Rows,
    at_image: Floats,
    nearest_flip: Floats,
    races: dict[tuple[int, int], Race],
) -> Part:
    location, high, p_lowest = (np.empty(at_image.shape) for _ in range(3))
    maxima = np.empty(at_image.shape, dtype=object)
    for (i, n), race in races.items():
        location[i, :, n], high[i, :, n] = race.estimates()
        p_lowest[i, :, n] = race.probabilities()
        for target, own in enumerate(race.maxima):
            maxima[i, target, n] = own
    drawn = np.array([len(own) for own in maxima.ravel()])
    out = drawn < settings.n_batches
    n_gradients = drawn * settings.batch_samples
    n_gradients[:: at_image.shape[2]] += 1  # the one at the image, which serves all norms
    return Part(
        rows,
        list(maxima.ravel()),
        at_image.ravel(),
        nearest_flip,
        n_gradients,
        estimates=np.where(out, [location.ravel(), high.ravel()], np.nan),
        columns={"p_lowest": p_lowest.ravel()},
        flags=np.where(out, ELIMINATED, ""),
    )
