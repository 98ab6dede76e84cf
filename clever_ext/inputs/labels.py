"""Whether labels can be those that a model was trained on, by the answers that it gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..findings import Finding

Ints = npt.NDArray[np.int64]

#: Labelled images from which accuracy says something.
_ENOUGH = 10
#: Chance of as many right answers by guessing, above which they may be guesses.
_GUESSES = 0.01
#: Another reading is told of where it has more right answers, by this share and this many.
_BETTER_SHARE, _BETTER = 0.2, 5


def of_answers(
    labels: Ints,
    predicted: Ints,
    n_classes: int,
    readings: Mapping[str, tuple[Ints, str]] | None = None,
) -> Finding:
    """Hold labels against a model's answers, by chance and by other ways to read them.

    Args:
        labels: [n] classes.
        predicted: [n] the model's.
        n_classes: K.
        readings: Other classes [n] that the labels may stand for, and what to do if they do, by
            words for the reading.
    """
    n, right = len(labels), int((predicted == labels).sum())
    said = f"{right} of {n} images that were looked at are classified right ({right / n:.0%})"
    if n < _ENOUGH:
        return Finding("labels", f"{said}: too few to tell")
    others = {**(readings or {}), **_shifted(labels, n_classes)}
    found = {name: int((predicted == classes).sum()) for name, (classes, _) in others.items()}
    best = max(found, key=lambda name: found[name], default="")
    if best and found[best] - right >= max(_BETTER, _BETTER_SHARE * n):
        return Finding("labels", f"{said}, but {found[best]} if {best}", others[best][1])
    if _by_guessing(right, n, n_classes) > _GUESSES:
        return Finding(
            "labels",
            f"{said}: no better than guessing among {n_classes:,} classes",
            "see that labels, weights, and the range and normalisation of the images are the "
            "model's own",
        )
    return Finding("labels", said)


def _by_guessing(right: int, n: int, n_classes: int) -> float:
    """Chance that guesses give as many right answers, or more."""
    from scipy.stats import binom  # half a second to import

    return float(binom.sf(right - 1, n, 1 / n_classes))


def _shifted(labels: Ints, n_classes: int) -> dict[str, tuple[Ints, str]]:
    """Labels that are counted from another number than 0."""
    found = {}
    for by, lower in ((-1, "lower"), (1, "higher")):
        moved = labels + by
        classes = np.where((moved >= 0) & (moved < n_classes), moved, -1)
        fix = f"give class numbers that are one {lower}: the model's classes count from 0"
        found[f"each class number is taken one {lower}"] = classes, fix
    return found
