"""How commands describe themselves: what their help looks like."""

from __future__ import annotations

import argparse
import re
from typing import Any

from .terminal import sentence


class Parser(argparse.ArgumentParser):
    """Of one command, or of all."""

    def __init__(self, **given: Any) -> None:
        # An abbreviation would be another option in a later version.
        super().__init__(formatter_class=_Help, allow_abbrev=False, **given)
        # Python's own takes -1e-3 for an option.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says which options are required, and the default of the others, unless their words do."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return sentence(text, width)  # names with hyphens stay whole

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (sentence(line, width, indent, indent) for line in text.splitlines())
        return "".join(f"{line}\n" for each in lines for line in each)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        # The list of commands needs no line that says "command".
        return text.partition("\n")[2] if action.nargs == argparse.PARSER else text

    def _get_help_string(self, action: argparse.Action) -> str:
        text, value = action.help or "", action.default
        if action.required and action.option_strings:
            return f"{text} (required)"
        if value in (None, argparse.SUPPRESS) or isinstance(value, bool) or "default:" in text:
            return text
        listed = isinstance(value, (list, tuple))
        said = " ".join(map(str, value)) if listed else str(value)
        return f"{text} (default: {said.replace('%', '%%')})"
