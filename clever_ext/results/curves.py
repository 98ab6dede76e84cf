"""The numbers behind the pictures of results: what `plot` draws and the report's page too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..evt.reverse_weibull import fit_reverse_weibull
from .result import PREDICTED

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)


class Curve(NamedTuple):
    """Points of a line or of a cloud: x [n] and y [n]."""

    x: Floats
    y: Floats


class Band(NamedTuple):
    """A band between two lines over the same x [n]: low [n] and high [n]."""

    x: Floats
    low: Floats
    high: Floats


class Law(NamedTuple):
    """A reverse Weibull law: location and scale in the units of the maxima, and shape."""

    location: float
    scale: float
    shape: float


class Interval(NamedTuple):
    """A 95 % interval; an end is NaN where it is not known."""

    low: float
    high: float


def thinned(values: npt.NDArray[_T], most: int) -> npt.NDArray[_T]:
    """Take at most so many of some values in order, evenly, the first and the last among them.

    Args:
        values: [n].
        most: At least 2.
    """
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(np.intp)]


def law(row: pd.Series[Any]) -> Law | None:
    """Return the reverse Weibull law of a row's batch maxima; None where none was fitted or used.

    A row of the adaptive estimator holds a prediction in the place of the end point: what many more
    batches would give. Its maxima are fitted again, for the law that they follow themselves.

    Args:
        row: A row of `CleverResult.table`.
    """
    if row["status"] != "ok" or len(row["maxima"]) == 0:
        return None
    if row["estimator"] != PREDICTED:
        return Law(float(row["lipschitz"]), float(row["scale"]), float(row["shape"]))
    fit = fit_reverse_weibull(row["maxima"])
    if fit.status != "ok":
        return None
    return Law(float(fit.location), float(fit.scale), float(fit.shape))


def histogram(maxima: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], Floats]:
    """Count batch maxima in bins of equal width.

    Args:
        maxima: [n], finite.

    Returns:
        Counts [bins], edges [bins + 1] in the units of the maxima.
    """
    array = np.asarray(maxima, dtype=np.float64)
    low, high = float(array.min()), float(array.max())
    # Bins need numbers between them: numbers that differ in their last bits get a wider axis.
    least = 1e-9 * abs(high)
    if high - low < least:
        low, high = low - least, high + least
    bins = min(20, max(4, len(array) // 3))
    counts, edges = np.histogram(array, bins=bins, range=(low, high))
    return counts, edges


def density(fitted: Law, maxima: npt.ArrayLike, points: int = 200) -> Curve:
    """Evaluate a law's density from where it begins to matter to its end point.

    Args:
        fitted: The law.
        maxima: [n], that it was fitted to.
        points: How many.

    Returns:
        Batch maxima, and the probability for each unit of them.
    """
    low = min(float(np.min(maxima)), fitted.location - 2 * fitted.scale)
    x = np.linspace(low, fitted.location, points + 1)[:-1]
    z = (fitted.location - x) / fitted.scale
    return Curve(
        x, fitted.shape / fitted.scale * z ** (fitted.shape - 1) * np.exp(-(z**fitted.shape))
    )


def quantiles(fitted: Law, maxima: npt.ArrayLike, most: int | None = None) -> Curve:
    """Pair batch maxima with a law's quantiles of the same ranks; on the diagonal the fit is good.

    The i-th smallest of n stands at the probability (i - 1/2) / n.

    Args:
        fitted: The law.
        maxima: [n], that it was fitted to.
        most: Points to return at most, evenly spaced in rank; None: all of them.

    Returns:
        The law's quantiles, and the maxima in rising order.

    >>> quantiles(Law(location=1.0, scale=1.0, shape=2.0), [0.2, 0.1]).y.tolist()
    [0.1, 0.2]
    """
    ordered = np.sort(np.asarray(maxima, dtype=np.float64))
    p = (np.arange(len(ordered)) + 0.5) / len(ordered)
    of_law = fitted.location - fitted.scale * (-np.log(p)) ** (1 / fitted.shape)
    most = len(ordered) if most is None else most
    return Curve(thinned(of_law, most), thinned(ordered, most))


def location_interval(row: pd.Series[Any]) -> Interval:
    """Find the interval of a row's end point in that of its score, which is margin / end point.

    Where an end of the score's interval is the radius, all that is left of the end point's is that
    it lies above the largest maximum: that one is the low end, and a high end is not known.

    Args:
        row: A row of `CleverResult.table`.
    """
    if len(row["maxima"]) == 0 or not row["margin"] > 0:
        return Interval(np.nan, np.nan)
    low, high = row["score_high"], row["score_low"]
    return Interval(
        float(row["margin"] / low if low < row["radius"] else np.max(row["maxima"])),
        float(row["margin"] / high if 0 < high < row["radius"] else np.nan),
    )


def share_above(scores: npt.ArrayLike, most: int | None = None) -> Curve:
    """Compute the share of images whose score is above eps, as robust accuracy is drawn.

    The share is constant from each point's eps up to the next one's. It begins at eps = 0, where
    images of score 0 (the misclassified ones) are already lost.

    Args:
        scores: [n]; those that are NaN are left out.
        most: Points to return at most, evenly spaced in the scores' ranks; None: all of them.

    Returns:
        eps in the units of the images, in rising order, and shares in [0, 1].

    >>> curve = share_above([0.0, 0.5, 0.5, 2.0])
    >>> curve.x.tolist(), curve.y.tolist()
    ([0.0, 0.5, 2.0], [0.75, 0.25, 0.0])
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    ordered = ordered[~np.isnan(ordered)]
    if len(ordered) == 0:
        return Curve(np.empty(0), np.empty(0))
    x = np.unique(np.concatenate([[0.0], ordered]))
    x = x if most is None else thinned(x, most)
    return Curve(x, 1 - np.searchsorted(ordered, x, side="right") / len(ordered))


def band_above(lower: npt.ArrayLike, upper: npt.ArrayLike, most: int | None = None) -> Band:
    """Compute the shares of images whose lower end, and whose upper end, is above eps.

    Both are constant from each point's eps up to the next one's. The upper share is what no known
    attack takes; the lower one what the estimate expects to last.

    Args:
        lower: [n], of brackets.
        upper: [n], inf where none is known. An image with a NaN is left out.
        most: As for `share_above`.

    Returns:
        eps in the units of the images, in rising order, and both shares in [0, 1].

    >>> band = band_above([0.0, 1.0], [0.0, float("inf")])
    >>> band.x.tolist(), band.low.tolist(), band.high.tolist()
    ([0.0, 1.0], [0.5, 0.0], [0.5, 0.5])
    """
    ends = np.stack([np.asarray(each, dtype=np.float64) for each in (lower, upper)])
    ends = np.sort(ends[:, ~np.isnan(ends).any(axis=0)], axis=1)
    n = ends.shape[1]
    if n == 0:
        return Band(np.empty(0), np.empty(0), np.empty(0))
    x = np.unique(np.concatenate([[0.0], ends[np.isfinite(ends)]]))
    x = x if most is None else thinned(x, most)
    low, high = (1 - np.searchsorted(each, x, side="right") / n for each in ends)
    return Band(x, low, high)
