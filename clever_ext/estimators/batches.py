"""More batch maxima for some rows of a table, whichever these are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..engine.maxima import Drawn, Sampling, sample_maxima
from .subjects import Rows, Subjects


def draw(
    subjects: Subjects,
    rows: Rows,
    batches: range,
    batch_samples: int,
    seed: int,
    clip: tuple[float, float],
    progress: Callable[[int], None],
) -> Drawn:
    """Return the maxima of some batches of samples for each row, and the nearest flips among them.

    Rows that differ by their target alone share samples and forward passes. The engine must be
    ready and running.

    Args:
        subjects: The images.
        rows: Each (image, target, norm, radius) once.
        batches: Numbers of the batches to draw.
        batch_samples: N_s.
        seed: Of the samples.
        clip: Range that samples are clamped to.
        progress: Called with the gradients of each step.

    Returns:
        maxima [rows, len(batches)] and nearest_flip [rows].
    """
    all_drawn = Drawn(np.empty((len(rows), len(batches))), np.empty(len(rows)))
    for norm, group in _groups(rows):
        first = group[:, 0]  # each line of a group holds the rows of one ball
        image = rows.image[first]
        sampling = Sampling(
            p=norm,
            radius=rows.radius[first],
            n_batches=len(batches),
            batch_samples=batch_samples,
            seed=seed,
            clip=clip,
            first_batch=batches.start,
        )
        tensors = subjects.tensors(image, rows.target[group])
        ids = subjects.batch.image_ids[image]
        found = sample_maxima(subjects.engine.plan, *tensors, ids, sampling, progress)
        for members, wait in zip(group, found, strict=True):
            drawn = wait()
            all_drawn.maxima[members] = drawn.maxima
            all_drawn.nearest_flip[members] = drawn.nearest_flip
    return all_drawn


def _groups(rows: Rows) -> list[tuple[float, npt.NDArray[np.intp]]]:
    """Group rows of one norm whose balls have as many targets: (norm, places [balls, targets])."""
    keys = np.stack([rows.norm, rows.image.astype(np.float64), rows.radius])
    order = np.lexsort(keys[::-1])
    ordered = keys[:, order]
    changes = np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).any(axis=0)) + 1
    by_kind: dict[tuple[float, int], list[npt.NDArray[np.intp]]] = {}
    for ball in np.split(order, changes) if len(rows) else []:
        by_kind.setdefault((float(rows.norm[ball[0]]), len(ball)), []).append(ball)
    return [(norm, np.stack(balls)) for (norm, _), balls in by_kind.items()]
