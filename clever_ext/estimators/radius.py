"""The radius that chooses itself: where margin / L(R) = R, the largest bound that any radius gives.

With L(R) the largest dual norm in the ball of radius R, min(margin / L(R), R) is a valid bound for
every R. The first term falls with R, the second grows: the largest is where they meet. That place
is sought in log R, where log(R L(R)) - log(margin) is close to a straight line, by pilots of few
batches. A pilot's batches are the first ones of the full run, so pilots at different radii, and
the run itself, see the same directions (common random numbers): their differences are those of the
radius, not of the samples.

Other estimators of batches find the radii of their rows here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..evt.reverse_weibull import fit_reverse_weibull
from ..inputs.settings import EstimatorName, Settings
from ..kernels.balls import AUTO, MAX_RADIUS
from ..progress import Counter, Progress
from .batches import draw
from .parts import Part, collect, groups
from .protocol import Scored
from .subjects import Held, Rows, Subjects

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

NAME: EstimatorName = "clever"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = True

#: Sizes of the pilots, as shares of the run's batches; together at most a half. The first find the
#: place, the last is as large as can be: it decides how exactly.
_PILOTS = (1 / 32, 1 / 32, 1 / 16, 3 / 8)
#: Batches from which a pilot's location is fitted; of fewer the largest norm stands in.
_FIT_FROM = 8
#: How far a pilot may be off, in standard deviations of its mean log maximum. A radius too large by
#: e costs s e / (1 + s) of the score, where L grows like R^s, and one too small e / (1 + s): where
#: s < 1 the radius is aimed above the crossing. Chosen with benchmarks/radius.py --choose.
_DEVIATIONS = 5.0
#: A pilot that aims so close (in log R) ends the search.
_CLOSE = 0.02
#: log L grows with log R at most and at least so fast, and so fast where nothing is known yet.
_STEEPEST, _FLATTEST, _FIRST_SLOPE = 20.0, -0.5, 0.2
#: Radii are changed by this factor at most in one step.
_LARGEST_STEP = np.log(16.0)
#: Radii that differ by less, in log R, tell nothing of the slope.
_APART = 1e-2
#: Rounding of a logarithm of a ratio: as good as equal.
_EXACT = 1e-12


class Found(NamedTuple):
    """What the search for the radii of some rows found, each [rows].

    Attributes:
        crossing: Whether the row's radius is where margin / L(R) = R.
        kept: Maxima of the last pilot, where it was made at the radius that was found: the first
            batches of the run. Empty elsewhere.
        pilots: Gradients that the search spent besides those of the kept.
        nearest_flip: Of the pilots' samples.
    """

    crossing: npt.NDArray[np.bool_]
    kept: list[Floats]
    pilots: npt.NDArray[np.int64]
    nearest_flip: Floats


def find_radii(
    subjects: Subjects,
    settings: Settings,
    rows: Rows,
    at_image: Floats,
    n_batches: int,
    counter: Counter,
) -> Found:
    """Find the radii of rows that have none, and write them into the rows.

    Args:
        subjects: The images; their engine is ready and running.
        settings: Samples, seed and clip.
        rows: NaN stands for a radius that is to be found; all of them get one. Where there is no
            crossing that is the reach of valid data.
        at_image: [rows], gradient norms at the images.
        n_batches: Of the run that the pilots are made for: they draw half as many at most.
        counter: Of gradients.
    """
    free = np.flatnonzero(np.isnan(rows.radius))
    search = _Search(subjects, settings, rows.take(free), at_image[free])
    search.run(n_batches, counter)
    rows.radius[free] = search.rows.radius
    found = Found(
        np.zeros(len(rows), dtype=bool),
        [np.empty(0)] * len(rows),
        np.zeros(len(rows), dtype=np.int64),
        np.full(len(rows), np.inf),
    )
    found.crossing[free], found.nearest_flip[free] = search.found, search.nearest_flip
    for row, kept, drawn in zip(free, search.kept, search.pilots, strict=True):
        found.kept[row] = kept
        found.pilots[row] = (drawn - len(kept)) * settings.batch_samples
    return found


class _Search:
    """The search for the crossings of some rows, all arrays [rows].

    Attributes:
        rows: With the radii that were found.
        pilots: Batches drawn in pilots.
        kept: As `Found` has them.
        found: Whether the row has a crossing.
    """

    def __init__(
        self, subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats
    ) -> None:
        self.subjects, self.settings = subjects, settings
        self.margin = subjects.margins(rows.image, rows.target)
        self.fallback = subjects.reach(rows.image, rows.norm, settings.clip)
        # A margin of 0, or none that is a number, has no crossing: any radius gives that score.
        self.found = (self.margin > 0) & np.isfinite(self.margin) & np.isfinite(at_image)
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.minimum(self.margin / at_image, MAX_RADIUS)
        first = np.where(self.found & (at_image > 0), first, self.fallback)
        self.rows = Rows(rows.image, rows.target, rows.norm, first)
        self.pilots = np.zeros(len(rows), dtype=np.int64)
        self.nearest_flip = np.full(len(rows), np.inf)
        self.kept = [np.empty(0)] * len(rows)
        self.last: list[tuple[float, Floats] | None] = [None] * len(rows)
        self.slope = np.full(len(rows), _FIRST_SLOPE)
        self.bracket = np.full((len(rows), 2), [-np.inf, np.inf])  # of the crossing, in log R

    def run(self, n_batches: int, counter: Counter) -> None:
        """Make the pilots."""
        settings, going = self.settings, np.flatnonzero(self.found)
        left = n_batches // 2
        for share in _PILOTS:
            size = min(left, max(1, round(share * n_batches)))
            if size == 0 or len(going) == 0:
                break
            left -= size
            maxima, flips = draw(
                self.subjects, self.rows.take(going), range(size), settings.batch_samples,
                settings.seed, settings.clip, counter.add,
            )  # fmt: skip
            self.nearest_flip[going] = np.minimum(self.nearest_flip[going], flips)
            self.pilots[going] += size
            going = going[~self._step(going, maxima)]

    def _step(self, going: Places, maxima: Floats) -> npt.NDArray[np.bool_]:
        """Move rows towards their crossings by a pilot [rows going, size]; tell which are there."""
        place = np.log(self.rows.radius[going])
        location, noise = _estimate(maxima)
        finite, dead = np.isfinite(location), location == 0
        self._learn(going, place, maxima)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where a pass overflowed, the ball is too large.
            excess = np.where(finite, np.log(self.margin[going] / location) - place, -np.inf)
        low, high = self.bracket[going].T
        low, high = np.where(excess > 0, place, low), np.where(excess < 0, place, high)
        self.bracket[going] = np.stack([low, high], axis=1)
        slope = self.slope[going]
        above = _DEVIATIONS * noise * np.maximum(0.0, (1 - slope) / (1 + slope))
        step = np.clip(excess / (1 + slope), -_LARGEST_STEP, _LARGEST_STEP)
        slack = _DEVIATIONS * noise  # noise may have put an end of the bracket wrong
        aim = place + step
        outside = (step != 0) & ((aim <= low - slack) | (aim >= high + slack))
        with np.errstate(invalid="ignore"):  # where an end is infinite, nothing is outside
            aim = np.where(outside, (low + high) / 2, aim) + above
        there = finite & (np.abs(aim - place) <= np.minimum(slack, _CLOSE) + _EXACT)
        # No gradient in the ball, no crossing: the reach of valid data caps the score.
        radius = np.where(dead, self.fallback[going], np.exp(np.minimum(aim, np.log(MAX_RADIUS))))
        self.rows.radius[going] = np.where(there, self.rows.radius[going], radius)
        self.found[going[dead]] = False
        for row, is_there, own in zip(going, there, maxima, strict=True):
            self.kept[row] = own if is_there else np.empty(0)
        done: npt.NDArray[np.bool_] = dead | (there & (slack <= _CLOSE))
        return done

    def _learn(self, going: Places, place: Floats, maxima: Floats) -> None:
        """Take the slope of log L from this pilot and the last, by the batches that both drew."""
        for row, here, own in zip(going, place, maxima, strict=True):
            last, self.last[row] = self.last[row], (float(here), own)
            if last is None or abs(here - last[0]) < _APART:
                continue
            means = own[: len(last[1])].mean(), last[1].mean()
            if min(means) > 0 and np.isfinite(means).all():
                slope = np.log(means[0] / means[1]) / (here - last[0])
                self.slope[row] = np.clip(slope, _FLATTEST, _STEEPEST)


def _estimate(maxima: Floats) -> tuple[Floats, Floats]:
    """Return the location of maxima [rows, k], and the deviation of their mean in log, [rows]."""
    k = maxima.shape[1]
    location = maxima.max(axis=1)  # NaN where there is one
    if k >= _FIT_FROM:
        location = fit_reverse_weibull(maxima).location
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.log(maxima).std(axis=1, ddof=min(1, k - 1)) / np.sqrt(k)
    return location, np.where(np.isfinite(noise), noise, 0.0)


def is_asked(settings: Settings) -> bool:
    """Tell whether a radius is to be found."""
    return settings.estimator == NAME and AUTO in settings.radii


def check(_: Settings) -> None:
    """Refuse nothing: radii of other norms may be given."""


def budget(_: Settings) -> None:
    """Leave it to the number of batches."""


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Score at radii that are found for each (image, target, norm).

    Norms whose radii were given keep them. A row spends at most half as many batches more than
    n_batches: four pilots, fewer where one comes close.
    """
    return collect(subjects, settings, _parts(subjects, settings, progress), NAME)


