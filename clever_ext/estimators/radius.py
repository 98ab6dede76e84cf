"""The radius that chooses itself: where margin / L(R) = R, the largest bound that any radius gives.

With L(R) the largest dual norm in the ball of radius R, min(margin / L(R), R) is a valid bound for
every R. The first term falls with R, the second grows: the largest is where they meet. That place
is sought in log R, where log(R L(R)) - log(margin) is close to a straight line, by pilots of few
batches. A pilot's batches are the first ones of the full run, so pilots at different radii, and
the run itself, see the same directions (common random numbers): their differences are those of the
radius, not of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..evt.reverse_weibull import fit_reverse_weibull
from ..inputs.settings import Settings
from ..kernels.balls import AUTO, MAX_RADIUS, default_radius
from ..progress import Counter, Progress
from .batches import draw
from .parts import Part, collect, groups
from .protocol import Scored
from .subjects import Rows, Subjects

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

NAME = "clever"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = True

#: Sizes of the pilots, as shares of n_batches; together at most a half. The first find the place,
#: the last is as large as can be: it decides how exactly.
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


class _Search:
    """The search for the crossings of some rows, all arrays [rows].

    Attributes:
        rows: With the radii that were found.
        pilots: Batches drawn in pilots.
        kept: Maxima of the last pilot, where it was made at the radius that was found: the first
            batches of the run. Empty elsewhere.
        found: Whether the row has a crossing.
    """

    def __init__(
        self, subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats
    ) -> None:
        self.subjects, self.settings = subjects, settings
        self.margin = subjects.margins(rows.image, rows.target)
        self.fallback = np.array([default_radius(float(p)) for p in rows.norm])
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

    def run(self, counter: Counter) -> None:
        """Make the pilots."""
        settings, going = self.settings, np.flatnonzero(self.found)
        left = settings.n_batches // 2
        for share in _PILOTS:
            size = min(left, max(1, round(share * settings.n_batches)))
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
        # No gradient in the ball, no crossing: the default radius stands, and caps the score.
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
    n_rows = len(subjects.scored) * subjects.n_targets * len(settings.balls)
    each = settings.n_batches * settings.batch_samples
    counter = Counter(progress, n_rows * (each + each // 2))
    for rows, at_image in groups(subjects, settings, counter.most):
        yield _scored(subjects, settings, rows, at_image, counter)
    counter.finish()


def _scored(
    subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats, counter: Counter
) -> Part:
    """Find the radii of rows that have none (NaN), and draw all the batches of all rows."""
    free = np.flatnonzero(np.isnan(rows.radius))
    search = _Search(subjects, settings, rows.take(free), at_image[free])
    search.run(counter)
    rows.radius[free] = search.rows.radius
    maxima = [np.empty(0)] * len(rows)
    pilots, found = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
    pilots[free], found[free] = search.pilots, search.found
    for row, kept in zip(free, search.kept, strict=True):
        maxima[row] = kept
    flips = np.full(len(rows), np.inf)
    flips[free] = search.nearest_flip
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
    batches = pilots + settings.n_batches - drawn
    return Part(rows, maxima, at_image, flips, batches * settings.batch_samples, at_crossing=found)
