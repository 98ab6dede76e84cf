"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..glossary import MEANING
from ..results import CleverResult
from ..runs.folder import RunFolder, read_scores

#: Pictures up to which a run's table is printed.
_FEW = 40


def _name_of(class_names: Sequence[str] | None) -> Callable[[Any], str]:
    def name(number: Any) -> str:
        if number is None or number != number:
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
    table = Table()
    for column in ("picture", "predicted", "target", "norm", "margin", "score (95 %)", "status"):
        table.add_column(column, overflow="fold")
    for row in result.smallest():
        if row["status"] == "error":
            table.add_row(row["image"], "", "", "", "", "", f"error: {row['error']}")
            continue
        score = f"{row['score']:.4g} ({row['score_low']:.4g}, {row['score_high']:.4g})"
        status = ", ".join(filter(None, [row["status"], row["flags"]]))
        table.add_row(
            row["image"] or str(row["image_id"]),
            name(row["predicted"]),
            name(row["target"]),
            f"{row['norm']:g}",
            f"{row['margin']:.3f}",
            score + (" = R" if row["capped"] else ""),
            status,
        )
    console = Console()
    console.print(table)
    console.print(MEANING)


def print_run(path: Path) -> None:
    """Print the scores of a run: of each picture where there are few, and over all of them."""
    run = RunFolder(path)
    if not run.finished():
        Console().print("No piece is finished yet: the same command goes on.")
        return
    result = read_scores(path)
    if result.table["image_id"].nunique() <= _FEW:
        print_scores(result, result.metadata["class_names"])
    print_summary(result)
    Console().print(f"Results: {path}")


def print_summary(result: CleverResult) -> None:
    """Print what the scores of all pictures come to, norm by norm."""
    import numpy as np

    decides = result.decisive()
    table = Table()
    for column in ("norm", "pictures", "mean score (95 %)", "median", "score = R", "misclassified"):
        table.add_column(column, justify="left" if column == "norm" else "right")
    for norm, rows in decides[decides["norm"].notna()].groupby("norm"):
        score = rows["score"].dropna().to_numpy()
        half = 1.96 * score.std(ddof=1) / np.sqrt(len(score)) if len(score) > 1 else float("nan")
        table.add_row(
            f"{norm:g}",
            f"{len(rows):,}",
            f"{score.mean():.4g} ± {half:.2g}",
            f"{np.median(score):.4g}",
            f"{rows['capped'].mean():.1%}",
            f"{(rows['status'] == 'misclassified').mean():.1%}",
        )
    console = Console()
    console.print(table)
    errors = int((decides["status"] == "error").sum())
    unscored = int((decides["status"] == "non-finite").sum())
    if errors or unscored:
        console.print(f"{errors} pictures could not be scored; {unscored} scores are not finite.")
