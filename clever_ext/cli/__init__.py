# PYTHON_ARGCOMPLETE_OK
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
from . import bench, check, compare, doctor, merge, models, report, score, status, validate
from .completion import commands_of, complete
from .config import with_config
from .parser import Parser
from .terminal import accept_any_sign, complain, discard, open_streams

__all__ = ["main"]

#: In the order of the help. Each has `add`, which describes the command and says what runs it.
_COMMANDS = (check, score, validate, status, merge, compare, report, bench, models, doctor)
#: Arguments that are paths: a shell does not replace the ~ of --out=~/run, nor a script's.
_PATHS = (
    "out", "images", "labels", "label_map", "model", "weights", "model_dir", "candidates", "config",
    "folder", "runs", "shards",
)  # fmt: skip
#: Exit statuses of what a signal ends, as a shell has them.
_INTERRUPTED, _PIPE = 130, 141
#: How a shell says that it wants a word completed.
_COMPLETING = "_ARGCOMPLETE"
_EPILOG = """clever-ext COMMAND --help explains a command.
To complete words with Tab, in bash and zsh:
  eval "$(register-python-argcomplete clever-ext)"
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="clever-ext",
        description="CLEVER robustness scores of image classifiers.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"clever-ext {__version__}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, parser_class=Parser, title="commands", metavar="command"
    )
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
        parser = _parser()
        if _COMPLETING in os.environ:
            complete(parser)
        given = sys.argv[1:] if argv is None else argv
        args = parser.parse_args(with_config(given, commands_of(parser)))
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