def _parts(subjects: Subjects, settings: Settings, progress: Progress) -> Iterator[Part]:
    """Score images, some at a time."""
    held, begin = subjects.held, 0
    n_rows = len(subjects.scored) * subjects.n_targets * len(settings.balls)
    each = settings.gradients_of_row if held is not None else settings.most_gradients_of_row
    counter = Counter(progress, n_rows * each)
    for rows, at_image in groups(subjects, settings, counter.most):
        part = slice(begin, begin + len(rows))
        begin += len(rows)
        if held is None:
            found = find_radii(subjects, settings, rows, at_image, settings.n_batches, counter)
        else:
            found = radii_held(rows, held.take(part))
        yield _scored(subjects, settings, rows, at_image, found, counter)
    counter.finish()


def radii_held(rows: Rows, held: Held) -> Found:
    """Give rows the radii that they have from an earlier run, as if they had just been found."""
    crossing = np.isnan(rows.radius) & ~held.capped
    rows.radius[:] = held.radius
    return Found(crossing, held.maxima, held.pilots, held.nearest_flip)


def _scored(
    subjects: Subjects,
    settings: Settings,
    rows: Rows,
    at_image: Floats,
    found: Found,
    counter: Counter,
) -> Part:
    """Draw the batches of all rows that they do not have yet."""
    maxima, flips = list(found.kept), found.nearest_flip.copy()
    drawn = np.array([len(kept) for kept in maxima])
    for first in np.unique(drawn):
        of = np.flatnonzero(drawn == first)
        more, found_flips = draw(
            subjects, rows.take(of), range(int(first), settings.n_batches),
            settings.batch_samples, settings.seed, settings.clip, counter.add,
        )  # fmt: skip
        flips[of] = np.minimum(flips[of], found_flips)
        for row, added in zip(of, more, strict=True):
            maxima[row] = np.concatenate([maxima[row], added])
    spent = found.pilots + settings.n_batches * settings.batch_samples
    return Part(rows, maxima, at_image, flips, spent, at_crossing=found.crossing)
