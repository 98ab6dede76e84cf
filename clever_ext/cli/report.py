"""`clever-ext report`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .terminal import output, say

FORMATS = ("html", "csv", "json", "md")
#: Where the page goes if nothing is said; the other formats are printed.
_PAGE = "report.html"


def add(commands: Any) -> None:
    """Describe the command."""
    report = commands.add_parser("report", help="show runs: a page, or their rows as text")
    report.set_defaults(run=run)
    report.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run, or a .parquet file"
    )
    report.add_argument("--format", choices=FORMATS, default="html", help="of the report")
    report.add_argument(
        "-o", "--out", metavar="FILE", help=f"default: {_PAGE}; other formats are printed"
    )
    report.add_argument(
        "--no-images", dest="images", action="store_false", help="leave the thumbnails out"
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
