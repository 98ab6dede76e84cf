"""`clever-ext merge`."""

from __future__ import annotations

import argparse
from typing import Any

from .tables import print_run


def add(commands: Any) -> None:
    """Describe the command."""
    merge = commands.add_parser("merge", help="join the runs of shards to one")
    merge.set_defaults(run=run)
    merge.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs of shards")
    merge.add_argument("--out", required=True, help="new folder for the whole")
    merge.add_argument("--allow-holes", action="store_true", help="join what there is")
    merge.add_argument(
        "--allow-overlap", action="store_true", help="of a piece that is there twice take the first"
    )


def run(args: argparse.Namespace) -> int:
    """Join, and print the scores."""
    from ..runs.folder import read_scores
    from ..runs.merge import merge

    whole = merge(args.out, args.runs, args.allow_holes, args.allow_overlap)
    print_run(whole.path, read_scores(whole.path))
    return 0
