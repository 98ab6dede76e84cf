"""Rows that each have a number of batches of their own: from their maxima to a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evt.credible import predicted_fit
from ..evt.reverse_weibull import ReverseWeibullFit, fit_reverse_weibull
from ..inputs.settings import Settings
from .protocol import Scored
from .subjects import Rows, Subjects
from .tables import score_columns, tabulate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Images that are worked on together; Ctrl-C keeps those of the finished groups.
IMAGES_AT_ONCE = 16


@dataclass
class Part:
    """What was found for all the rows of some images, [rows] each.

    Attributes:
        rows: Of one image behind the other, in the order that the table shall have.
        maxima: Batch maxima of each row; none, or at least two.
        at_image: Gradient norms at the images.
        nearest_flip: Distances of the nearest samples whose margin was not positive.
        n_gradients: Gradients spent on each row.
        at_crossing: Whether the radius is where margin / L(R) = R, so that none caps the score.
        estimates: [2, rows], location and upper end of rows that are not fitted; NaN of others.
        columns: More columns; they replace those of the same name.
        flags: Words to add to the rows' flags, "" for none.
        confidence: Of the intervals of predictions that stand in the place of fitted locations;
            None: the fits themselves count.
    """

    rows: Rows
    maxima: list[Floats]
    at_image: Floats
    nearest_flip: Floats
    n_gradients: Ints
    at_crossing: npt.NDArray[np.bool_] | None = None
    estimates: Floats | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    flags: npt.NDArray[np.str_] | None = None
    confidence: float | None = None


def groups(subjects: Subjects, settings: Settings, most: int) -> Iterator[tuple[Rows, Floats]]:
    """Yield the rows of some images after the other, and the gradient norms at the images, [rows].

    Args:
        subjects: The images; their engine is running, and made ready here.
        settings: Whose balls the rows have.
        most: Gradients that are to come at most.
    """
    for start in range(0, len(subjects.scored), IMAGES_AT_ONCE):
        these = subjects.scored[start : start + IMAGES_AT_ONCE]
        at_image = subjects.at_image(settings.balls, of=these)
        subjects.engine.ready(*subjects.tensors(these, subjects.targets[these][:, :1]), most)
        yield subjects.rows(settings.balls, of=these), at_image


def _fit(part: Part, largest: Floats, batch_samples: int) -> ReverseWeibullFit:
    """Fit the rows that were not estimated otherwise."""
    counts = np.array([len(own) for own in part.maxima])
    estimated = np.zeros(len(counts), dtype=bool)
    if part.estimates is not None:
        estimated = ~np.isnan(part.estimates[0])
    fits, places = [], []
    for count in np.unique(counts[~estimated]):
        rows = np.flatnonzero((counts == count) & ~estimated)
        maxima = np.stack([part.maxima[row] for row in rows])
        fits.append(
            fit_reverse_weibull(maxima)
            if part.confidence is None
            else predicted_fit(maxima, batch_samples, part.confidence)
        )
        places.append(rows)
    if part.estimates is not None and estimated.any():
        location, high = part.estimates[:, estimated]
        fits.append(_not_fitted(location, np.minimum(largest[estimated], location), high))
        places.append(np.flatnonzero(estimated))
    return ReverseWeibullFit.concatenate(fits).rows(np.argsort(np.concatenate(places)))


def _not_fitted(location: Floats, low: Floats, high: Floats) -> ReverseWeibullFit:
    none = np.full(len(location), np.nan)
    status = np.full(len(location), "max-fallback")
    return ReverseWeibullFit(location, none, none, none, none, none, low, high, status)


def with_flags(flags: Any, more: npt.NDArray[np.str_]) -> npt.NDArray[np.object_]:
    """Join two columns of flags, commas between."""
    pairs = zip(flags, more, strict=True)
    return np.array([",".join(filter(None, pair)) for pair in pairs], dtype=object)


def _columns(subjects: Subjects, settings: Settings, part: Part) -> dict[str, Any]:
    rows = part.rows
    pairs = zip(part.maxima, part.at_image, strict=True)
    largest = np.array([own.max() if len(own) else norm for own, norm in pairs])
    columns = score_columns(
        margin=subjects.margins(rows.image, rows.target),
        radius=rows.radius,
        max_norm=largest,
        norm_at_image=part.at_image,
        nearest_flip=part.nearest_flip,
        vanishing=subjects.vanishing(rows, largest),
        fit=_fit(part, largest, settings.batch_samples),
    )
    columns |= {
        "n_batches": np.array([len(row) for row in part.maxima]),
        "batch_samples": np.full(len(rows), settings.batch_samples),
        "n_gradients": part.n_gradients,
        "maxima": part.maxima,
    }
    if part.at_crossing is not None:
        columns["capped"] &= ~part.at_crossing
    if part.flags is not None:
        columns["flags"] = with_flags(columns["flags"], part.flags)
    return columns | part.columns


def collect(
    subjects: Subjects, settings: Settings, parts: Iterator[Part], estimator: str
) -> Scored:
    """Build the table from parts as they are found; Ctrl-C leaves those that are finished.

    Args:
        subjects: The images.
        settings: Whose balls the rows have.
        parts: Of some images after the other.
        estimator: What the rows' column of this name shall hold.
    """
    columns = ((part.rows, _columns(subjects, settings, part)) for part in parts)
    return join(subjects, settings, columns, estimator)


def join(
    subjects: Subjects,
    settings: Settings,
    parts: Iterator[tuple[Rows, dict[str, Any]]],
    estimator: str,
) -> Scored:
    """Build the table likewise from rows and their columns."""
    done: list[tuple[Rows, dict[str, Any]]] = []
    complete = True
    try:
        for part in parts:
            done.append(part)
    except KeyboardInterrupt:
        complete = False
    nothing = np.array([], dtype=np.intp)
    rows = [some for some, _ in done] or [subjects.rows(settings.balls, of=nothing)]
    columns = concatenated([each for _, each in done])
    table = tabulate(subjects, settings.balls, Rows.concatenate(rows), columns, estimator)
    return Scored(table, complete)


def concatenated(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the columns of parts, lists and arrays, one behind the other; no parts have none."""
    return {
        name: [value for each in parts for value in each[name]]
        if isinstance(values, list)
        else np.concatenate([each[name] for each in parts])
        for name, values in (parts[0] if parts else {}).items()
    }
