"""`clever-ext report`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .terminal import output, say

FORMATS = ("html", "csv", "json", "md", "card")
#: Where the page goes if nothing is said; the other formats are printed.
_PAGE = "report.html"


def add(commands: Any) -> None:
    """Describe the command."""
    report = commands.add_parser(
        "report",
        help="show runs as a page, or write their rows",
        description="Show runs as a page for the browser, or write their rows. Several runs are "
        "compared.",
    )
    report.set_defaults(run=run)
    report.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or .parquet files")
    report.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="html: a page; csv or json: all rows; md: a summary in Markdown; "
        "card: a model card in JSON",
    )
    report.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help=f"file to write (default: {_PAGE}; other formats are printed)",
    )
    report.add_argument(
        "--no-images", dest="images", action="store_false", help="leave pictures out of the page"
    )


def run(args: argparse.Namespace) -> int:
    """Read the runs, and write the report."""
    from ..report.reading import read_runs
    from ..report.writing import write_report, writer

    if args.out is None and args.format != "html":
        write, runs = writer(args.format), read_runs(args.runs)
        with output() as stream:
            write(runs, stream)
        return 0
    out = args.out or _PAGE
    write_report(args.runs, out, args.format, args.images)
    say(f"Report: {out}", sys.stderr)
    return 0
