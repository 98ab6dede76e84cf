"""What the page draws, as numbers: its scripts only place them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..results import curves
from .reading import Run
from .summary import RunSummary

if TYPE_CHECKING:
    import pandas as pd

#: Points of a line or cloud in a row's figures, and of a curve over all images.
_POINTS_OF_ROW, _POINTS_OF_RUN = 60, 400


def rounded(values: npt.ArrayLike, span: float) -> list[float]:
    """Round numbers to a thousandth of what the picture shows, so that the file stays small.

    Args:
        values: [n], finite.
        span: Length of the axis, in the same units.
    """
    array = np.asarray(values, dtype=np.float64)
    if not (math.isfinite(span) and span > 0):
        return list(array.tolist())
    digits = 3 - math.floor(math.log10(span))
    return [float(value) for value in np.round(array, digits)]


def of_row(row: pd.Series[Any]) -> dict[str, Any]:
    """Return what is drawn of a row: its fit, or its search; nothing where there is neither."""
    maxima = np.asarray(row["maxima"], dtype=np.float64)
    if len(row["curve"]):
        return {"search": _search(row)}
    if len(maxima) == 0 or not np.isfinite(maxima).all() or np.ptp(maxima) == 0:
        return {}
    return {"fit": _fit(row, maxima)}


def _search(row: pd.Series[Any]) -> dict[str, Any]:
    steepest = curves.thinned(np.asarray(row["curve"]), _POINTS_OF_ROW)
    spent = curves.thinned(np.asarray(row["curve_gradients"]), _POINTS_OF_ROW)
    top = float(steepest[-1])
    return {
        "gradients": [int(n) for n in spent],
        "steepest": rounded(steepest, top),
        "at_image": rounded([row["norm_at_image"]], top)[0],
    }


def _fit(row: pd.Series[Any], maxima: npt.NDArray[np.float64]) -> dict[str, Any]:
    counts, edges = curves.histogram(maxima)
    span = float(np.ptp(maxima))
    interval = curves.location_interval(row)
    drawn: dict[str, Any] = {
        "counts": counts.tolist(),
        "edges": rounded([edges[0], edges[-1]], span),
        "location": rounded([row["lipschitz"]], span)[0],
        "interval": [rounded([end], span)[0] if np.isfinite(end) else None for end in interval],
    }
    law = curves.law(row)
    if law is not None:
        # In batches for each bin, as the histogram beside it.
        line = curves.density(law, maxima, _POINTS_OF_ROW)
        batches = line.y * len(maxima) * (edges[1] - edges[0])
        drawn["density"] = [rounded(line.x, span), rounded(batches, float(batches.max()))]
        points = curves.quantiles(law, maxima, _POINTS_OF_ROW)
        drawn["quantiles"] = [rounded(points.x, span), rounded(points.y, span)]
    return drawn


def of_norms(runs: Sequence[Run], summaries: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return for each norm the boxes and the curves of the runs that have scores in it."""
    norms = dict.fromkeys(own.norm for summary in summaries for own in summary.norms)
    drawn = []
    for norm in norms:
        series = []
        for run, summary in zip(runs, summaries, strict=True):
            for own in summary.norms:
                if own.norm != norm or own.images == 0:
                    continue
                series.append(
                    {
                        "run": run.name,
                        "box": own.box,
                        "mean": [own.mean_low, own.mean, own.mean_high],
                    }
                    | _shares(run, norm)
                )
        drawn.append({"norm": f"{norm:g}", "series": series})
    return drawn


def _shares(run: Run, norm: float) -> dict[str, list[float]]:
    """Return the share of images above each eps; of brackets that of the upper ends besides."""
    scores, result = run.result.scores[norm], run.result
    if run.brackets:
        band = curves.band_above(scores, result.flips[norm], _POINTS_OF_RUN)
        eps, shares = band.x, {"share": band.low, "upper": band.high}
    else:
        line = curves.share_above(scores, _POINTS_OF_RUN)
        eps, shares = line.x, {"share": line.y}
    drawn = {name: [round(float(y), 4) for y in values] for name, values in shares.items()}
    return {"eps": rounded(eps, float(eps[-1])), **drawn}
