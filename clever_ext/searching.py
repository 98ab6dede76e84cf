"""Scores by the steepest place that a search of each ball finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .inputs import Settings
from .progress import Progress
from .steepest import SearchSettings, Steepest, search
from .subjects import Subjects
from .tables import steepest_columns, tabulate

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
    targets = subjects.targets[images]
    how = SearchSettings(
        settings.max_gradients, settings.seed, settings.clip, settings.keep_witness
    )
    total, counted = len(rows) * settings.max_gradients, 0

    def count(n: int) -> None:
        nonlocal counted
        counted += n
        progress(counted, total)

    count(0)
    finished = np.zeros(len(rows), dtype=bool)
    at_image = np.full(len(rows), np.nan)
    try:
        if len(rows):
            norms = subjects.norms_at(images, targets, [p for p, _ in balls])
            at_image = norms.transpose(1, 2, 0).ravel()
            subjects.engine.ready(*subjects.tensors(images, targets[:, :1]), total)
        found = Steepest.of_images(at_image, None)
        for part, steepest in search(subjects, rows, at_image, how, count):
            found.put(part, steepest)
            finished[part] = True
    except KeyboardInterrupt:
        pass
    which = np.flatnonzero(finished)
    some = rows.take(which)
    margin = subjects.margins(some.image, some.target)
    columns = steepest_columns(margin, some.radius, at_image[which], found.take(which))
    return tabulate(subjects, balls, some, columns, "steepest"), bool(finished.all())
