"""`clever-ext compare`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import durable
from ..errors import CleverError
from .terminal import NO_LIMIT, Column, in_the_middle, sentence, show, table, width_of

if TYPE_CHECKING:
    from ..comparison import Comparison

#: Columns of tables that hold names, which may be shortened.
_NAMES = ("model", "image", "class")


def add(commands: Any) -> None:
    """Describe the command."""
    compare = commands.add_parser(
        "compare",
        help="tell which of two or more models is more robust",
        description="Tell which of two or more models is more robust, on the pictures that all "
        "were scored on.",
    )
    compare.set_defaults(run=run)
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more: folders of runs, or .parquet files"
    )
    compare.add_argument(
        "--norm", nargs="+", metavar="P", help="norms to compare (default: all that they share)"
    )
    compare.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="confidence of the intervals and tests",
    )
    compare.add_argument(
        "--format",
        choices=_TEXTS,
        default="text",
        help="text or md (Markdown) to read, json with all that was found, or csv with a row for "
        "each pair of models",
    )
    compare.add_argument(
        "-o", "--out", metavar="FILE", help="write it to a file (default: print it)"
    )


def run(args: argparse.Namespace) -> int:
    """Compare, and print or write."""
    from ..comparison import compare

    if len(args.runs) < 2:
        raise CleverError(
            "one run is given", "two or more", "give the run of another model as well"
        )
    found = compare(*args.runs, norm=args.norm, confidence=args.confidence)
    if args.out is None and args.format == "text":
        show(_lines(found, width_of()))
        return 0
    text = _TEXTS[args.format](found)
    if args.out is None:
        show([text])
    else:
        durable.write(Path(args.out), text.encode())
    return 0


def _as_json(found: Comparison) -> str:
    return json.dumps(found.to_dict(), indent=1)


def _as_csv(found: Comparison) -> str:
    """The pairs' rows; sentences in one cell, separated by a blank."""
    from ..report.export import without_formulas

    pairs = found.pairs.assign(
        **{name: found.pairs[name].map(" ".join) for name in ("reasons", "cautions")}
    )
    return without_formulas(pairs).to_csv(index=False).rstrip("\n")


def _as_text(found: Comparison) -> str:
    return "\n".join(_lines(found, NO_LIMIT))


def _lines(found: Comparison, width: int) -> Iterator[str]:
    """Write down all sections, with an empty line before and after each."""
    from ..comparison.words import sections

    yield ""
    for part in sections(found):
        yield from sentence(part.title, width)
        for line in part.lines:
            yield from sentence(line, width)
        if part.rows:
            yield ""
            columns = [
                Column(name, cut=in_the_middle)
                if name in _NAMES
                else Column(name, right=number > 0)
                for number, name in enumerate(part.head)
            ]
            yield from table(columns, part.rows, width)
        else:
            yield ""


_TEXTS: dict[str, Callable[[Comparison], str]] = {
    "text": _as_text,
    "md": str,
    "json": _as_json,
    "csv": _as_csv,
}
