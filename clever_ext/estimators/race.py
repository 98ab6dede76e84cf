"""The smallest score over many targets, without the batches of those that cannot have it.

All targets of one image and norm start with the gradient at the image alone (first-order scores);
the best get a few batches, then those that are not surely behind get twice as many, and so on:
`standings` says which these are.

Where the radius is to be found, the ball is that where the leader's margin / L(R) = R: a target has
a lower score at a radius of its own if, and only if, its margin / L there is below that R. If one
is, the race begins again in the ball of that one's crossing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..arguments import shown
from ..errors import CleverError
from ..inputs.settings import EstimatorName, Settings
from ..kernels.balls import AUTO
from ..progress import Counter, Progress
from .batches import draw
from .parts import IMAGES_AT_ONCE, Part, collect
from .protocol import Scored
from .radius import find_radii
from .screening import norms_of_many
from .standings import FIRST_TARGETS, Race
from .subjects import Subjects

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

NAME: EstimatorName = "clever"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = True

#: Flag of the rows of targets that are out.
ELIMINATED = "eliminated"


def is_asked(settings: Settings) -> bool:
    """Tell whether targets shall race."""
    return settings.estimator == NAME and settings.race


def check(settings: Settings) -> None:
    """Refuse several radii of a norm: targets race in one ball."""
    several = [list(each) for each in settings.radii if each != AUTO and len(each) > 1]
    if several:
        raise CleverError(
            f"race=True with radius={shown(several[0])}",
            "one radius for each norm: targets race in one ball",
            "give one, or none, or leave race out",
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
    screening = len(subjects.scored) * subjects.n_targets
    races = screening * len(settings.balls) * settings.most_gradients_of_row
    counter = Counter(progress, screening + races)
    for start in range(0, len(subjects.scored), IMAGES_AT_ONCE):
        these = subjects.scored[start : start + IMAGES_AT_ONCE]
        few = subjects.targets[these][:, :FIRST_TARGETS]
        subjects.engine.ready(*subjects.tensors(these, few), races // subjects.n_targets)
        heats = _Heats(subjects, settings, these, counter)
        heats.run()
        yield heats.part()
    counter.finish()


class _Heats:
    """The races of some images, all together round after round.

    Attributes:
        rows: With the radii of the balls that targets race in.
        place: [I, T, balls], of each in the rows.
        races: By (image, ball), the latest that was begun.
        own: Target whose crossing is the radius of a ball, where it was found.
        crossing: [rows], whether it is that of the row.
        spent: [rows], gradients of batches.
    """

    def __init__(
        self, subjects: Subjects, settings: Settings, these: Places, counter: Counter
    ) -> None:
        self.subjects, self.settings, self.counter = subjects, settings, counter
        self.rows = rows = subjects.rows(settings.balls, of=these)
        norms = [p for p, _ in settings.balls]
        self.at_image = norms_of_many(
            subjects, subjects.engine.plan, these, subjects.targets[these], norms, counter.add
        ).transpose(1, 2, 0)
        shape = self.at_image.shape
        self.margin = subjects.margins(rows.image, rows.target).reshape(shape)
        self.place = np.arange(len(rows)).reshape(shape)
        self.flips = np.full(len(rows), np.inf)
        self.spent = np.zeros(len(rows), dtype=np.int64)
        self.crossing = np.zeros(len(rows), dtype=bool)
        keys = [(i, n) for i in range(shape[0]) for n in range(shape[2])]
        self.races = {key: self._race(*key) for key in keys}
        self.own: dict[tuple[int, int], int] = {}

    def _race(self, i: int, n: int) -> Race:
        return Race(self.margin[i, :, n], self.at_image[i, :, n], self.settings.n_batches)

    def run(self) -> None:
        """Run all races to their ends."""
        free = [n for n, (_, radius) in enumerate(self.settings.balls) if math.isnan(radius)]
        lost = {key: race.favourite() for key, race in self.races.items() if key[1] in free}
        running = set(self.races)
        while running:
            self._enter_balls(lost)
            lost = {key: target for key in running if (target := self._lower(key)) is not None}
            wanted: dict[tuple[int, int], list[tuple[Race, int, int]]] = {}
            for i, n in sorted(running - lost.keys()):
                race = self.races[i, n]
                going = race.next()
                if not going:
                    running.remove((i, n))
                for target, size in going:
                    entry = race, target, int(self.place[i, target, n])
                    wanted.setdefault((len(race.maxima[target]), size), []).append(entry)
            for (first, last), entries in wanted.items():
                self._draw(range(first, last), entries)

    def _draw(self, batches: range, entries: list[tuple[Race, int, int]]) -> None:
        settings, places = self.settings, [row for *_, row in entries]
        drawn = draw(
            self.subjects, self.rows.take(places), batches, settings.batch_samples,
            settings.seed, settings.clip, self.counter.add,
        )  # fmt: skip
        self.spent[places] += len(batches) * settings.batch_samples
        self.flips[places] = np.minimum(self.flips[places], drawn.nearest_flip)
        for (race, target, _), more in zip(entries, drawn.maxima, strict=True):
            race.maxima[target] = np.append(race.maxima[target], more)

    def _enter_balls(self, lost: dict[tuple[int, int], int]) -> None:
        """Begin races in the balls of some targets' crossings, which are found."""
        if not lost:
            return
        settings = self.settings
        places = np.array([self.place[i, target, n] for (i, n), target in lost.items()])
        leaders = self.rows.take(places)
        leaders.radius[:] = np.nan
        at_image = self.at_image.ravel()[places]
        found = find_radii(
            self.subjects, settings, leaders, at_image, settings.n_batches, self.counter
        )
        self.spent[places] += found.pilots
        self.flips[places] = np.minimum(self.flips[places], found.nearest_flip)
        for (i, n), row, kept, radius, crossing in zip(
            lost, places, found.kept, leaders.radius, found.crossing, strict=True
        ):
            of_ball = self.place[i, :, n]
            self.rows.radius[of_ball], self.crossing[of_ball] = radius, False
            self.crossing[row] = crossing
            self.spent[row] += len(kept) * settings.batch_samples
            self.own[i, n], self.races[i, n] = lost[i, n], self._race(i, n)
            self.races[i, n].maxima[lost[i, n]] = kept

    def _lower(self, key: tuple[int, int]) -> int | None:
        """Return the target whose crossing is clearly below the ball's, if there is one.

        None, too, where another race in its ball might take more than twice n_batches a target.
        """
        i, n = key
        if key not in self.own:
            return None
        of_ball, settings = self.place[i, :, n], self.settings
        each = settings.n_batches * settings.batch_samples
        if self.spent[of_ball].sum() + each // 2 > len(of_ball) * each:
            return None
        leader = self.races[key].below(float(self.rows.radius[of_ball[0]]))
        return None if leader == self.own[key] else leader

    def part(self) -> Part:
        """Return what the races have found."""
        shape = self.at_image.shape
        location, high, p_lowest = (np.empty(shape) for _ in range(3))
        maxima = np.empty(shape, dtype=object)
        for (i, n), race in self.races.items():
            location[i, :, n], high[i, :, n] = race.estimates()
            p_lowest[i, :, n] = race.probabilities()
            for target, own in enumerate(race.maxima):
                maxima[i, target, n] = own
        out = np.array([len(own) for own in maxima.ravel()]) < self.settings.n_batches
        n_gradients = self.spent.copy()
        n_gradients[:: shape[2]] += 1  # the one at the image, which serves all norms
        return Part(
            self.rows,
            list(maxima.ravel()),
            self.at_image.ravel(),
            self.flips,
            n_gradients,
            at_crossing=self.crossing,
            estimates=np.where(out, [location.ravel(), high.ravel()], np.nan),
            columns={"p_lowest": p_lowest.ravel()},
            flags=np.where(out, ELIMINATED, ""),
        )
