"""Pictures of results, drawn with matplotlib (`pip install clever_ext[plot]`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CleverError
from .results import CleverResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _check_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise CleverError(
            "matplotlib is not installed", "matplotlib for pictures", "pip install clever_ext[plot]"
        )


def fit(row: pd.Series[Any], ax: Axes | None = None) -> Axes:
    """Draw one row's batch maxima with the fitted reverse Weibull density and its end point.

    Args:
        row: A row of `CleverResult.table`.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes.
    """
    _check_matplotlib()
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1] if ax is None else ax
    maxima, location = np.asarray(row["maxima"]), row["lipschitz"]
    if len(maxima) == 0 or not np.isfinite(location):
        ax.text(0.5, 0.5, "no fit", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    ax.hist(maxima, bins=min(20, max(4, len(maxima) // 3)), density=True, color="#9ecae1")
    shape, scale = row["shape"], row["scale"]
    if row["status"] == "ok" and scale > 0:
        x = np.linspace(min(maxima.min(), location - 2 * scale), location, 200)[:-1]
        z = (location - x) / scale
        ax.plot(x, shape / scale * z ** (shape - 1) * np.exp(-(z**shape)), color="#08519c", lw=1)
    ax.axvline(location, color="#cb181d", lw=1)
    ax.set_yticks([])
    ax.tick_params(labelsize=6)
    return ax


def radius(
    result: CleverResult,
    norm: float | None = None,
    image_id: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one image's scores against the radius, a curve for each target, with score = R.

    Each radius gives a bound of its own; the best is where a curve leaves the line.

    Args:
        result: Of `clever_score(..., radius=[...])`; one radius, or "auto", gives points.
        norm: Which norm's; None if there is but one.
        image_id: Which image's; None for the first.
        ax: Where to draw; None makes a figure, without pyplot.

    Returns:
        The axes; save with `.figure.savefig(path)`.

    Raises:
        CleverError: matplotlib is missing, or the result has no such rows.
    """
    _check_matplotlib()
    from matplotlib.figure import Figure

    rows = result.table[result.table["maxima"].map(len) > 0]
    image_id = rows["image_id"].min() if image_id is None else image_id
    rows = rows[rows["image_id"] == image_id]
    rows = rows if norm is None else rows[rows["norm"] == norm]
    if rows["norm"].nunique() != 1:
        raise CleverError(
            f"image {image_id} has rows of norms {sorted(rows['norm'].unique().tolist())}",
            "scores of one norm",
            "name an image that was scored, and one of its norms",
        )
    ax = Figure(figsize=(4, 3), layout="constrained").subplots() if ax is None else ax
    for target, curve in rows.groupby("target", sort=False):
        curve = curve.sort_values("radius")
        (line,) = ax.plot(curve["radius"], curve["score"], ".-", lw=1, label=str(target))
        low, high = curve["score_low"], curve["score_high"]
        ax.fill_between(curve["radius"], low, high, color=line.get_color(), alpha=0.15, lw=0)
    ends = [0.0, float(rows["radius"].max())]
    ax.plot(ends, ends, color="#969696", lw=0.8, ls="--")
    ax.set_xlabel("radius R")
    ax.set_ylabel("score (dashed: score = R)")
    ax.legend(title="target", fontsize=6)
    return ax


def search(row: pd.Series[Any], ax: Axes | None = None) -> Axes:
    """Draw how L', the steepest that a search has seen, grew with the gradients that it spent.

    Args:
        row: A row of `CleverResult.table` whose estimator is "steepest".
        ax: Where to draw; None makes a figure.

    Returns:
        The axes.
    """
    _check_matplotlib()
    from matplotlib.figure import Figure

    ax = Figure().add_subplot() if ax is None else ax
    ax.step(row["curve_gradients"], row["curve"], where="post", color="#08519c", lw=1)
    ax.axhline(row["norm_at_image"], color="#9ecae1", lw=1, label="norm at the image")
    ax.set_xscale("log")
    ax.set_xlabel("gradients")
    ax.set_ylabel("steepest seen")
    ax.legend()
    return ax


def contact_sheet(
    result: CleverResult,
    norm: float,
    picture: Callable[[pd.Series[Any]], Any],
    title: Callable[[pd.Series[Any]], str],
    columns: int = 5,
) -> Figure:
    """Draw every image with its smallest score, and the fit of its batch maxima under it.

    Args:
        result: Scores.
        norm: Which norm's.
        picture: From a row to its image [H, W, 3] in [0, 1].
        title: From a row to the words over its image.
        columns: Images in one line.

    Returns:
        A matplotlib figure; save it with `.savefig(path)`.
    """
    _check_matplotlib()
    from matplotlib.figure import Figure

    rows = [row for row in result.smallest() if row["norm"] == norm]
    columns = max(1, min(columns, len(rows)))
    lines = -(-len(rows) // columns)
    # Made without pyplot: it needs no display, and no setting of the user's is touched.
    figure = Figure(figsize=(2.4 * columns, 3.6 * lines), layout="constrained")
    grid = figure.subplots(2 * lines, columns, height_ratios=[3, 1.2] * lines, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, row in enumerate(rows):
        above, below = grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        above.imshow(picture(row))
        above.set_title(title(row), fontsize=7)
        below.set_axis_on()
        fit(row, below)
    return figure
