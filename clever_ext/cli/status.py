"""`clever-ext status`."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table


def add(commands: Any) -> None:
    """Describe the command."""
    status = commands.add_parser("status", help="tell where a run stands; disturbs nothing")
    status.set_defaults(run=run)
    status.add_argument("folder", metavar="RUN", help="folder of the run")


def run(args: argparse.Namespace) -> int:
    """Read, and print."""
    from ..runs.folder import RunFolder
    from ..runs.status import read_status

    table = Table(show_header=False, box=None)
    for fact in read_status(RunFolder(args.folder)).facts():
        table.add_row(*fact)
    Console().print(table)
    return 0
