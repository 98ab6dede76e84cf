"""`clever-ext merge`."""

from __future__ import annotations

import argparse
from typing import Any

from .tables import print_run


def add(commands: Any) -> None:
    """Describe the command."""
    merge = commands.add_parser(
        "merge",
        help="join the runs of shards into one run",
        description="Join the runs of shards (score --shard) into one run.",
    )
    merge.set_defaults(run=run)
    merge.add_argument("shards", nargs="+", metavar="RUN", help="folders of the shards' runs")
    merge.add_argument("--out", required=True, metavar="RUN", help="new folder for the whole run")
    merge.add_argument(
        "--allow-holes", action="store_true", help="join them even if pieces are missing"
    )
    merge.add_argument(
        "--allow-overlap",
        action="store_true",
        help="if several have the same piece, take that of the first",
    )


def run(args: argparse.Namespace) -> int:
    """Join, and print the scores."""
    from ..runs.folder import read_scores
    from ..runs.merge import merge

    whole = merge(args.out, args.shards, args.allow_holes, args.allow_overlap)
    print_run(whole.path, read_scores(whole.path))
    return 0
