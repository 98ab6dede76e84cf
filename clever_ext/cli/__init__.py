"""The command line: one module for each command, `main` to choose among them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import CleverError
from . import bench, compare, doctor, merge, report, score, status

__all__ = ["main"]

#: In the order of the help. Each has `add`, which describes the command and says what runs it.
_COMMANDS = (score, status, merge, compare, report, bench, doctor)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clever-ext", description="CLEVER robustness scores of image classifiers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Status 2 is bad input, or a file that could not be written, said in one message on standard
    error; 130 and 143 a run that was stopped by SIGINT or SIGTERM, whose finished pieces are kept.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except CleverError as error:
        print(f"clever-ext: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # a run that has begun answers by itself
        return 130
    return status
