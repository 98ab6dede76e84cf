"""Scores by the bracket: a lower and an upper end, and no radius to choose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...errors import CleverError
from ...inputs.settings import EstimatorName, Settings
from ...inputs.targets import nearest
from ...kernels.balls import AUTO
from ...progress import Counter, Progress
from ..in_step import rows_in_step
from ..parts import concatenated, join
from ..protocol import Scored
from ..screening import most_screened
from ..subjects import Rows, Subjects
from ..tables import joined_flags, signs_of_masking, status_of
from .ends import Ends
from .search import FEWEST_GRADIENTS, search, visit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

NAME: EstimatorName = "steepest"
OPTIONS = frozenset({"keep_witness", "candidates", "max_gradients"})
AT_MOST = True

#: Gradients of one row where nothing else is asked for.
DEFAULT_GRADIENTS = 100
#: What an image whose targets are screened may take, in gradients of one row; and, of all of many
#: classes, those that can decide.
_SHARED, _DECIDING = 3, 4
#: Buffers of points that a row has.
_BUFFERS = 32


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


def deciding(settings: Settings) -> int:
    """Return to how many of the nearest classes "all" of many comes down."""
    shared = (_SHARED - 1) * settings.max_gradients
    return max(1, min(_DECIDING, shared // FEWEST_GRADIENTS))


def gradients_of_row(settings: Settings) -> int:
    """Return the most gradients of a row.

    Where targets are screened the rows of an image share what is left of three times
    `max_gradients` for each norm, and get at least the fewest.

    Args:
        settings: With the targets that are meant for the model's classes.
    """
    k = nearest(settings.targets)
    if k is None:
        return settings.max_gradients
    left = _SHARED * settings.max_gradients - most_screened(settings, k)
    return max(FEWEST_GRADIENTS, min(settings.max_gradients, left // k))


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Bracket all rows; those of one norm in step, some at a time."""
    return join(subjects, settings, _parts(subjects, settings, progress), NAME)


def _parts(
    subjects: Subjects, settings: Settings, progress: Progress
) -> Iterator[tuple[Rows, dict[str, Any]]]:
    """Yield rows and their columns: some images after the other, all norms of them in turn."""
    rows = subjects.rows(settings.balls, of=subjects.scored)
    counter = Counter(progress, len(rows) * gradients_of_row(settings))
    if len(rows) == 0:
        counter.finish()
        return
    images, n_norms = subjects.scored, len(settings.balls)
    held = subjects.held_ends
    at_image = subjects.at_image(settings.balls, of=images) if held is None else held.at_image
    first = subjects.targets[images][:, :1]
    subjects.engine.ready(*subjects.tensors(images, first), counter.most)
    together, at_once = _in_step(subjects)
    of_norms = np.arange(len(rows)).reshape(-1, n_norms)  # targets of an image stand together
    for begin in range(0, len(of_norms), at_once):
        searched: list[tuple[Places, Ends]] = []
        stopped: KeyboardInterrupt | None = None
        try:
            for places in of_norms[begin : begin + at_once].T:
                some = rows.take(places)
                ends = Ends(subjects, some, together, at_image[places], settings, counter.add)
                _search(subjects, settings, some.image, places, ends, searched)
                searched.append((places, ends))
        except KeyboardInterrupt as error:  # norms that are finished are kept
            stopped = error
        found = []
        for n, (places, ends) in enumerate(searched):
            for _, later in searched[n + 1 :]:
                ends.learn(later)
            some = rows.take(places)
            found.append((places, _columns(subjects, settings, some, at_image[places], ends)))
        if found:
            yield _in_order(rows, found)
        if stopped is not None:
            raise stopped
    counter.finish()


def _in_order(
    rows: Rows, found: list[tuple[Places, dict[str, Any]]]
) -> tuple[Rows, dict[str, Any]]:
    """Put the columns of several norms in the order of the rows."""
    places = np.concatenate([of_norm for of_norm, _ in found])
    order = np.argsort(places)
    columns = {
        name: [values[n] for n in order] if isinstance(values, list) else values[order]
        for name, values in concatenated([each for _, each in found]).items()
    }
    return rows.take(places[order]), columns


def _in_step(subjects: Subjects) -> tuple[int, int]:
    """Return how many targets of an image share looks, and how many rows are worked on in step."""
    n_targets, most = subjects.n_targets, rows_in_step(subjects, _BUFFERS)
    together = max(n for n in range(1, min(n_targets, most) + 1) if n_targets % n == 0)
    return together, most // together * together


def _search(
    subjects: Subjects,
    settings: Settings,
    images: Ints,
    places: Places,
    ends: Ends,
    others: list[tuple[Places, Ends]],
) -> None:
    """Bring the ends of rows together, from what is known of them already."""
    held, spent = subjects.held_ends, 1
    if held is not None:
        ends.take_up(held, places.tolist())
        spent = held.budget
    for _, other in others:
        ends.learn(other)
    if subjects.batch.candidates is not None:
        visit(ends, subjects.candidates(images))
    search(ends, spent, gradients_of_row(settings))


def _columns(
    subjects: Subjects, settings: Settings, rows: Rows, at_image: Floats, ends: Ends
) -> dict[str, Any]:
    """Turn the ends of rows into the columns of a table.

    The reach of valid data caps the score: where no slope is known, and so no lower end, and where
    slopes are so small that the end lies beyond all valid data.
    """
    margin = subjects.margins(rows.image, rows.target)
    lower, upper = ends.lower.cpu().numpy(), ends.upper.cpu().numpy()
    largest = ends.largest.cpu().numpy()
    finite, reach = np.isfinite(margin) & ~np.isnan(lower), ends.reach.cpu().numpy()
    # Without a range of its own, how far data may be is a guess, which no slope is held to.
    farthest = reach if np.isfinite(settings.clip).all() else np.full_like(reach, np.inf)
    capped = (np.isposinf(lower) | (lower > farthest)) & finite
    scores = np.where(finite, np.where(capped, reach, lower), np.nan)
    curve, spent = ends.curves()
    vanishing = subjects.vanishing(rows, largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = [np.where(each > 0, m / each, 0.0) for m, each in zip(margin, curve, strict=True)]
        lipschitz = np.where(lower > 0, margin / lower, largest)
    return {
        "radius": scores,  # that of the best bound
        "margin": margin,
        "lipschitz": np.where(finite, lipschitz, np.nan),
        "score": scores,
        "score_low": np.where(finite, 0.0, np.nan),
        "score_high": scores,
        "max_norm": largest,
        "norm_at_image": at_image,
        "nearest_flip": np.where(np.isfinite(margin), upper, np.abs(margin)),
        "n_gradients": ends.spent.cpu().numpy(),
        "capped": capped,
        "status": status_of(margin, finite, "ok"),
        "flags": joined_flags(signs_of_masking(margin, largest, at_image, vanishing)),
        "curve": slopes,
        "curve_gradients": spent,
    } | (_points(ends, margin) if settings.keep_witness else {})


def _points(ends: Ends, margin: Floats) -> dict[str, list[Floats]]:
    """Return the nearest flips and the points of the lower ends, nothing where one is not known."""
    assert ends.steepest is not None
    to_reach = torch.from_numpy(np.isfinite(margin)).to(ends.device)
    kept = (
        ("witness", ends.flip, ends.has_flip & to_reach),
        ("steepest", ends.steepest, ends.has_steepest),
    )
    found = {}
    for name, points, known in kept:
        flat = points.flatten(1).double().cpu().numpy()
        found[name] = [x if k else np.empty(0) for x, k in zip(flat, known.tolist(), strict=True)]
    return found
