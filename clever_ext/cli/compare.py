"""`clever-ext compare`."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .. import durable
from ..errors import CleverError

if TYPE_CHECKING:
    from ..comparison import Comparison

#: Columns of the terminal where the output goes to a file.
_WIDTH = 100


def add(commands: Any) -> None:
    """Describe the command."""
    compare = commands.add_parser("compare", help="tell which of two or more models is more robust")
    compare.set_defaults(run=run)
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more: folders of runs, or .parquet files"
    )
    compare.add_argument("--norm", nargs="+", help="norms to compare; default: all in common")
    compare.add_argument("--confidence", type=float, default=0.95, help="of intervals and tests")
    compare.add_argument("--format", choices=_TEXTS, default="text")
    compare.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: the terminal")


def run(args: argparse.Namespace) -> int:
    """Compare, and print or write."""
    from ..comparison import compare

    if len(args.runs) < 2:
        raise CleverError(
            "one run is given", "two or more", "give the run of another model as well"
        )
    found = compare(*args.runs, norm=args.norm, confidence=args.confidence)
    if args.out is None and args.format == "text":
        _print(found, Console())
        return 0
    text = _TEXTS[args.format](found)
    if args.out is None:
        print(text)
    else:
        durable.write(args.out, text.encode())
    return 0


def _as_json(found: Comparison) -> str:
    return json.dumps(found.to_dict(), indent=1)


def _as_csv(found: Comparison) -> str:
    """The pairs' rows; sentences in one cell, separated by a blank."""
    table = found.pairs.assign(
        **{name: found.pairs[name].map(" ".join) for name in ("reasons", "cautions")}
    )
    return table.to_csv(index=False).rstrip("\n")


def _as_text(found: Comparison) -> str:
    file = io.StringIO()
    _print(found, Console(file=file, width=_WIDTH))
    return file.getvalue()


def _print(found: Comparison, console: Console) -> None:
    """Print all sections."""
    from ..comparison.words import sections

    for part in sections(found):
        console.print(f"\n[bold]{part.title}[/bold]")
        for line in part.lines:
            console.print(line, markup=False, highlight=False)
        if part.rows:
            table = Table(box=SIMPLE_HEAD, pad_edge=False)
            for number, name in enumerate(part.head):
                table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
            for row in part.rows:
                table.add_row(*row)
            console.print(table)


_TEXTS: dict[str, Callable[[Comparison], str]] = {
    "text": _as_text,
    "md": str,
    "json": _as_json,
    "csv": _as_csv,
}
