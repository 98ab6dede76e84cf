"""Joins runs of all estimators and what attacks have found: a row for each image, target, norm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..findings import Finding
from ..results.result import CleverResult
from .attacking import attackable
from .attacks import ATTACKS
from .figures import NEAR
from .validation import BRACKET, OTHER_NORMS, Validation

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ["image_id", "target", "norm"]
_OF_ROW = ["image_id", "image", "label", "predicted", "target", "norm", "margin", "status", "flags"]


def assembled(
    runs: Mapping[str, CleverResult],
    found: Sequence[pd.DataFrame],
    findings: Sequence[Finding],
) -> Validation:
    """Make a validation.

    Args:
        runs: By the names of their estimators.
        found: As `Attacking.found` yields it.
        findings: What is left out, and what went wrong.
    """
    import pandas as pd

    rows = (
        runs["steepest"]
        .table[[*_OF_ROW, "score", "nearest_flip", "n_gradients"]]
        .rename(
            columns={"score": "lower", "nearest_flip": "upper", "n_gradients": "lower_gradients"}
        )
    )
    for name, column in (("first-order", "first_order"), ("clever", "clever")):
        of_run = (
            runs[name]
            .table[[*_KEYS, "score", "n_gradients"]]
            .rename(columns={"score": column, "n_gradients": f"{column}_gradients"})
        )
        rows = rows.merge(of_run.drop_duplicates(_KEYS), on=_KEYS, how="left")
    rows["attacked"] = attackable(rows)
    all_found = pd.concat(found, ignore_index=True) if found else None
    names = []
    if all_found is not None:
        own = all_found["by"] == all_found["norm"]
        by_attack = all_found[own].pivot(index=_KEYS, columns="attack", values="distance")
        names = [each.name for each in ATTACKS if each.name in by_attack]
        others = all_found[~own].groupby(_KEYS)["distance"].min().rename(OTHER_NORMS)
        rows = rows.join(by_attack[names], on=_KEYS).join(others, on=_KEYS)
    else:
        rows[OTHER_NORMS] = math.nan
    distances = rows[["upper", *names, OTHER_NORMS]].fillna(math.inf)
    rows["nearest"] = distances.min(axis=1).where(rows["attacked"])
    by = distances.rename(columns={"upper": BRACKET}).idxmin(axis=1)
    rows["nearest_by"] = by.where(np.isfinite(rows["nearest"]), "")
    return Validation(rows, _attacks(rows, all_found), [*findings, *_of_targets(rows)])


def _of_targets(rows: pd.DataFrame) -> list[Finding]:
    """Tell of rows that not all estimators have: their nearest classes differ."""
    spent = rows.loc[rows["attacked"], ["first_order_gradients", "clever_gradients"]]
    n = int(spent.isna().any(axis=1).sum())
    if not n:
        return []
    said = (
        f"{n} rows lack a score of first order or of the paper's: they have other nearest classes"
    )
    fix = "give more --max-gradients, of which the bracket takes half to look for these classes"
    return [Finding("model", said, fix)]


def _attacks(rows: pd.DataFrame, found: pd.DataFrame | None) -> pd.DataFrame:
    """Say of each attack and norm what came of it."""
    import pandas as pd

    told = []
    groups = (
        ()
        if found is None
        else found[found["by"] == found["norm"]].groupby(["norm", "attack"], sort=False)
    )
    kinds = {each.name: each for each in ATTACKS}
    for (p, name), group in groups:
        attack = kinds[str(name)]
        of_norm = rows[rows["norm"] == p].set_index(["image_id", "target"])["nearest"]
        nearest = of_norm.reindex(group.set_index(["image_id", "target"]).index).to_numpy()
        distance = group["distance"].to_numpy()
        flips = np.isfinite(distance)
        ratio = distance[flips] / nearest[flips]
        told.append({
            "norm": p,
            "attack": name,
            "library": group["library"].iloc[0],
            "by_gradients": attack.by_gradients,
            "rows": len(group),
            "flips": int(flips.sum()),
            "near": int((ratio <= 1 + NEAR).sum()),
            "ratio": float(np.median(ratio)) if len(ratio) else math.nan,
            "seconds": float(group["seconds"].sum()),
        })  # fmt: skip
    columns = ["norm", "attack", "library", "by_gradients", "rows", "flips", "near", "ratio"]
    return pd.DataFrame(told, columns=[*columns, "seconds"])
