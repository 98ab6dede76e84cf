"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..results.glossary import MEANING
from .terminal import Column, print_findings, say, sentence, show, table, terminal_width

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


def print_scores(result: CleverResult, class_names: Sequence[str] | None = None) -> None:
    """Print for each image and norm its smallest score over the targets, and what a score means.

    Args:
        result: Scores.
        class_names: Name of each logit, or None for numbers.
    """
    name = _name_of(class_names)
    columns = [
        Column("picture", cut=True),
        Column("predicted", cut=True, spare=2),
        Column("target", cut=True),
        Column("norm", spare=1),
        Column("margin", right=True, spare=3),
        Column("score (95 %)"),
        Column("status", cut=True),
    ]
    rows = []
    for row in result.smallest():
        picture = row["image"] or str(row["image_id"])
        if row["status"] == "error":
            rows.append([picture, *[""] * 5, "error"])
            continue
        score = f"{row['score']:.4g} ({row['score_low']:.4g}, {row['score_high']:.4g})"
        rows.append(
            [
                picture,
                name(row["predicted"]),
                name(row["target"]),
                f"{row['norm']:g}",
                f"{row['margin']:.3f}",
                score + (" = R" if row["capped"] else ""),
                ", ".join(filter(None, [row["status"], row["flags"]])),
            ]
        )
    width = terminal_width()
    show(table(columns, rows, width))
    show(sentence(MEANING, width))


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
        print_scores(result, result.metadata["class_names"])
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
        show(["", *table(columns, rows, terminal_width())])
    show(_without_score(decides))


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


def _without_score(decides: pd.DataFrame) -> Iterator[str]:
    """Say of how many pictures there is no score, and why."""
    width = terminal_width()
    errors = decides[decides["status"] == "error"]
    unscored = int((decides["status"] == "non-finite").sum())
    if unscored:
        yield from sentence(f"{unscored:,} scores are not finite.", width)
    if not len(errors):
        return
    yield from sentence(
        f"{len(errors):,} of {decides['image_id'].nunique():,} pictures could not be scored; "
        "`clever-ext score` with --retry-errors tries them again:",
        width,
    )
    for message in errors["error"].iloc[:_REASONS]:
        yield from sentence(message, width, "- ", "  ")
    if len(errors) > _REASONS:
        yield f"- and {len(errors) - _REASONS:,} more, in the column `error`"
