"""Scores by the steepest place that a search of each ball finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...inputs.batch import Settings
from ...progress import Counter, Progress
from ..subjects import Subjects
from ..tables import steepest_columns, tabulate
from .found import Steepest
from .search import search

if TYPE_CHECKING:
    import pandas as pd


def searched(
    subjects: Subjects, settings: Settings, progress: Progress
) -> tuple[pd.DataFrame, bool]:
    """Score all rows; return the table, and whether it is whole.

    Ctrl-C ends the search with what is finished.
    """
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
    columns = steepest_columns(margin, some.radius, at_image[which], vanishing, places)
    return tabulate(subjects, balls, some, columns, "steepest"), bool(finished.all())
