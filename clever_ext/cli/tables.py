"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..results.glossary import MEANING
from .terminal import (
    Column,
    at_the_end,
    in_the_middle,
    print_findings,
    say,
    sentence,
    show,
    table,
    width_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..results.result import CleverResult

#: Pictures up to which a run's table is printed, and reasons for errors that are.
_FEW, _REASONS = 40, 3


def _name_of(class_names: Sequence[str] | None) -> Callable[[Any], str]:
    import pandas as pd

    def name(number: Any) -> str:
        if pd.isna(number):
            return ""
        return class_names[int(number)] if class_names else str(number)

    return name


def print_scores(
    result: CleverResult, class_names: Sequence[str] | None = None, path: Path | None = None
) -> None:
    """Print for each image and norm its smallest score over the targets, and what a score means.

    Args:
        result: Scores.
        class_names: Name of each logit, or None for numbers.
        path: The folder of the run that they are from, if they are from one.
    """
    from ..results.brackets import decisive_with_upper

    name = _name_of(class_names)
    several = result.table["norm"].nunique() > 1
    beside = _beside(result)
    columns = [
        Column("picture", cut=in_the_middle, least=20),
        Column("predicted", cut=at_the_end, spare=3),
        Column("target", cut=at_the_end, spare=2),
        Column("norm", spare=0 if several else 5),
        Column("margin", right=True, spare=4),
        Column("score"),
        *(column for column, _ in beside),
        Column("status", cut=at_the_end),
    ]
    rows = []
    for _, row in decisive_with_upper(result).iterrows():
        picture = row["image"] or str(row["image_id"])
        if row["status"] == "error":
            rows.append([picture, *[""] * (len(columns) - 2), "error"])
            continue
        rows.append(
            [
                picture,
                name(row["predicted"]),
                name(row["target"]),
                f"{row['norm']:g}",
                f"{row['margin']:.3f}",
                f"{row['score']:.4g}" + (" = R" if row["capped"] else ""),
                *(written(row) for _, written in beside),
                ", ".join(filter(None, [row["status"], row["flags"]])),
            ]
        )
    where = () if path is None else (f"{path / 'parts'} has all columns.",)
    show(table(columns, rows, width_of(), *where))
    say(MEANING)


def _beside(result: CleverResult) -> Sequence[tuple[Column, Callable[[pd.Series[Any]], str]]]:
    """Return the columns that stand beside scores, and how they are written of a row.

    First-order scores have nothing beside them; others have them, where there is room.
    """
    estimators = set(result.table["estimator"])
    if estimators == {"first-order"}:
        return []
    columns = [(Column("95 % interval", spare=1), _interval)]
    if estimators == {"steepest"}:
        columns = [(Column("nearest flip", spare=1), _flip)]
    if result.table["first_order"].notna().any():
        columns.append((Column("first order", spare=6), lambda row: _known(row["first_order"])))
    return columns


def _known(number: float) -> str:
    return "" if number != number else f"{number:.4g}"


def _flip(row: pd.Series[Any]) -> str:
    """Say how far the nearest change to any target is; a search has no interval."""
    distance = row["upper"]
    return "none found" if distance == float("inf") else _known(distance)


def _interval(row: pd.Series[Any]) -> str:
    low, high = row["score_low"], row["score_high"]
    return "" if low != low and high != high else f"({low:.4g}, {high:.4g})"


def print_run(path: Path, result: CleverResult | None) -> None:
    """Print the scores of a run: of each picture where there are few, and over all of them.

    Args:
        path: The run's folder.
        result: Its rows, without lists; None if no piece is finished.
    """
    from ..runs.description import findings_in

    if result is None:
        say("No piece is finished yet: the same command goes on.")
        return
    if result.table["image_id"].nunique() <= _FEW:
        print_scores(result, result.metadata["class_names"], path)
    print_summary(result)
    print_findings(findings_in(result))
    say(f"Results: {path}")


def print_summary(result: CleverResult) -> None:
    """Print what the scores of all pictures come to, norm by norm."""
    decides = result.decisive()
    labelled = bool(decides["label"].notna().any())
    columns = [
        Column("norm"),
        Column("pictures", right=True, spare=2),
        Column("mean score (95 %)", right=True),
        Column("median", right=True, spare=1),
        Column("score = R", right=True, spare=3),
        Column("misclassified", right=True),
    ]
    rows = [
        _of_norm(f"{norm:g}", rows, labelled)
        for norm, rows in decides[decides["norm"].notna()].groupby("norm")
    ]
    if rows:
        show(["", *table(columns, rows, width_of())])
    _say_without_score(decides)


def _of_norm(norm: str, rows: pd.DataFrame, labelled: bool) -> list[str]:
    import numpy as np

    score = rows["score"].dropna().to_numpy()
    half = 1.96 * score.std(ddof=1) / np.sqrt(len(score)) if len(score) > 1 else float("nan")
    wrong = (rows["status"] == "misclassified").mean()
    mean, median = (f(score) if len(score) else float("nan") for f in (np.mean, np.median))
    return [
        norm,
        f"{len(rows):,}",
        f"{mean:.4g} ± {half:.2g}" if len(score) > 1 else f"{mean:.4g}",
        f"{median:.4g}",
        f"{rows['capped'].mean():.1%}",
        f"{wrong:.1%}" if labelled else "no labels",
    ]


def _say_without_score(decides: pd.DataFrame) -> None:
    """Say of how many pictures there is no score, and why."""
    errors = decides[decides["status"] == "error"]
    unscored = int((decides["status"] == "non-finite").sum())
    if unscored:
        say(f"{unscored:,} scores are not finite.")
    if not len(errors):
        return
    say(
        f"{len(errors):,} of {decides['image_id'].nunique():,} pictures could not be scored; "
        "`clever-ext score` with --retry-errors tries them again:"
    )
    for message in errors["error"].iloc[:_REASONS]:
        show(sentence(message, width_of(), "- ", "  "))
    if len(errors) > _REASONS:
        say(f"- and {len(errors) - _REASONS:,} more, in the column `error`")
