"""Scores by the bracket: a lower and an upper end, and no radius to choose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CleverError
from ...inputs.settings import Settings
from ...kernels.balls import AUTO
from ...progress import Counter, Progress
from ..protocol import Scored
from ..subjects import Rows, Subjects
from ..tables import joined_flags, signs_of_masking, status_of, tabulate
from .ends import Ends
from .search import search, visit

Floats = npt.NDArray[np.float64]

NAME = "steepest"
OPTIONS = frozenset({"keep_witness", "candidates"})
AT_MOST = True

#: Gradients of one row: where nothing else is asked for, and at least.
DEFAULT_GRADIENTS, FEWEST_GRADIENTS = 100, 16
#: Bytes that the lanes of rows in step may take, and buffers of points that a row has.
_BYTES, _BUFFERS = 2**29, 32


def is_asked(settings: Settings) -> bool:
    """Tell whether it is asked for by its name, and a radius is to be found."""
    return settings.estimator == NAME and AUTO in settings.radii


def check(settings: Settings) -> None:
    """Refuse a race, a tolerance, and radii beside those that are to be found."""
    if settings.race or settings.tolerance is not None:
        raise CleverError(
            'estimator="steepest" with a race or a tolerance, with or without a radius',
            "neither: a search has no batches to save",
            'leave them out, or choose estimator="clever"',
        )
    if set(settings.radii) != {AUTO}:
        raise CleverError(
            'estimator="steepest" with a radius for one norm, and none or "auto" for another',
            "a number for each norm; or none at all, for a bracket",
            "score the others in a call of their own",
        )


def budget(_: Settings) -> tuple[int, int]:
    """Return the default, and the fewest that let a search begin."""
    return DEFAULT_GRADIENTS, FEWEST_GRADIENTS


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Bracket all rows; those of one norm in step, some at a time."""
    rows = subjects.rows(settings.balls, of=subjects.scored)
    counter = Counter(progress, len(rows) * settings.max_gradients)
    done: list[tuple[npt.NDArray[np.intp], dict[str, Any]]] = []
    complete = True
    try:
        for places, columns in _parts(subjects, settings, rows, counter):
            rows.radius[places] = columns["score"]  # the radius of the best bound
            done.append((places, columns))
        counter.finish()
    except KeyboardInterrupt:
        complete = False
    found = np.concatenate([np.empty(0, dtype=np.intp), *(places for places, _ in done)])
    order = np.argsort(found)
    joined = {
        name: _joined([columns[name] for _, columns in done], order)
        for name in (done[0][1] if done else {})
    }
    table = tabulate(subjects, settings.balls, rows.take(found[order]), joined, NAME)
    return Scored(table, complete)


def _joined(parts: list[Any], order: npt.NDArray[np.intp]) -> Any:
    if isinstance(parts[0], list):
        values = [value for part in parts for value in part]
        return [values[place] for place in order]
    return np.concatenate(parts)[order]


def _parts(
    subjects: Subjects, settings: Settings, rows: Rows, counter: Counter
) -> Iterator[tuple[npt.NDArray[np.intp], dict[str, Any]]]:
    """Yield places of rows of one norm, and their columns."""
    if len(rows) == 0:
        return
    images = subjects.scored
    at_image = subjects.at_image(settings.balls, of=images)
    first = subjects.targets[images][:, :1]
    subjects.engine.ready(*subjects.tensors(images, first), counter.most)
    image = subjects.batch.images
    at_once = max(1, _BYTES // (_BUFFERS * image[0].numel() * image.element_size()))
    for p in np.unique(rows.norm):
        of_norm = np.flatnonzero(rows.norm == p)
        for begin in range(0, len(of_norm), at_once):
            places = of_norm[begin : begin + at_once]
            some, norms = rows.take(places), at_image[places]
            ends = Ends(subjects, some, norms, settings, counter.add)
            if subjects.batch.candidates is not None:
                visit(ends, subjects.candidates(some.image))
            search(ends, settings.max_gradients)
            yield places, _columns(subjects, settings, some, norms, ends)


def _columns(
    subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats, ends: Ends
) -> dict[str, Any]:
    """Turn the ends of rows into the columns of a table.

    Where no slope is known, and so no lower end, the reach of valid data caps the score.
    """
    margin = subjects.margins(rows.image, rows.target)
    lower, upper = ends.lower.cpu().numpy(), ends.upper.cpu().numpy()
    largest = ends.largest.cpu().numpy()
    finite = np.isfinite(margin) & ~np.isnan(lower)
    capped = np.isposinf(lower) & finite
    scores = np.where(finite, np.where(capped, ends.reach.cpu().numpy(), lower), np.nan)
    curve, spent = ends.curves()
    vanishing = subjects.vanishing(rows, largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = [np.where(each > 0, m / each, 0.0) for m, each in zip(margin, curve, strict=True)]
        lipschitz = np.where(capped, 0.0, np.where(scores > 0, margin / scores, largest))
    witness = [np.empty(0)] * len(rows)
    if settings.keep_witness:
        witness = list(ends.flip.flatten(1).double().cpu().numpy())
    return {
        "margin": margin,
        "lipschitz": np.where(finite, lipschitz, np.nan),
        "score": scores,
        "score_low": np.where(finite, 0.0, np.nan),
        "score_high": scores,
        "max_norm": largest,
        "norm_at_image": at_image,
        "nearest_flip": np.where(np.isposinf(margin), np.inf, upper),
        "n_gradients": ends.spent.cpu().numpy(),
        "capped": capped,
        "status": status_of(margin, finite, "ok"),
        "flags": joined_flags(signs_of_masking(margin, largest, at_image, vanishing)),
        "curve": slopes,
        "curve_gradients": spent,
        "witness": witness,
    }
