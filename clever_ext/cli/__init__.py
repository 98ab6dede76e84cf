"""The command line: one module for each command, `main` to choose among them.

Commands import what they need when they run, since torch takes seconds: the help shall not.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import CleverError
from ..version import __version__
from . import bench, check, compare, doctor, merge, report, score, status
from .terminal import accept_any_sign, complain, discard, open_streams

__all__ = ["main"]

#: In the order of the help. Each has `add`, which describes the command and says what runs it.
_COMMANDS = (check, score, status, merge, compare, report, bench, doctor)
#: Arguments that are paths: a shell does not replace the ~ of --out=~/run, nor a script's.
_PATHS = ("out", "images", "labels", "label_map", "model", "weights", "folder", "runs")
#: Exit statuses of what a signal ends, as a shell has them.
_INTERRUPTED, _PIPE = 130, 141


class _Parser(argparse.ArgumentParser):
    """Of one command."""

    def __init__(self, **given: Any) -> None:
        super().__init__(formatter_class=_Help, **given)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says the default of each option that has one, unless its own words do."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        value = action.default
        if value in (None, argparse.SUPPRESS) or isinstance(value, bool) or "default" in text:
            return text
        listed = isinstance(value, (list, tuple))
        said = " ".join(map(str, value)) if listed else str(value)
        return f"{text} (default: {said.replace('%', '%%')})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clever-ext", description="CLEVER robustness scores of image classifiers."
    )
    parser.add_argument("--version", action="version", version=f"clever-ext {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _path(name: str, value: Any) -> Any:
    """Refuse an empty path, which would be the current folder; replace a leading ~ by the home."""
    if isinstance(value, list):
        return [_path(name, each) for each in value]
    if value == "":
        raise CleverError(
            f"the path of {name.replace('_', '-')} is empty",
            "the path of a file or folder",
            "name one; the current folder is '.'",
        )
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Status 2 is bad input, or a file that could not be written, said in one message on standard
    error; `clever-ext score -h` lists the others.
    """
    open_streams()
    accept_any_sign()
    try:
        args = _parser().parse_args(argv)
        for name in _PATHS:
            if hasattr(args, name):
                setattr(args, name, _path(name, getattr(args, name)))
        status: int = args.run(args)
    except CleverError as error:
        complain(f"clever-ext: {error}")
        return error.exit_status
    except KeyboardInterrupt:  # a run that has begun answers by itself
        return _INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return _PIPE
    return status
