"""Compares the scores of models on the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arguments import check_share, is_several
from ..errors import CleverError
from ..kernels.balls import Norms, check_norm
from ..runs.folder import Source
from . import cautions as doubts
from .cautions import LOWER, UPPER
from .comparison import Comparison
from .pairing import Paired, Side, paired, refuse_other_ids, sides
from .statistics import (
    FEWEST_PAIRS,
    detectable,
    holm,
    mean_intervals,
    median_interval,
    rank_agreement,
    signed_ranks,
)
from .verdict import judge

#: Images of a pair that are listed because their scores differ most.
_MOST_MOVED = 10

_KEY = ("norm", "estimator", "a", "b")
_BY_CLASS = (
    *_KEY, "label", "n", "n_both_right", "accuracy_a", "accuracy_b", "mean_a", "mean_b", "p_value",
    "p_holm",
)  # fmt: skip
_MOVED = (*_KEY, "image_id", "image", "label", "score_a", "score_b", "difference")
#: What tables of brackets have besides: the upper ends.
_CLASS_UPPER = ("upper_mean_a", "upper_mean_b", "upper_p_value", "upper_p_holm")
_MOVED_UPPER = ("upper_a", "upper_b")
_DROPPED = ("image_id", "model", "norm", "estimator", "reason")


def compare(
    a: Source, b: Source, *more: Source, norm: Norms | None = None, confidence: float = 0.95
) -> Comparison:
    """Tell which of two or more models is more robust, on the images that all were scored on.

    Images are paired by `image_id`. Robustness is compared where both models of a pair are right;
    what misclassified images do is told beside it. Of brackets both ends are compared, and the
    verdict says which of them it rests on. The rule of the verdict: docs/guide/comparing.md.

    Args:
        a: A result, a run folder, or a .parquet file of `CleverResult.save`.
        b: Another; of the same model by the other estimator it belongs to the same side.
        more: Others.
        norm: p, or several; default: all that the runs have in common.
        confidence: Of all intervals; 1 - confidence is the level of the tests.

    Returns:
        A Comparison: `pairs` has a row for each norm, estimator and pair of models.

    Raises:
        CleverError: there are not two models, nothing is common to them, or their clip, targets or
            radii differ.

    >>> import clever_ext as cx, torch
    >>> images = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
    >>> def result(factor):
    ...     model = torch.nn.Linear(4, 2).eval()
    ...     with torch.no_grad():
    ...         model.weight.copy_(factor * torch.eye(2, 4))
    ...         model.bias.copy_(torch.tensor([0.5, -0.5]))
    ...     return cx.clever_score(model, images, radius=9, n_batches=4, batch_samples=4)
    >>> found = cx.compare(result(0.5), result(1.0))
    >>> found.pairs[["verdict", "more_robust"]].iloc[0].tolist()
    ['more robust', 'Linear #1']
    """
    confidence = check_share("confidence", confidence)
    models = sides((a, b, *more))
    estimators = _common(models, lambda side: side.runs)
    if not estimators:
        raise CleverError(
            "the runs have no estimator in common: "
            + ", ".join(f"{side.name}: {' and '.join(side.runs)}" for side in models),
            "scores of the same estimator",
            "score one of the models again with the other's --estimator",
        )
    sets: list[Paired] = []
    dropped: list[dict[str, Any]] = []
    for estimator in estimators:
        for p in _norms(models, estimator, norm):
            doubts.refuse_unlike(models, [p], estimator)
            pairs, without = paired(models, p, estimator)
            sets.append(pairs)
            dropped += without
    if not any(len(each.image_ids) for each in sets):
        refuse_other_ids(models, estimators[0])
        reasons = Counter(each["reason"] for each in dropped).most_common(3)
        raise CleverError(
            f"the runs have no scored image in common ({', '.join(r for r, _ in reasons)})",
            "runs over the same images, with the same ids",
            "score the same pictures with each model",
        )
    return _compared(models, sets, dropped, confidence)


def _common(models: Sequence[Side], of: Any) -> list[Any]:
    """Keep what all have, in the order of the first."""
    return [each for each in of(models[0]) if all(each in of(side) for side in models[1:])]


def _norms(models: Sequence[Side], estimator: str, asked: Any) -> list[float]:
    def own(side: Side) -> list[float]:
        return [float(p) for p in side.runs[estimator].table["norm"].dropna().unique()]

    common = _common(models, own)
    given = asked if is_several(asked) else [asked]
    wanted = common if asked is None else [check_norm(p) for p in given]
    missing = [p for p in wanted if p not in common]
    if missing or not common:
        raise CleverError(
            f"norm {missing[0]:g} is not in every run" if missing else "the runs share no norm",
            "a norm of all the runs",
            f"choose among {', '.join(f'{p:g}' for p in common) or 'none'}, or score again",
        )
    return wanted


def _compared(
    models: list[Side], sets: list[Paired], dropped: list[dict[str, Any]], confidence: float
) -> Comparison:
    """Work out all the tables."""
    import pandas as pd

    chosen = list(combinations(range(len(models)), 2))
    alpha = 1 - confidence
    tests = len(chosen) * sum(1 + each.bracket for each in sets)
    pairs = [
        _Pair(each, (models[i], models[j]), (i, j), confidence, alpha / tests)
        for each in sets
        for i, j in chosen
    ]
    _correct([pair.numbers for pair in pairs])
    by_class = [{**pair.key, **found} for pair in pairs for found in pair.classes()]
    _correct(by_class)
    moved = [{**pair.key, **found} for pair in pairs for found in pair.most_moved()]
    brackets = any(each.bracket for each in sets)
    return Comparison(
        names=tuple(side.name for side in models),
        confidence=confidence,
        pairs=pd.DataFrame([pair.row(alpha) for pair in pairs]),
        models=pd.DataFrame([row for each in sets for row in _of_models(each, models)]),
        by_class=pd.DataFrame(by_class, columns=_BY_CLASS + _CLASS_UPPER * brackets),
        moved=pd.DataFrame(moved, columns=_MOVED + _MOVED_UPPER * brackets).astype(
            {"label": "Int64"}
        ),
        dropped=pd.DataFrame(dropped, columns=_DROPPED),
    )


def _correct(rows: list[dict[str, Any]]) -> None:
    """Add to rows that are tests of one family their corrected p-values, of both ends if any."""
    tests = [(row, end) for row in rows for end in ("", "upper_") if f"{end}p_value" in row]
    corrected = holm([row[f"{end}p_value"] for row, end in tests])
    for (row, end), p in zip(tests, corrected, strict=True):
        row[f"{end}p_holm"] = float(p)


class _Pair:
    """Two models under one norm and estimator.

    Args:
        scores: Of all models.
        models: The two.
        which: Their places among all.
        confidence: Of intervals.
        level: At which differences are to be detected.
    """

    def __init__(
        self,
        scores: Paired,
        models: tuple[Side, Side],
        which: tuple[int, int],
        confidence: float,
        level: float,
    ) -> None:
        self.models, self.names = models, (models[0].name, models[1].name)
        self.all = scores.take(list(which), slice(None))
        self.both = self.all.take(slice(None), self.all.right.all(axis=0))
        self.key: dict[str, Any] = {
            "norm": scores.norm,
            "estimator": scores.estimator,
            "a": self.names[0],
            "b": self.names[1],
        }
        self.numbers: dict[str, Any] = self.key | self._numbers(confidence, level)

    def _numbers(self, confidence: float, level: float) -> dict[str, Any]:
        right = self.all.right
        both = right[0] & right[1]
        found: dict[str, Any] = {
            "n": len(self.all.image_ids),
            "n_labelled": int((self.all.labels >= 0).sum()),
            "n_both_right": int(both.sum()),
            "n_only_a_right": int((right[0] & ~right[1]).sum()),
            "n_only_b_right": int((right[1] & ~right[0]).sum()),
        } | _of_lengths(self.all.scores, both, confidence, level)
        if self.all.bracket:
            known = np.isfinite(self.all.uppers).all(axis=0)
            upper = _of_lengths(self.all.uppers[:, known], both[known], confidence, level)
            found["upper_n"] = int((both & known).sum())
            found |= {f"upper_{name}": value for name, value in upper.items()}
        return found

    def row(self, alpha: float) -> dict[str, Any]:
        """Return the numbers with the verdict, its reasons and the cautions."""
        n = self.numbers
        ends = {LOWER: "", UPPER: "upper_"} if self.all.bracket else {"": ""}
        found = [
            *doubts.of_settings(*self.models, self.all.estimator),
            *doubts.of_labels(self.all),
            *(
                caution
                for end, name in ends.items()
                for caution in doubts.of_sizes(
                    *self.models,
                    self.all.estimator,
                    self.all.norm,
                    (n[f"{name}ratio"], n[f"{name}ratio_low"], n[f"{name}ratio_high"]),
                    end,
                )
            ),
            *doubts.of_search(*self.models, self.all.estimator, self.all.norm),
            *doubts.of_scores(self.both, self.names),
        ]
        verdict = judge(n, found, alpha)
        return {
            **self.key,
            "verdict": verdict.word,
            "more_robust": verdict.more_robust,
            "reasons": list(verdict.reasons),
            "cautions": list(dict.fromkeys(caution.text for caution in found)),
            **n,
        }

    def classes(self) -> Iterator[dict[str, Any]]:
        """Compare class by class, where the true classes are known."""
        for label in np.unique(self.all.labels[self.all.labels >= 0]):
            of_all, own = self.all.labels == label, self.both.labels == label
            (a, b) = self.both.scores[:, own]
            accuracy = self.all.right[:, of_all].mean(axis=1)
            uppers = self.both.uppers[:, own]
            uppers = uppers[:, np.isfinite(uppers).all(axis=0)]
            of_upper = _of_class(*uppers) if self.all.bracket else {}
            yield {
                "label": int(label),
                "n": int(of_all.sum()),
                "n_both_right": len(a),
                "accuracy_a": float(accuracy[0]),
                "accuracy_b": float(accuracy[1]),
                **_of_class(a, b),
                **{f"upper_{name}": value for name, value in of_upper.items()},
            }

    def most_moved(self) -> Iterator[dict[str, Any]]:
        """List the images whose two scores differ most."""
        both = self.both
        differences = both.scores[0] - both.scores[1]
        for i in np.argsort(-np.abs(differences), kind="stable")[:_MOST_MOVED]:
            yield {
                "image_id": int(both.image_ids[i]),
                "image": both.images[i],
                "label": int(both.labels[i]) if both.labels[i] >= 0 else None,
                "score_a": float(both.scores[0, i]),
                "score_b": float(both.scores[1, i]),
                "difference": float(differences[i]),
                "upper_a": float(both.uppers[0, i]),
                "upper_b": float(both.uppers[1, i]),
            }


def _of_lengths(
    in_all: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    confidence: float,
    level: float,
) -> dict[str, Any]:
    """Compare two models' scores, or one end of their brackets.

    Args:
        in_all: [2, n], 0 where a model is wrong.
        right: [n], where both are right.
        confidence: Of intervals.
        level: At which differences are to be detected.
    """
    a, b = in_all[:, right]
    differences = a - b
    intervals = mean_intervals(a, b, confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(a == b, 1.0, a / b)  # 0 and 0 are equal
    for name, values in {
        "median_a": a, "median_b": b, "median_difference": differences, "median_ratio": ratios
    }.items():  # fmt: skip
        median = float(np.median(values)) if len(values) else np.nan
        intervals[name] = (median, *median_interval(values, confidence))
    over_all = intervals["difference"]
    if not right.all():
        over_all = mean_intervals(in_all[0], in_all[1], confidence)["difference"]
    found: dict[str, Any] = {}
    for name, three in {**intervals, "all_difference": over_all}.items():
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), three, strict=True))
    p_value, correlation = signed_ranks(differences)
    return found | {
        "share_a_higher": _share(differences > 0),
        "share_b_higher": _share(differences < 0),
        "p_value": p_value,
        "rank_correlation": correlation,
        "kendall_tau": rank_agreement(a, b),
        "detectable": detectable(differences, level),
    }


def _of_class(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean_a": float(a.mean()) if len(a) else np.nan,
        "mean_b": float(b.mean()) if len(b) else np.nan,
        "p_value": signed_ranks(a - b)[0] if len(a) >= FEWEST_PAIRS else np.nan,
    }


def _share(which: npt.NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else float("nan")


def _of_models(scores: Paired, models: list[Side]) -> Iterator[dict[str, Any]]:
    """Describe each model by itself, over the images that all have a score for."""
    for m, side in enumerate(models):
        right = scores.right[m]
        own = scores.scores[m]
        yield {
            "model": side.name,
            "norm": scores.norm,
            "estimator": scores.estimator,
            "n": len(own),
            "accuracy": _share(right) if scores.labelled else np.nan,
            "mean": float(own.mean()) if len(own) else np.nan,  # 0 where it is wrong
            "mean_where_right": float(own[right].mean()) if right.any() else np.nan,
            "median_where_right": float(np.median(own[right])) if right.any() else np.nan,
            **{
                name: _share(getattr(scores, name)[m][right])
                for name in ("capped", "fallback", "masked", "contradicted", "flipped")
            },
            **(_of_uppers(scores.uppers[m], right) if scores.bracket else {}),
        }


def _of_uppers(uppers: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> dict[str, float]:
    known = np.isfinite(uppers)
    own = uppers[known & right]
    return {
        "upper_mean": float(uppers[known].mean()) if known.any() else np.nan,
        "upper_mean_where_right": float(own.mean()) if len(own) else np.nan,
        "upper_median_where_right": float(np.median(own)) if len(own) else np.nan,
        "no_flip": _share(~known[right]),
    }
