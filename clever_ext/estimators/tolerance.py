"""The paper's score by as many batches as it needs: each row stops when its interval is narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..evt.credible import predicted_fit
from ..evt.reverse_weibull import ReverseWeibullFit
from ..inputs.batch import FIRST_LOOK, Settings
from ..progress import Counter, Progress
from .batches import draw
from .parts import Part, groups
from .subjects import Rows, Subjects

Floats = npt.NDArray[np.float64]

#: What made such a row, in its column `estimator`.
ESTIMATOR = "clever-adaptive"
#: Flag of rows that have spent all they may without becoming as exact as was asked for.
AT_LIMIT = "stopped-at-limit"
#: How many times more batches there are at each next look.
_GROWTH = 1.5


class Held(NamedTuple):
    """What rows have from an earlier run.

    Attributes:
        maxima: Of each row, of its first batches.
        nearest_flip: [rows], seen among them.
    """

    maxima: list[Floats]
    nearest_flip: Floats


def half_widths(margin: Floats, radius: Floats, fit: ReverseWeibullFit) -> Floats:
    """Half-widths of the scores' intervals, relative to the scores; 0 where nothing is left."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = [
            np.minimum(margin / constant, radius)
            for constant in (fit.ci_high, fit.location, fit.ci_low)
        ]
        width = (scores[2] - scores[0]) / (2 * scores[1])
    return np.where(np.isfinite(width) & (margin > 0), width, 0.0)


def sample_until(
    subjects: Subjects,
    settings: Settings,
    progress: Progress,
    held: Held | None = None,
) -> Iterator[Part]:
    """Score images, some at a time, adding batches to each row until it is exact enough.

    Args:
        subjects: The images; their engine is running.
        settings: With a tolerance.
        progress: Called with the gradients done and the most that there can be.
        held: What each row has already.
    """
    limit = settings.max_gradients // settings.batch_samples
    n_each = subjects.n_targets * len(settings.balls)
    counter = Counter(progress, len(subjects.scored) * n_each * limit * settings.batch_samples)
    begin = 0
    for rows, at_image in groups(subjects, settings, counter.most):
        part = slice(begin, begin + len(rows))
        begin += len(rows)
        nothing = Held([np.empty(0)] * len(rows), np.full(len(rows), np.inf))
        own = nothing if held is None else Held(held.maxima[part], held.nearest_flip[part])
        yield _sampled(subjects, settings, rows, own, at_image, counter)
    counter.finish()


def _sampled(
    subjects: Subjects,
    settings: Settings,
    rows: Rows,
    held: Held,
    at_image: Floats,
    counter: Counter,
) -> Part:
    """Bring rows from the batches that they hold to as many as they need."""
    limit = settings.max_gradients // settings.batch_samples
    tolerance = settings.tolerance or 0.0
    maxima, nearest = list(held.maxima), held.nearest_flip.copy()
    exact, active = np.zeros(len(rows), dtype=bool), np.arange(len(rows))
    margin = subjects.margins(rows.image, rows.target)
    looks = _looks(limit)
    while len(active):
        count = np.array([len(maxima[row]) for row in active])
        for size in np.unique(count[count >= min(FIRST_LOOK, limit)]):
            of = active[count == size]
            own = np.stack([maxima[row] for row in of])
            fit = predicted_fit(own, settings.batch_samples, settings.confidence)
            widths = half_widths(margin[of], rows.radius[of], fit)
            exact[of] = widths <= tolerance
        going = active[~exact[active] & (count < limit)]
        count = np.array([len(maxima[row]) for row in going], dtype=np.int64)
        for size in np.unique(count):
            of = going[count == size]
            target = int(looks[np.searchsorted(looks, size, side="right")])
            drawn = draw(
                subjects, rows.take(of), range(int(size), target), settings.batch_samples,
                settings.seed, settings.clip, counter.add,
            )  # fmt: skip
            nearest[of] = np.minimum(nearest[of], drawn.nearest_flip)
            for row, more in zip(of, drawn.maxima, strict=True):
                maxima[row] = np.append(maxima[row], more)
        active = going
    n_gradients = np.array([len(own) for own in maxima]) * settings.batch_samples
    flags = np.where(exact, "", AT_LIMIT)
    return Part(
        rows, maxima, at_image, nearest, n_gradients, flags=flags, confidence=settings.confidence
    )


def _looks(limit: int) -> npt.NDArray[np.int64]:
    """Numbers of batches at which rows are looked at, ascending up to the limit."""
    looks, size = [], float(FIRST_LOOK)
    while size < limit:
        looks.append(int(size))
        size = max(size + 1, size * _GROWTH)
    return np.array([*looks, limit], dtype=np.int64)
