"""`clever-ext status`."""

from __future__ import annotations

import argparse
from typing import Any

from .terminal import facts, show, width_of


def add(commands: Any) -> None:
    """Describe the command."""
    status = commands.add_parser(
        "status",
        help="tell how far a run is",
        description="Tell how far a run is. This does not disturb a run that is at work.",
    )
    status.set_defaults(run=run)
    status.add_argument("folder", metavar="RUN", help="folder of the run")


def run(args: argparse.Namespace) -> int:
    """Read, and print."""
    from ..runs.folder import RunFolder
    from ..runs.status import read_status

    show(facts(read_status(RunFolder(args.folder)).facts(), width_of()))
    return 0
