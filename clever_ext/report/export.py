"""The rows of runs as CSV, JSON or Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from ..results import glossary
from ..results.brackets import POINTS, decisive_with_upper
from ..results.result import SCALARS
from .compared import compared
from .reading import Run
from .summary import NormSummary, RunSummary, facts, summarise

if TYPE_CHECKING:
    import pandas as pd

#: What the numbers of a norm are called, in the order of `numbers`.
NUMBERS = ("norm", "images", "mean (95 %)", "25 %", "median", "75 %", "score is R")
#: What brackets have besides: their scores are lower ends.
_OF_BRACKETS = ("upper end, median", "no flip found")
#: Columns that only a program can use, and that would be most of a file.
_BULKY = ("maxima", *POINTS)
#: How a cell begins that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: Rows of Markdown: those with the smallest scores.
_SMALLEST = 10


def write_csv(runs: Sequence[Run], handle: TextIO) -> None:
    """Write all rows, the name of their run before them; lists are left out."""
    for number, run in enumerate(runs):
        table = run.result.table[list(SCALARS)]
        table.insert(0, "run", run.name)
        without_formulas(table).to_csv(handle, index=False, header=number == 0, lineterminator="\n")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before texts that a spreadsheet would run as a formula."""
    texts = [name for name in table.columns if table[name].dtype in (object, "string")]
    return table.assign(**{name: table[name].map(_no_formula) for name in texts})


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_json(runs: Sequence[Run], handle: TextIO) -> None:
    """Write settings, summaries, the comparison and all rows, but no maxima and witnesses.

    A number that is missing or not one is null; an infinite one is the string "inf".
    """
    handle.write('{"runs": [')
    for number, run in enumerate(runs):
        head = {
            "name": run.name,
            "metadata": run.result.metadata,
            "summary": asdict(summarise(run.result)),
        }
        handle.write((",\n" if number else "\n") + _json(head)[:-1] + ', "rows": [')
        first = True
        for table in run.tables():
            for row in table.drop(columns=list(_BULKY)).to_dict("records"):
                handle.write(("\n" if first else ",\n") + _json(row))
                first = False
        handle.write("]}")
    found = compared(runs)
    handle.write('],\n"comparison": ' + _json(found and found.data) + "}\n")


def _json(value: Any) -> str:
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Turn pandas', NumPy's and non-finite values into what JSON has."""
    if isinstance(value, dict):
        return {name: plain(own) for name, own in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    known = value is None or isinstance(value, (str, bool, int, float))
    return value if known else None  # pandas' missing integer


def write_markdown(runs: Sequence[Run], handle: TextIO) -> None:
    """Write a short summary: settings, numbers, the smallest scores and what they mean."""
    summaries = [summarise(run.result) for run in runs]
    parts = ["# CLEVER scores\n", f"{glossary.MEANING} {glossary.NO_CERTIFICATE}\n"]
    for run, summary in zip(runs, summaries, strict=True):
        parts += [f"## {_cell(run.name)}\n", _counts(summary), _numbers(summary)]
        if summary.warnings:
            parts += ["### Warnings\n", "".join(f"- {_cell(each)}\n" for each in summary.warnings)]
        parts += ["The smallest scores:\n", _smallest(run)]
        said = facts(run.result).items()
        parts.append(table_of(["setting", "value"], [[name, value] for name, value in said]))
    found = compared(runs)
    if found:
        parts += ["## Compared\n"]
        for part in found.sections:
            lines = [f"- {_cell(line)}" for line in part.lines]
            parts += [f"### {_cell(part.title)}\n", "\n".join(lines) + "\n"]
            parts += [table_of(part.head, part.rows)] if part.rows else []
    words = {word for summary in summaries for word in [*summary.statuses, *summary.flags]}
    meanings = [[f"`{word}`", glossary.explain(word)] for word in sorted(words)]
    parts += ["## Words\n", table_of(["word", "meaning"], meanings)]
    handle.write("\n".join(parts))


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown; what stands in a cell cannot break out of it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(text: str) -> str:
    """Keep a text from being read as a new cell, a new line or HTML."""
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " "), ("\r", " ")):
        text = text.replace(sign, safe)
    return text


def _counts(summary: RunSummary) -> str:
    counts = [f"{summary.scored} scored", f"{summary.errors} with errors"]
    if summary.accuracy is None:
        right = "No labels: a wrong answer is scored as if it were right."
    else:
        counts.insert(1, f"{summary.misclassified} misclassified")
        right = f"Accuracy: {summary.accuracy:.1%}."
    return f"{summary.images} images: {', '.join(counts)}. {right}\n"


def _numbers(summary: RunSummary) -> str:
    head = titles([summary])
    return table_of(head, [numbers(own)[: len(head)] for own in summary.norms])


def titles(summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    """Return what `numbers` are called, those of brackets where there is one."""
    norms = [own for summary in summaries for own in summary.norms]
    return NUMBERS + _OF_BRACKETS * any(own.no_flip is not None for own in norms)


def numbers(own: NormSummary) -> list[str]:
    """Write a norm's summary, cell by cell, those of brackets at the end."""
    mean = f"{own.mean:.4g} ({own.mean_low:.4g}, {own.mean_high:.4g})"
    quartiles = (own.first_quartile, own.median, own.third_quartile)
    cells = [f"{own.norm:g}", str(own.images), mean, *(f"{q:.4g}" for q in quartiles)]
    cells.append(f"{own.capped:.0%}")
    if own.upper_median is None or own.no_flip is None:
        return [*cells, "", ""]
    return [*cells, f"{own.upper_median:.4g}", f"{own.no_flip:.0%}"]


def _smallest(run: Run) -> str:
    rows = decisive_with_upper(run.result)
    lines = []
    for _, own in rows[rows["norm"].notna()].groupby("norm", sort=False):
        for _, row in own.nsmallest(_SMALLEST, "score").iterrows():
            lines.append(_line(run, row))
    scores = ["lower end", "upper end"] if run.brackets else ["score (95 %)"]
    return table_of(["picture", "norm", "predicted", "target", *scores, "status"], lines)


def _line(run: Run, row: pd.Series[Any]) -> list[str]:
    return [
        row["image"] or str(row["image_id"]),
        f"{row['norm']:g}",
        run.class_name(row["predicted"]),
        run.class_name(row["target"]),
        *(
            [f"{row['score']:.4g}", f"{row['upper']:.4g}"]
            if run.brackets
            else [f"{row['score']:.4g} ({row['score_low']:.4g}, {row['score_high']:.4g})"]
        ),
        ", ".join(filter(None, [row["status"], row["flags"]])),
    ]
