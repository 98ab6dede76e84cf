"""What a run comes to, in a few numbers for each norm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..results.brackets import is_bracket
from ..results.result import CleverResult
from ..runs.description import findings_in

if TYPE_CHECKING:
    import pandas as pd

#: Resamples behind the interval of a mean.
_RESAMPLES = 2000
#: Values of resamples that are in memory together.
_DRAWN_AT_ONCE = 2**20


@dataclass(frozen=True)
class NormSummary:
    """The scores of a run's images in one norm, in the units of the images.

    Misclassified images count with their score of 0, images without a score do not.

    Attributes:
        norm: p.
        images: How many have a score.
        mean: Of the scores.
        mean_low: 95 % bootstrap interval of the mean over images ...
        mean_high: ... and its upper end.
        low: 5 % quantile.
        first_quartile: 25 % quantile.
        median: 50 % quantile.
        third_quartile: 75 % quantile.
        high: 95 % quantile.
        capped: Share of the scored images that are not misclassified whose score is R: the radius
            was too small to tell how robust they are. Of brackets: no slope was found.
        upper_median: Of brackets, the median of the upper ends; inf where no flip is known of half
            of the images.
        no_flip: Of brackets, the share of the scored images that no flip is known of.
    """

    norm: float
    images: int
    mean: float
    mean_low: float
    mean_high: float
    low: float
    first_quartile: float
    median: float
    third_quartile: float
    high: float
    capped: float
    upper_median: float | None = None
    no_flip: float | None = None

    @property
    def box(self) -> list[float]:
        """The five quantiles in rising order."""
        return [self.low, self.first_quartile, self.median, self.third_quartile, self.high]


@dataclass(frozen=True)
class RunSummary:
    """A run in numbers.

    Attributes:
        images: All of them.
        scored: Those with a score in every norm, misclassified ones not among them.
        misclassified: Those whose score is 0 for that reason.
        errors: Those that could not be read or scored.
        accuracy: Share of the labelled images that the model gets right; None without labels.
        statuses: How many rows have each status; a row is an image and norm.
        flags: How many rows have each flag.
        norms: In the order of the run.
        warnings: What was seen of the model, the pictures and their labels that may not be meant.
    """

    images: int
    scored: int
    misclassified: int
    errors: int
    accuracy: float | None
    statuses: dict[str, int]
    flags: dict[str, int]
    norms: list[NormSummary]
    warnings: list[str]


def summarise(result: CleverResult) -> RunSummary:
    """Sum up a run; each image and norm counts once, with its smallest score over the targets."""
    rows = result.decisive()
    by_image = rows.groupby("image_id", sort=False)
    status = {name: (rows["status"] == name) for name in ("misclassified", "error")}
    images = {name: int(rows["image_id"][mask].nunique()) for name, mask in status.items()}
    without = status["misclassified"] | status["error"] | rows["score"].isna()
    first = by_image.first()
    known = first["label"].notna() & first["predicted"].notna()
    right = (first["label"] == first["predicted"])[known]
    flags = Counter(flag for text in rows["flags"] for flag in text.split(",") if flag)
    return RunSummary(
        images=len(first),
        scored=len(first) - int(rows["image_id"][without].nunique()),
        misclassified=images["misclassified"],
        errors=images["error"],
        accuracy=float(right.mean()) if len(right) else None,
        statuses={str(name): int(n) for name, n in rows["status"].value_counts().items()},
        flags=dict(flags.most_common()),
        norms=[
            _of_norm(float(str(norm)), own, result)
            for norm, own in rows[rows["norm"].notna()].groupby("norm", sort=False)
        ],
        warnings=[str(each) for each in findings_in(result)],
    )


def _of_norm(norm: float, rows: pd.DataFrame, result: CleverResult) -> NormSummary:
    scores = rows["score"].dropna().to_numpy(dtype=np.float64)
    answered = rows[(rows["status"] != "misclassified") & rows["score"].notna()]
    low, high = mean_interval(scores)
    uppers = result.flips[norm][~np.isnan(result.scores[norm])]
    of_ends: dict[str, float] = {}
    if is_bracket(result.metadata) and len(uppers):
        of_ends["upper_median"] = float(np.quantile(uppers, 0.5, method="higher"))
        of_ends["no_flip"] = float(np.isposinf(uppers).mean())
    five = np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(scores) else [np.nan] * 5
    return NormSummary(
        norm=norm,
        images=len(scores),
        mean=float(scores.mean()) if len(scores) else float("nan"),
        mean_low=low,
        mean_high=high,
        low=float(five[0]),
        first_quartile=float(five[1]),
        median=float(five[2]),
        third_quartile=float(five[3]),
        high=float(five[4]),
        capped=float(answered["capped"].mean()) if len(answered) else 0.0,
        **of_ends,
    )


def mean_interval(values: npt.ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean; the same for the same values.

    Args:
        values: [n]; of none, both ends are NaN.
        seed: Of the resampling.

    >>> low, high = mean_interval(np.arange(100.0))
    >>> bool(low < 49.5 < high)
    True
    """
    array, random = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    n = len(array)
    if n == 0:
        return float("nan"), float("nan")
    at_once = max(1, _DRAWN_AT_ONCE // n)
    means = [
        array[random.integers(0, n, (min(at_once, _RESAMPLES - start), n))].mean(axis=1)
        for start in range(0, _RESAMPLES, at_once)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def facts(result: CleverResult) -> dict[str, str]:
    """Say how a run was made, in words; what its metadata lacks is left out."""
    metadata: dict[str, Any] = result.metadata
    settings, data = metadata.get("settings", {}), metadata.get("data", {})
    model = metadata.get("model", {})
    said = {
        "model": model.get("name"),
        "weights (SHA-256)": model.get("digest"),
        "pictures": data.get("path") or data.get("folder"),
        "selection": _words(data.get("selection")),
        "listing (SHA-256)": data.get("listing_sha256"),
        "preprocessing": _words(metadata.get("preprocessing")),
        "estimator": settings.get("estimator"),
        "norms": ", ".join(f"p = {p}" for p in settings.get("norms", [])),
        "radii": ", ".join(_radius(radius) for radius in settings.get("radii", [])),
        "targets": _words(settings.get("targets")),
        "gradients of a row": _gradients(settings),
        "race": "yes" if settings.get("race") else None,
        "clip": _words(settings.get("clip")),
        "seed": _words(settings.get("seed")),
        "dtype": settings.get("dtype"),
        "device": metadata.get("device"),
        "versions": _words(metadata.get("versions")),
        "made": metadata.get("created"),
        "complete": "no: the run was stopped" if metadata.get("complete") is False else None,
    }
    return {name: str(value) for name, value in said.items() if value}


def _radius(radius: Any) -> str:
    return " or ".join(f"{r:g}" for r in radius) if isinstance(radius, list) else _words(radius)


def _words(value: Any) -> str:
    """Write a value of JSON for a reader."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(own)}" for name, own in value.items() if own is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(own) for own in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _gradients(settings: dict[str, Any]) -> str:
    if settings.get("max_gradients"):
        goal = settings.get("tolerance")
        until = f", until the interval is within {goal:.0%} of the score" if goal else ""
        return f"at most {settings['max_gradients']:,}{until}"
    if "n_batches" not in settings:
        return ""
    n_batches, batch_samples = settings["n_batches"], settings["batch_samples"]
    return f"{n_batches:,} batches of {batch_samples:,} samples"
