"""Scores by the steepest place that a search of each ball finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import CleverError
from ...inputs.settings import EstimatorName, Settings
from ...progress import Counter, Progress
from ..protocol import Scored
from ..subjects import Subjects
from ..tables import (
    Booleans,
    Floats,
    capped_ratio,
    joined_flags,
    signs_of_masking,
    status_of,
    tabulate,
)
from ..tolerance import with_another_way
from .found import Steepest
from .search import search

NAME: EstimatorName = "steepest"
OPTIONS = frozenset({"keep_witness", "candidates", "max_gradients"})
AT_MOST = False

#: Gradients of a search for one row: where nothing else is asked for, and at least.
DEFAULT_GRADIENTS, FEWEST_GRADIENTS = 2000, 16


def is_asked(settings: Settings) -> bool:
    """Tell whether it is asked for by its name."""
    return settings.estimator == NAME


def check(settings: Settings) -> None:
    """Refuse a race and a tolerance; a radius that is to be found is the bracket's."""
    if settings.race:
        raise CleverError(
            'estimator="steepest" with race=True',
            "no race: a search has no batches to save",
            "leave race out",
        )
    if settings.tolerance is not None:
        raise with_another_way(settings)


def budget(_: Settings) -> tuple[int, int]:
    """Return the default, and the fewest that let a search begin."""
    return DEFAULT_GRADIENTS, FEWEST_GRADIENTS


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Search the balls of all rows, in step."""
    balls, images = settings.balls, subjects.scored
    rows = subjects.rows(balls, of=images)
    counter = Counter(progress, len(rows) * settings.max_gradients)
    finished = np.zeros(len(rows), dtype=bool)
    at_image = np.full(len(rows), np.nan)
    try:
        if len(rows):
            at_image = subjects.at_image(balls, of=images)
            first = subjects.targets[images][:, :1]
            subjects.engine.ready(*subjects.tensors(images, first), counter.most)
        found = Steepest.of_images(at_image, None)
        for part, steepest in search(subjects, rows, at_image, settings, counter.add):
            found.put(part, steepest)
            finished[part] = True
    except KeyboardInterrupt:
        pass
    which = np.flatnonzero(finished)
    some = rows.take(which)
    margin = subjects.margins(some.image, some.target)
    places = found.take(which)
    vanishing = subjects.vanishing(some, places.max_norm)
    columns = _columns(margin, some.radius, at_image[which], vanishing, places)
    table = tabulate(subjects, balls, some, columns, NAME)
    return Scored(table, bool(finished.all()))


def _columns(
    margin: Floats, radius: Floats, norm_at_image: Floats, vanishing: Booleans, found: Steepest
) -> dict[str, Any]:
    """Turn what a search found into scores, min(margin / L', R).

    L' is a lower bound of the Lipschitz constant, so that margin / L lies between 0 and the score.
    """
    finite = np.isfinite(margin) & np.isfinite(found.lipschitz)
    scores = capped_ratio(margin, found.lipschitz, radius, finite)
    return {
        "radius": radius,
        "margin": margin,
        "lipschitz": found.lipschitz,
        "score": scores,
        "score_low": np.where(finite, 0.0, np.nan),
        "score_high": scores,
        "max_norm": found.max_norm,
        "norm_at_image": norm_at_image,
        "nearest_flip": np.where(np.isposinf(margin), np.inf, found.nearest_flip),
        "n_gradients": found.n_gradients,
        "capped": scores == radius,
        "status": status_of(margin, finite, "ok"),
        "flags": joined_flags(signs_of_masking(margin, found.max_norm, norm_at_image, vanishing)),
        "curve": found.curve,
        "curve_gradients": found.curve_gradients,
        "witness": found.witness,
    }
