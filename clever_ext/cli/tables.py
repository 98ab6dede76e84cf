"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..glossary import MEANING
from ..results import CleverResult


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
