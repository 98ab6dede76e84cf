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
