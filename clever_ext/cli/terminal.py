"""What is printed: sentences and tables, whatever is in a name, however wide the terminal is."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from ..errors import CleverError
from ..findings import Finding, of_concern

#: Texts that may be cut get so many columns at least, or at worst so many.
_NAME, _SHORT_NAME = 24, 12
_GAP = "  "
#: What stands for a sign that the terminal's encoding lacks; for all others, a question mark.
_INSTEAD = {"±": "+-", "…": "~", "─": "-", "≤": "<=", "×": "x"}
_ERRORS = "clever_ext.terminal"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(sign, "?") for sign in lost), error.end


def accept_any_sign() -> None:
    """Let standard output and error print every text, whatever their encoding."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def open_streams() -> None:
    """Let standard streams that the caller has closed lead nowhere.

    The next file that is opened would get their number, and what is said be written into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the free number
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("r+")  # noqa: SIM115 - as long as the process
            setattr(sys, name, nowhere)


def discard(file: TextIO) -> None:
    """Let nothing more be written to a stream that nobody reads, or that takes nothing more."""
    with suppress(OSError, ValueError):  # it is none of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


@contextmanager
def output(file: TextIO | None = None) -> Iterator[TextIO]:
    """Give standard output, or another stream, to write to, and write it out.

    Raises:
        CleverError: the system refuses, as where a disk is full.
        BrokenPipeError: nobody reads it any longer.
    """
    stream = file or sys.stdout
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(stream)
        name = "standard error" if stream is sys.stderr else "standard output"
        raise CleverError(
            f"{name} cannot be written: {error.strerror or error}",
            "a terminal, a pipe or a file with room",
            "make room or send it elsewhere, and give the same command again: what a run has "
            "written is kept",
        ) from error


def complain(text: str) -> None:
    """Say why a command ends; where standard error takes nothing, its exit status says so alone."""
    with suppress(CleverError, OSError):
        say(text, sys.stderr)


def terminal_width() -> int:
    """Return the columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns


def printable(text: str) -> str:
    """Replace what would move the cursor or break a line: a file may have any name."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def sentence(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Break a text into lines between words; a longer word stays whole.

    Args:
        text: Of one paragraph.
        width: Columns.
        first: What stands before the first line ...
        rest: ... and before the others.
    """
    return textwrap.wrap(
        printable(text), width, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    ) or [first]  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        right: Whether its cells stand at the right, as numbers do.
        cut: Whether its cells may be cut: names and words, never numbers.
        spare: The larger, the sooner it is left out where there is no room; 0: never.
    """

    name: str
    right: bool = False
    cut: bool = False
    spare: int = 0

    def least(self, natural: int, text: int) -> int:
        """Return how many columns it needs, where a text that may be cut gets so many."""
        return min(natural, max(text, cell_len(self.name))) if self.cut else natural


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay out a table in lines; no word in it is broken.

    Where there is no room, long names are cut, then columns left out, which is said, and at last
    the columns stand below each other in several tables that share the first one.

    Args:
        columns: In order.
        rows: A text for each column.
        width: Columns of the terminal.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    natural = [
        max(cell_len(cell) for cell in (column.name, *(row[n] for row in cells)))
        for n, column in enumerate(columns)
    ]
    names, worst = (
        [column.least(n, text) for column, n in zip(columns, natural, strict=True)]
        for text in (_NAME, _SHORT_NAME)
    )
    kept = list(range(len(columns)))
    while not _fit(kept, names, width) and any(columns[n].spare for n in kept):
        kept.remove(max(kept, key=lambda n: columns[n].spare))
    lines = []
    for block in _blocks(kept, worst, width):
        widths = _widths(block, natural, worst, width)
        lines += [_line([columns[n].name for n in block], block, widths, columns)]
        lines += [_GAP.join("─" * size for size in widths)]
        lines += [_line([row[n] for n in block], block, widths, columns) for row in cells] + [""]
    left_out = [columns[n].name for n in range(len(columns)) if n not in kept]
    if left_out:
        lines += sentence(f"Left out for want of room: {', '.join(left_out)}.", width)
    return lines


def _fit(which: Sequence[int], sizes: Sequence[int], width: int) -> bool:
    return sum(sizes[n] for n in which) + len(_GAP) * (len(which) - 1) <= width


def _blocks(kept: Sequence[int], worst: Sequence[int], width: int) -> list[list[int]]:
    """Divide columns among tables; each has the first, and as many others as there is room for."""
    first, *others = kept
    blocks = [[first]]
    for n in others:
        if len(blocks[-1]) > 1 and not _fit([*blocks[-1], n], worst, width):
            blocks.append([first])
        blocks[-1].append(n)
    return blocks


def _widths(
    block: Sequence[int], natural: Sequence[int], worst: Sequence[int], width: int
) -> list[int]:
    """Cut the longest of the texts that may be, until there is room."""
    sizes = {n: natural[n] for n in block}
    while not _fit(block, [sizes.get(n, 0) for n in range(len(natural))], width):
        longer = [n for n in block if sizes[n] > worst[n]]
        if not longer:
            break
        sizes[max(longer, key=lambda n: sizes[n])] -= 1
    return list(sizes.values())


def _line(
    texts: Sequence[str], block: Sequence[int], widths: Sequence[int], columns: Sequence[Column]
) -> str:
    cells = []
    for text, n, size in zip(texts, block, widths, strict=True):
        cut = text if cell_len(text) <= size else set_cell_size(text, size - 1).rstrip() + "…"
        blank = " " * (size - cell_len(cut))
        cells.append(blank + cut if columns[n].right else cut + blank)
    return _GAP.join(cells).rstrip()


def facts(pairs: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Lay out names with what is said of each."""
    listed = list(pairs)
    wide = max((len(name) for name, _ in listed), default=0)
    rest = " " * wide + _GAP
    return [
        line
        for name, said in listed
        for line in sentence(said, width, name.ljust(wide) + _GAP, rest)
    ]


def say(text: str, file: TextIO | None = None) -> None:
    """Print a sentence: in lines that fit a terminal, in one line elsewhere."""
    show(sentence(text, _width_of(file)), file)


def _width_of(file: TextIO | None) -> int:
    return terminal_width() if (file or sys.stdout).isatty() else sys.maxsize


def show(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines as they are."""
    with output(file) as stream:
        for line in lines:
            print(line, file=stream)


def print_findings(findings: Iterable[Finding], file: TextIO | None = None) -> None:
    """Print those findings that ask for something to be done, each once."""
    for each in of_concern(findings):
        show(sentence(str(each), _width_of(file), f"{each.topic}: ", "    "), file)
