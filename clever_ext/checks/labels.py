"""Whether the labels can be those that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..findings import Finding
from ..subjects import Ints
from .looked import Looked

#: Labelled images from which accuracy says something.
_ENOUGH = 10
#: Chance of as many right answers by guessing, above which they may be guesses.
_GUESSES = 0.01
#: Another reading is told of where it has more right answers, by this share and this many.
_BETTER_SHARE, _BETTER = 0.2, 5


def of_labels(looked: Looked) -> Iterator[Finding]:
    """Compare the labels with the model's predictions, and with other ways to read them."""
    labels, predicted = looked.labels, looked.subjects.predicted
    n_classes = looked.subjects.logits.shape[1]
    if labels is None:
        yield Finding(
            "labels",
            "no labels: wrong answers of the model are scored as if they were right",
            "give labels, or say that there are none on purpose (labels none)",
        )
        return
    n, right = len(labels), int((predicted == labels).sum())
    said = f"{right} of {n} images that were tried are classified right ({right / n:.0%})"
    if n < _ENOUGH:
        yield Finding("labels", said)
        return
    readings = {**looked.readings, **_shifted(labels, n_classes)}
    found = {name: int((predicted == other).sum()) for name, other in readings.items()}
    best = max(found, key=lambda name: found[name], default=None)
    if best is not None and found[best] - right >= max(_BETTER, _BETTER_SHARE * n):
        yield Finding(
            "labels",
            f"{said}, but {found[best]} if labels are read as {best}",
            "give the labels in the order of the model's classes, by a label map or as numbers",
        )
    elif _by_guessing(right, n, n_classes) > _GUESSES:
        yield Finding(
            "labels",
            f"{said}: no better than guessing among {n_classes:,} classes",
            "see that labels, weights, and the range and normalisation of the images are the "
            "model's own",
        )
    else:
        yield Finding("labels", said)


def _by_guessing(right: int, n: int, n_classes: int) -> float:
    """Chance that guesses give as many right answers, or more."""
    from scipy.stats import binom  # half a second to import

    return float(binom.sf(right - 1, n, 1 / n_classes))


def _shifted(labels: Ints, n_classes: int) -> dict[str, Ints]:
    """Labels that are counted from another number than 0."""
    shifts = {"numbers that count from 1": -1, "numbers that leave out class 0": 1}
    return {
        name: np.where((labels + by >= 0) & (labels + by < n_classes), labels + by, -1)
        for name, by in shifts.items()
    }
