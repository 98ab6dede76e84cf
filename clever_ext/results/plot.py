"""Pictures of results, drawn with matplotlib (`pip install clever_ext[plot]`).

A notebook shows what they return, where it is the last thing in a cell.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from . import curves
from .brackets import is_bracket
from .result import CleverResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: From so many times on, an axis has labels of decades alone.
_FEW_DECADES = 300
#: Of scores that are drawn against a truth, in their order.
_MARKERS, _COLORS = ("o", "^", "x", "v"), ("#969696", "#08519c", "#d95f0e", "#6baed6")


def _check_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise CleverError(
            "matplotlib is not installed", "matplotlib for pictures", "pip install clever_ext[plot]"
        )


def _axes(ax: Axes | None) -> Axes:
    """Return the axes given, or those of a new figure."""
    _check_matplotlib()
    from .shown import ShownAxes, ShownFigure

    if ax is not None:
        return ax
    figure = ShownFigure(figsize=(4, 3), layout="constrained")
    return figure.add_subplot(axes_class=ShownAxes)


def _no_fit(ax: Axes) -> Axes:
    ax.text(0.5, 0.5, "no fit", ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
    return ax


def fit(row: pd.Series[Any], ax: Axes | None = None) -> Axes:
    """Draw a row's batch maxima with the fitted reverse Weibull density and the end point.

    The band around the end point is its 95 % interval, as far as the score's tells it.

    Args:
        row: A row of `CleverResult.table`.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes; save with `.figure.savefig(path)`.
    """
    ax = _axes(ax)
    maxima, location = np.asarray(row["maxima"]), row["lipschitz"]
    if len(maxima) == 0 or not np.isfinite(location):
        return _no_fit(ax)
    counts, edges = curves.histogram(maxima)
    ax.stairs(counts / (counts.sum() * np.diff(edges)), edges, fill=True, color="#9ecae1")
    law = curves.law(row)
    if law is not None:
        ax.plot(*curves.density(law, maxima), color="#08519c", lw=1)
    ax.axvline(location, color="#cb181d", lw=1)
    limits = ax.get_xlim()
    interval = curves.location_interval(row)
    if np.isfinite(interval.high):
        ax.axvspan(*interval, color="#cb181d", alpha=0.12, lw=0)
        # An interval may reach many times as far as the data, which shall stay readable.
        ax.set_xlim(limits[0], min(max(limits[1], interval.high), 2 * limits[1] - limits[0]))
    ax.set_yticks([])
    ax.tick_params(labelsize=6)
    return ax


def qq(row: pd.Series[Any], ax: Axes | None = None) -> Axes:
    """Draw a row's batch maxima against the fitted law's quantiles: on the line the fit is good.

    Args:
        row: A row of `CleverResult.table`.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes.
    """
    ax = _axes(ax)
    law = curves.law(row)
    if law is None:
        return _no_fit(ax)
    points = curves.quantiles(law, row["maxima"])
    ends = [points.y[0], points.y[-1]]
    ax.plot(ends, ends, color="#969696", lw=0.8, ls="--")
    ax.plot(*points, ".", color="#08519c", ms=4)
    ax.set_xlabel("quantile of the fitted law")
    ax.set_ylabel("batch maximum")
    return ax


def curve(
    results: CleverResult | Mapping[str, CleverResult],
    norm: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of images whose score is above eps, a curve for each norm and result.

    This is how robust accuracy is drawn: misclassified images are lost from eps = 0 on.

    Args:
        results: Scores, or several by the names that the legend shall give them.
        norm: Which norm's; None for all, on a logarithmic axis if there are several, since their
            units differ.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes.

    Raises:
        CleverError: matplotlib is missing, or no result has scores of the norm.
    """
    ax = _axes(ax)
    named = {"": results} if isinstance(results, CleverResult) else results
    lines = [
        (name, p, scores)
        for name, result in named.items()
        for p, scores in result.scores.items()
        if norm is None or p == norm
    ]
    norms = {p for _, p, _ in lines}
    if not norms:
        raise CleverError(
            "no result has scores" + (f" of the norm {norm:g}" if norm is not None else ""),
            "a norm that was scored",
            "see result.scores",
        )
    for name, p, scores in lines:
        of_norm = f"p = {p:g}" if len(norms) > 1 or not name else ""
        label = ", ".join(filter(None, [name, of_norm]))
        ax.step(*curves.share_above(scores), where="post", lw=1, label=label)
    if len(norms) > 1:
        ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("eps" if len(norms) > 1 else f"eps (p = {norms.pop():g})")
    ax.set_ylabel("share of images above eps")
    ax.legend(fontsize=7)
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
        ax: Where to draw; None makes a figure.

    Returns:
        The axes; save with `.figure.savefig(path)`.

    Raises:
        CleverError: matplotlib is missing, or the result has no such rows.
    """
    ax = _axes(ax)
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
    for target, group in rows.groupby("target", sort=False):
        own = group.sort_values("radius")
        (line,) = ax.plot(own["radius"], own["score"], ".-", lw=1, label=str(target))
        low, high = own["score_low"], own["score_high"]
        ax.fill_between(own["radius"], low, high, color=line.get_color(), alpha=0.15, lw=0)
    ends = [0.0, float(rows["radius"].max())]
    ax.plot(ends, ends, color="#969696", lw=0.8, ls="--")
    ax.set_xlabel("radius R")
    ax.set_ylabel("score (dashed: score = R)")
    ax.legend(title="target", fontsize=6)
    return ax


def bracket(result: CleverResult, norm: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the two ends of each image as an upright line, images sorted by the lower end.

    A dot is the lower end, a dash the upper one. Where no flip was found the line is open: it goes
    on to the top, with an arrow. Several norms stand side by side, on a logarithmic axis, since
    their units differ; what is 0, as for misclassified images, stands at its foot.

    Args:
        result: Brackets: of `clever_score(..., estimator="steepest", radius="auto")`.
        norm: Which norm's; None for all.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes; save with `.figure.savefig(path)`.

    Raises:
        CleverError: matplotlib is missing, or the result has no brackets of the norm.

    >>> import clever_ext as cx, torch
    >>> model, images = torch.nn.Linear(4, 3).eval(), torch.rand(5, 4)
    >>> result = cx.clever_score(model, images, estimator="steepest", radius="auto")
    >>> bracket(result).get_ylabel()
    'distance (p = 2)'
    """
    ax = _axes(ax)
    norms = [p for p in result.scores if norm is None or p == norm]
    if not is_bracket(result.metadata) or not norms:
        raise CleverError(
            "the result has no brackets" + (f" of the norm {norm:g}" if norm is not None else ""),
            "two ends of each image",
            'score with estimator="steepest" and radius="auto"',
        )
    parts = [_sorted_ends(result, p) for p in norms]
    ends = np.concatenate(parts, axis=1)
    known = ends[np.isfinite(ends) & (ends > 0)]
    low, high = (known.min() / 1.5, 1.3 * known.max()) if len(known) else (0.1, 1.0)
    begin = 0
    middles: list[float] = []
    for lower, upper in parts:
        x = begin + np.arange(len(lower))
        shown = lower.clip(min=low) if len(norms) > 1 else lower
        open_ = np.isposinf(upper)
        top = np.where(open_, high, upper.clip(min=shown))
        lines = ax.vlines(x, shown, top, lw=1.5, color=f"C{len(middles)}")
        of_norm: dict[str, Any] = {"color": lines.get_color(), "ls": "", "clip_on": False}
        ax.plot(x, shown, ".", ms=4, **of_norm)
        for of, mark, size in ((~open_, "_", 5), (open_, "^", 4)):
            if of.any():  # an empty line that is not clipped is at the corner of the figure
                ax.plot(x[of], top[of], mark, ms=size, **of_norm)
        middles.append(begin + (len(lower) - 1) / 2)
        begin += len(lower) + max(1, len(lower) // 10)
    if len(norms) > 1:
        ax.set_yscale("log")
        ax.set_xticks(middles, [f"p = {p:g}" for p in norms])
    else:
        ax.set_xticks([])
    ax.set_ylim(low if len(norms) > 1 else 0, high)
    ax.set_xlabel("images, by the lower end")
    ax.set_ylabel("distance" if len(norms) > 1 else f"distance (p = {norms[0]:g})")
    return ax


def _sorted_ends(result: CleverResult, norm: float) -> npt.NDArray[np.float64]:
    """Return lower and upper ends [2, n] of the images that have both, by the lower one."""
    ends = np.stack([result.scores[norm], result.flips[norm]])
    ends = ends[:, ~np.isnan(ends).any(axis=0)]
    return ends[:, np.lexsort(ends[::-1])]


def against(
    truth: npt.NDArray[np.float64],
    scores: Mapping[str, npt.NDArray[np.float64]],
    ax: Axes | None = None,
) -> Axes:
    """Draw scores of pictures against a truth, both logarithmic: above the line they are too high.

    Args:
        truth: [N], such as distances of the nearest flips; what is 0 or not finite is left out.
        scores: [N] each, by the names that the legend shall give them.
        ax: Where to draw; None makes a figure.

    Returns:
        The axes; save with `.figure.savefig(path)`.

    Raises:
        CleverError: matplotlib is missing.

    >>> import numpy as np
    >>> against(np.array([1.0, 2.0]), {"lower": np.array([0.8, 1.9])}).get_xscale()
    'log'
    """
    ax = _axes(ax)
    from matplotlib import ticker  # _axes says what to do where it is missing

    known = np.isfinite(truth) & (truth > 0)
    for marker, color, (name, values) in zip(_MARKERS, _COLORS, scores.items(), strict=False):
        ax.plot(truth[known], values[known], marker, color=color, ms=5, alpha=0.85, label=name)
    if known.any():
        ends = [truth[known].min() / 1.5, truth[known].max() * 1.5]
        ax.plot(ends, ends, "-", color="black", lw=0.8, zorder=0)
    ax.set(xscale="log", yscale="log", ylabel="score")
    for axis in (ax.xaxis, ax.yaxis):  # matplotlib's own labels of less than a decade overlap
        low, high = axis.get_view_interval()
        axis.set_major_locator(
            ticker.LogLocator(subs=(1, 2, 5) if high < _FEW_DECADES * low else (1,))
        )
        axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    ax.legend(fontsize=7)
    ax.grid(alpha=0.3)
    return ax


def search(row: pd.Series[Any], ax: Axes | None = None) -> Axes:
    """Draw how L', the steepest that a search has seen, grew with the gradients that it spent.

    Args:
        row: A row of `CleverResult.table` whose estimator is "steepest".
        ax: Where to draw; None makes a figure.

    Returns:
        The axes.
    """
    ax = _axes(ax)
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
    from .shown import ShownFigure

    rows = [row for row in result.smallest() if row["norm"] == norm]
    columns = max(1, min(columns, len(rows)))
    lines = -(-len(rows) // columns)
    figure = ShownFigure(figsize=(2.4 * columns, 3.6 * lines), layout="constrained")
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
