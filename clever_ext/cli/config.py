"""`--config FILE`: options of a command from a file, and back into one."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import CleverError, first_line
from ..version import __version__

_OPTION = "--config"


def add_config(command: argparse.ArgumentParser) -> None:
    """Let a command take its options from a file."""
    command.add_argument(
        _OPTION,
        metavar="FILE",
        help="options by their names, such as n-batches: 100, in YAML or JSON; options that are "
        "given besides count first. score keeps its own as config.yaml in the run (default: none)",
    )


def with_config(argv: Sequence[str], commands: Iterable[argparse.ArgumentParser]) -> list[str]:
    """Put the options of the file that a command line names before those that it gives itself.

    Args:
        argv: The command line.
        commands: The parsers of all commands.

    Raises:
        CleverError: The file cannot be read, or an option in it is none of the command.
    """
    command = next((word for word in argv if not word.startswith("-")), "")
    parser = {each.prog.rpartition(" ")[2]: each for each in commands}.get(command)
    if parser is None or _OPTION not in parser._option_string_actions:
        return list(argv)
    place = argv.index(command) + 1
    only_config = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    only_config.add_argument(_OPTION, action="append")
    try:
        found = only_config.parse_known_args(argv[place:])[0].config
    except argparse.ArgumentError:  # no file behind it: the command's own parser says so
        return list(argv)
    if found is None:
        return list(argv)
    if len(found) > 1:
        raise CleverError(f"{_OPTION} is given twice", "one file", "put all options into one")
    path = Path(os.path.expanduser(found[0]))  # noqa: PTH111 - as for other paths
    words = [word for name, value in _read(path).items() for word in _words(name, value, parser)]
    return [*argv[:place], *words, *argv[place:]]


def _read(path: Path) -> dict[str, Any]:
    import yaml

    class Once(yaml.SafeLoader):  # type: ignore[misc]
        """Refuses a name that stands twice, of which the last would count."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{name} stands there twice")
            return super().construct_mapping(node, deep)

    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Once)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise CleverError(
            f"the options in {str(path)!r} cannot be read ({first_line(error)})",
            "a file of YAML or JSON with a line for each option, such as seed: 1",
            "check the file",
        ) from error
    if not isinstance(found, dict):
        raise CleverError(
            f"{str(path)!r} holds no options by name",
            "a line for each option, such as seed: 1",
            "check the file",
        )
    return {str(name): value for name, value in found.items()}


def _words(name: str, value: Any, parser: argparse.ArgumentParser) -> list[str]:
    """Write an option as a command line has it."""
    known = parser._option_string_actions
    option = "--" + name.replace("_", "-")
    action = known.get(option)
    if action is None or option in (_OPTION, "--help"):
        names = [each[2:] for each in known if each not in (_OPTION, "--help", "-h")]
        close = difflib.get_close_matches(option[2:], names)
        raise CleverError(
            f"{name!r} is no option of {parser.prog}",
            "options by their names",
            f"write {' or '.join(close)}" if close else f"see {parser.prog} --help",
        )
    if value is None:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise CleverError(f"{name} is {value!r}", "true or false", "give one of them")
        return [option] if value else []
    if isinstance(value, list) and action.nargs is not None:
        return [option, *map(str, value)]
    if isinstance(value, (list, dict, bool)):
        raise CleverError(f"{name} is {value!r}", "one number or text", f"see {parser.prog} --help")
    return [f"{option}={value}"]


def as_config(args: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """Write all options that a command runs with, defaults too, as a file of `--config`."""
    import yaml

    head = f"# {parser.prog} of version {__version__}, in the folder {str(Path.cwd())!r}\n"
    options = dict(_options(args, parser))
    return head + str(yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def _options(
    args: argparse.Namespace, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, Any]]:
    for action in parser._actions:
        option = next((each for each in action.option_strings if each.startswith("--")), None)
        if option in (None, _OPTION, "--help") or not hasattr(args, action.dest):
            continue
        value = getattr(args, action.dest)
        if action.nargs == 0:
            if value == action.const and type(value) is type(action.const):
                yield option[2:], True
        elif value is not None:
            yield option[2:], list(value) if isinstance(value, (list, tuple)) else value
