"""The paper's score by as many batches as it needs: each row stops when its interval is narrow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from ..evt.credible import predicted_fit
from ..evt.reverse_weibull import ReverseWeibullFit
from ..inputs.settings import EstimatorName, Settings
from ..progress import Counter, Progress
from ..results.result import PREDICTED
from .batches import draw
from .parts import Part, collect, groups
from .protocol import Scored
from .radius import Found, find_radii, radii_held
from .subjects import Rows, Subjects

Floats = npt.NDArray[np.float64]

NAME: EstimatorName = "clever"
OPTIONS = frozenset({"max_gradients"})
AT_MOST = True

#: What the paper spends on one score: 500 batches of 1,024.
PAPER_GRADIENTS = 512_000
#: Batches of a row at the first look.
FIRST_LOOK = 8
#: Batches of the run that pilots for a radius are made for, at most: docs/concepts/radius.md.
PILOTS_FOR = 32
#: Flag of rows that have spent all they may without becoming as exact as was asked for.
AT_LIMIT = "stopped-at-limit"
#: How many times more batches there are at each next look.
_GROWTH = 1.5


def is_asked(settings: Settings) -> bool:
    """Tell whether settings have a tolerance."""
    return settings.estimator == NAME and settings.tolerance is not None


def check(settings: Settings) -> None:
    """Refuse another way to spend gradients beside it."""
    if settings.race:
        raise with_another_way(settings)


def with_another_way(settings: Settings) -> CleverError:
    """Return the error of a tolerance with something else that says what is spent."""
    return CleverError(
        f"tolerance={settings.tolerance!r} with another way to spend gradients",
        'estimator="clever", and no race',
        "leave the tolerance out, or the other",
    )


def budget(settings: Settings) -> tuple[int, int]:
    """Return what the paper spends, and the batches of a first look."""
    return PAPER_GRADIENTS, FIRST_LOOK * settings.batch_samples


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Add batches to each row until it is exact enough, or has spent all it may."""
    return collect(subjects, settings, _parts(subjects, settings, progress), PREDICTED)


def half_widths(margin: Floats, radius: Floats, fit: ReverseWeibullFit) -> Floats:
    """Half-widths of the scores' intervals, relative to the scores; 0 where nothing is left."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = [
            np.minimum(margin / constant, radius)
            for constant in (fit.ci_high, fit.location, fit.ci_low)
        ]
        width = (scores[2] - scores[0]) / (2 * scores[1])
    return np.where(np.isfinite(width) & (margin > 0), width, 0.0)


def _parts(subjects: Subjects, settings: Settings, progress: Progress) -> Iterator[Part]:
    """Score images, some at a time."""
    limit = settings.max_gradients // settings.batch_samples
    n_each = subjects.n_targets * len(settings.balls)
    counter = Counter(progress, len(subjects.scored) * n_each * limit * settings.batch_samples)
    begin, n_pilots = 0, min(PILOTS_FOR, limit)
    for rows, at_image in groups(subjects, settings, counter.most):
        part = slice(begin, begin + len(rows))
        begin += len(rows)
        if subjects.held is None:
            found = find_radii(subjects, settings, rows, at_image, n_pilots, counter)
        else:
            found = radii_held(rows, subjects.held.take(part))
        yield _sampled(subjects, settings, rows, found, at_image, counter)
    counter.finish()


def _sampled(
    subjects: Subjects,
    settings: Settings,
    rows: Rows,
    found: Found,
    at_image: Floats,
    counter: Counter,
) -> Part:
    """Bring rows from the batches that they hold to as many as they need."""
    limit = (settings.max_gradients - found.pilots) // settings.batch_samples
    tolerance = settings.tolerance or 0.0
    maxima, nearest = list(found.kept), found.nearest_flip.copy()
    exact, active = np.zeros(len(rows), dtype=bool), np.arange(len(rows))
    margin = subjects.margins(rows.image, rows.target)
    looks = _looks(settings.max_gradients // settings.batch_samples)
    while len(active):
        count = np.array([len(maxima[row]) for row in active])
        for size in np.unique(count[count >= np.minimum(FIRST_LOOK, limit[active])]):
            of = active[count == size]
            own = np.stack([maxima[row] for row in of])
            fit = predicted_fit(own, settings.batch_samples, settings.confidence)
            widths = half_widths(margin[of], rows.radius[of], fit)
            exact[of] = widths <= tolerance
        going = active[~exact[active] & (count < limit[active])]
        count = np.array([len(maxima[row]) for row in going], dtype=np.int64)
        wanted = np.minimum(looks[np.searchsorted(looks, count, side="right")], limit[going])
        for size, more in np.unique(np.stack([count, wanted], axis=1), axis=0).tolist():
            of = going[(count == size) & (wanted == more)]
            drawn = draw(
                subjects, rows.take(of), range(size, more), settings.batch_samples,
                settings.seed, settings.clip, counter.add,
            )  # fmt: skip
            nearest[of] = np.minimum(nearest[of], drawn.nearest_flip)
            for row, added in zip(of, drawn.maxima, strict=True):
                maxima[row] = np.append(maxima[row], added)
        active = going
    n_batches = np.array([len(own) for own in maxima])
    return Part(
        rows,
        maxima,
        at_image,
        nearest,
        n_batches * settings.batch_samples + found.pilots,
        at_crossing=found.crossing,
        flags=np.where(exact, "", AT_LIMIT),
        confidence=settings.confidence,
    )


def _looks(limit: int) -> npt.NDArray[np.int64]:
    """Numbers of batches at which rows are looked at, ascending up to the limit."""
    looks, size = [], float(FIRST_LOOK)
    while size < limit:
        looks.append(int(size))
        size = max(size + 1, size * _GROWTH)
    return np.array([*looks, limit], dtype=np.int64)
