"""The HTML page: one file that needs nothing but itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO

from ..results import glossary
from ..version import __version__
from .compared import compared
from .export import numbers, titles
from .figures import of_norms
from .flips import make_flips
from .reading import Run
from .rows import Row, make_rows
from .selection import pick_images
from .summary import RunSummary, facts, summarise
from .thumbnails import make_thumbnails

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the table, and images with a thumbnail, at most: they keep the page quick and its file
#: small, however many images a run has.
MOST_ROWS, MOST_THUMBNAILS = 2000, 500
#: Images whose nearest flips are shown at most, in each norm: three pictures each.
MOST_FLIPS = 100

_ASSETS = files(__package__) / "assets"
_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "figures.js", "table.js")


def write_html(runs: Sequence[Run], handle: TextIO, images: bool = True) -> None:
    """Write the page.

    Args:
        runs: One or several.
        handle: Where to.
        images: Whether to put thumbnails in.
    """
    tables = [run.result.decisive() for run in runs]
    shown = _shown(tables)
    pictures, notes = _pictures(runs, tables, shown) if images else ({}, [])
    rows = []
    for run, table in zip(runs, tables, strict=True):
        wanted = pick_images([table[table["image_id"].isin(list(shown))]], MOST_FLIPS)
        flips = make_flips(run, wanted) if images else {}
        rows += make_rows(run, shown, flips)
        if flips and len(wanted) < table["image_id"].nunique():
            notes.append(f"{run.name}: nearest flips are shown of {len(wanted)} pictures.")
    summaries = [summarise(run.result) for run in runs]
    drawn = of_norms(runs, summaries)
    said = [facts(run.result) for run in runs]
    total = sum(map(len, tables))
    if len(rows) < total:
        notes.insert(0, _limited(len(rows), total, len(shown)))
    handle.write(
        _template("page.html").render(
            cards=list(zip(runs, summaries, said, strict=True)),
            numbers=numbers,
            rows=rows,
            norms=[_numbers(own["norm"], runs, summaries) for own in drawn],
            titles=titles(summaries),
            brackets=any(run.brackets for run in runs),
            columns=_columns(rows, runs),
            places={run.name: place for place, run in enumerate(runs)},
            counted=_counter(summaries),
            choices=_choices(rows),
            notes=notes,
            comparison=compared(runs),
            fact_names=list(dict.fromkeys(name for own in said for name in own)),
            glossary=glossary,
            version=__version__,
            style=_asset("page.css"),
            scripts=[_asset(name) for name in _SCRIPTS],
            data=_in_script(
                {
                    "runs": [run.name for run in runs],
                    "norms": drawn,
                    "rows": [row.details for row in rows],
                    "pictures": pictures,
                    "words": {**glossary.STATUSES, **glossary.FLAGS},
                }
            ),
        )
    )


def _shown(tables: Sequence[pd.DataFrame]) -> Collection[int]:
    """Pick the images whose rows fit into the table."""
    of_image = sum(int(table["image_id"].value_counts().iloc[0]) for table in tables)
    return set(pick_images(tables, max(2, MOST_ROWS // of_image)))


def _pictures(
    runs: Sequence[Run], tables: Sequence[pd.DataFrame], shown: Collection[int]
) -> tuple[dict[str, str], list[str]]:
    """Make thumbnails, those of an image once; return them by image id, and what to say of them.

    Each run is asked for the images that no earlier one had.
    """
    here = [table[table["image_id"].isin(list(shown))] for table in tables]
    wanted = set(pick_images(here, MOST_THUMBNAILS))
    made: dict[int, str] = {}
    notes: dict[str, None] = {}
    for run, table in zip(runs, here, strict=True):
        left = wanted.intersection(table["image_id"]) - set(made)
        if left:
            thumbnails = make_thumbnails(run.result, left)
            made |= thumbnails.images
            notes |= dict.fromkeys(filter(None, [thumbnails.note]))
    if len(wanted) < len(shown):
        notes[f"Thumbnails are of {len(wanted)} pictures of those shown."] = None
    return {str(number): uri for number, uri in made.items()}, list(notes)


def _limited(rows: int, total: int, images: int) -> str:
    return (
        f"The table shows {rows:,} of {total:,} rows: {images:,} images, half of them those with "
        "the smallest scores, the others evenly over all scores. The figures and numbers above "
        "tell of all images; --format csv writes all rows."
    )


def _numbers(norm: str, runs: Sequence[Run], summaries: Sequence[RunSummary]) -> dict[str, Any]:
    """Return a norm with the runs that have scores in it, and their numbers."""
    found = [
        (run, own)
        for run, summary in zip(runs, summaries, strict=True)
        for own in summary.norms
        if f"{own.norm:g}" == norm
    ]
    return {"norm": norm, "runs": found}


def _columns(rows: Sequence[Row], runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """List the columns: attribute, title, and how wide a screen must be to show it."""
    brackets = [run.brackets for run in runs]
    score = "lower end" if all(brackets) else "score (95 %)"
    columns = [
        ("picture", "picture", ""),
        ("run", "run", "middle"),
        ("norm", "norm", ""),
        ("label", "label", "wide"),
        ("predicted", "predicted", "middle"),
        ("target", "target", "middle"),
        ("margin", "margin", "wide"),
        ("score", score + ", lower end" * (any(brackets) and not all(brackets)), ""),
        ("upper", "upper end", ""),
        ("status", "status, flags", ""),
        ("n_gradients", "gradients", "wide"),
    ]
    several_runs = len({row.run for row in rows}) > 1
    labelled = any(row.label for row in rows)
    shown_if = {"run": several_runs, "label": labelled, "upper": any(brackets)}
    return [column for column in columns if shown_if.get(column[0], True)]


def _counter(summaries: Sequence[RunSummary]) -> Callable[[str], str]:
    """Return what tells how many rows of all runs have a status or flag."""
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary.statuses)
        counts.update(summary.flags)

    def counted(word: str) -> str:
        n = counts[word]
        return f"{n:,} row{'s' * (n != 1)}"

    return counted


def _choices(rows: Sequence[Row]) -> dict[str, list[str]]:
    """List what the table can be filtered by, where there is a choice."""
    found = {
        "run": dict.fromkeys(row.run for row in rows),
        "norm": dict.fromkeys(row.norm for row in rows if row.norm),
        "status": dict.fromkeys(row.status for row in rows),
        "flag": dict.fromkeys(flag for row in rows for flag in row.flags),
    }
    return {name: list(own) for name, own in found.items() if len(own) > (name != "flag")}


def _template(name: str) -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text(name))


def _text(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _asset(name: str) -> Any:
    """Read one of the package's own files that goes into the page as it is."""
    from markupsafe import Markup

    return Markup(_text(name))


def _in_script(data: Any) -> Any:
    """Write JSON that no text in it can end: a picture may be named </script>."""
    from markupsafe import Markup

    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))
