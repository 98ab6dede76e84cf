"""First-order scores: where the margin would be gone if the network were linear around the image.

One gradient of an image and target gives margin / ||gradient of the margin||_q in every norm. For
a linear network that is the distance itself; of any other it bounds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from ..inputs.settings import EstimatorName, Settings
from ..progress import Counter, Progress
from ..results.result import first_order
from .parts import join
from .protocol import Scored
from .screening import TARGETS_AT_ONCE, norms_of_many
from .subjects import Rows, Subjects
from .tables import joined_flags, signs_of_masking, status_of

Floats = npt.NDArray[np.float64]

NAME: EstimatorName = "first-order"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = True  # all norms and radii share one gradient


def is_asked(settings: Settings) -> bool:
    """Tell whether it is asked for by its name."""
    return settings.estimator == NAME


def check(settings: Settings) -> None:
    """Refuse a race and a tolerance: there is nothing to save, and no interval."""
    if settings.race or settings.tolerance is not None:
        raise CleverError(
            'estimator="first-order" with race=True or a tolerance',
            "neither: a row takes one gradient",
            "leave them out",
        )


def budget(_: Settings) -> tuple[int, int]:
    """Return the one gradient."""
    return 1, 1


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Take the gradients at the images."""
    return join(subjects, settings, _parts(subjects, settings, progress), NAME)


def _parts(
    subjects: Subjects, settings: Settings, progress: Progress
) -> Iterator[tuple[Rows, dict[str, Any]]]:
    """Score as many images at a time as go through the model at once."""
    engine, at_once = subjects.engine, subjects.engine.own.device_batch
    counter = Counter(progress, len(subjects.scored) * subjects.n_targets)
    norms = [p for p, _ in settings.balls]
    for start in range(0, len(subjects.scored), at_once):
        these = subjects.scored[start : start + at_once]
        targets = subjects.targets[these]
        engine.ready(*subjects.tensors(these, targets[:, :TARGETS_AT_ONCE]), counter.most)
        if subjects.screened is None:
            found = norms_of_many(subjects, engine.plan, these, targets, norms, counter.add)
        else:
            found = subjects.of_targets(these, norms)
            counter.add(targets.size)
        rows = subjects.rows(settings.balls, of=these)
        yield rows, _columns(subjects, settings, rows, found.transpose(1, 2, 0).ravel())


def _columns(
    subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats
) -> dict[str, Any]:
    """Turn gradient norms into scores, min(margin / norm, R).

    Where the radius is to be found it is margin / norm itself: there margin / L(R) = R, if the
    gradient stays what it is. Without a gradient the reach of valid data stands and caps the score.
    """
    margin = subjects.margins(rows.image, rows.target)
    distance = first_order(margin, at_image)
    reach = subjects.reach(rows.image, rows.norm, settings.clip)
    crossing = np.where(np.isposinf(distance), reach, distance)
    radius = np.where(np.isnan(rows.radius), crossing, rows.radius)
    flags = signs_of_masking(margin, at_image, at_image, subjects.vanishing(rows, at_image))
    unknown = np.full(len(rows), np.nan)
    return {
        "radius": radius,
        "margin": margin,
        "lipschitz": at_image,
        "score": np.minimum(distance, radius),
        "score_low": unknown,
        "score_high": unknown,
        "max_norm": at_image,
        "norm_at_image": at_image,
        "nearest_flip": np.full(len(rows), np.inf),
        "n_gradients": np.ones(len(rows), dtype=np.int64),
        "capped": distance > radius,
        "status": status_of(margin, ~np.isnan(distance), "ok"),
        "flags": joined_flags(flags),
    }
