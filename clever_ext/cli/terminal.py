"""What is printed: sentences and tables, whatever is in a name, however wide the terminal is."""

from __future__ import annotations

import codecs
import io
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len

from ..errors import CleverError
from ..findings import Finding, of_concern

#: Columns of a terminal that does not tell, and of one without an end: a file or a pipe.
_USUAL, NO_LIMIT = 80, sys.maxsize
_GAP = "  "
#: What stands for a sign that the terminal's encoding lacks; for all others, a question mark.
_INSTEAD = {"±": "+-", "…": "~", "─": "-", "≤": "<=", "×": "x", "✓": "+", "✗": "x"}
#: Where columns are that a table leaves out.
_ELSEWHERE = "A wider terminal or a pipe shows all."
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


def width_of(file: TextIO | None = None) -> int:
    """Return the columns to write in.

    The variable COLUMNS comes first, then the terminal. A file or a pipe has no limit, so that it
    loses nothing.

    Args:
        file: The stream; default: standard output.
    """
    stream, asked = file or sys.stdout, os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if not stream.isatty():
        return NO_LIMIT
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except OSError:
        return _USUAL


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
    start, *others = printable(text).split(" ")
    lines = [first + start]
    for word in others:
        longer = f"{lines[-1]} {word}"
        if cell_len(longer) <= width:
            lines[-1] = longer
        elif word:  # several blanks in a row end at the end of a line
            lines.append(rest + word)
    return [line.rstrip() for line in lines]


def in_the_middle(text: str, size: int) -> str:
    """Shorten a name: its start tells where it is from, its end which one it is.

    >>> in_the_middle("ILSVRC2012_val_00000293.JPEG", 20)
    'ILSVRC…00000293.JPEG'
    """
    start = _start(text, size // 3)
    return start + "…" + _end(text, size - 1 - cell_len(start))


def at_the_end(text: str, size: int) -> str:
    """Shorten words: whole ones stay, if one fits.

    >>> at_the_end("max-fallback, plateau", 16)
    'max-fallback…'
    """
    start = _start(text, size - 1)
    if text[len(start)] not in " ," and " " in start:
        start = start.rpartition(" ")[0]
    return start.rstrip(" ,") + "…"


def _start(text: str, size: int) -> str:
    """Return the longest start that takes so many columns, with all that is above its letters."""
    at = bisect_right(range(len(text) + 1), size, key=lambda n: cell_len(text[:n])) - 1
    return text[:at]


def _end(text: str, size: int) -> str:
    """Return the longest end likewise; it begins with a letter, not with what is above one."""
    at = bisect_right(range(len(text) + 1), size, key=lambda n: cell_len(text[len(text) - n :])) - 1
    end = text[len(text) - at :]
    while end and not cell_len(end[0]):
        end = end[1:]
    return end


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        right: Whether its cells stand at the right, as numbers do.
        cut: How its cells are shortened to so many columns: names and words, never numbers.
        least: Columns that it keeps if they are.
        spare: The larger, the sooner it is left out where there is no room; 0: never.
    """

    name: str
    right: bool = False
    cut: Callable[[str, int], str] | None = None
    least: int = 12
    spare: int = 0


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    elsewhere: str = _ELSEWHERE,
) -> list[str]:
    """Lay out a table in lines; no number in it is broken.

    Where there is no room, columns are left out, which is said, and long names are shortened. If
    that is not enough, the columns stand below each other in several tables that share the first.

    Args:
        columns: In order.
        rows: A text for each column.
        width: Columns of the terminal.
        elsewhere: Says where the columns are that are left out.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    natural = [
        max(cell_len(cell) for cell in (column.name, *(row[n] for row in cells)))
        for n, column in enumerate(columns)
    ]
    least = [
        min(size, max(column.least, cell_len(column.name))) if column.cut else size
        for column, size in zip(columns, natural, strict=True)
    ]
    kept = _kept(columns, least, width)
    lines = []
    for block in _blocks(kept, least, width):
        widths = _widths(block, natural, least, width)
        lines += [_line([columns[n].name for n in block], block, widths, columns)]
        lines += [_GAP.join("─" * size for size in widths)]
        lines += [_line([row[n] for n in block], block, widths, columns) for row in cells] + [""]
    left_out = [column.name for n, column in enumerate(columns) if n not in kept]
    if left_out:
        said = f"Left out for want of room: {', '.join(left_out)}. {elsewhere}"
        lines += [*sentence(said, width), ""]
    return lines


def _kept(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """Choose the columns that there is room for, those first that can be spared least."""
    kept: list[int] = []
    for n in sorted(range(len(columns)), key=lambda n: columns[n].spare):
        if not columns[n].spare or _fit([*kept, n], least, width):
            kept.append(n)
    return sorted(kept)


def _fit(which: Sequence[int], sizes: Sequence[int], width: int) -> bool:
    return sum(sizes[n] for n in which) + len(_GAP) * (len(which) - 1) <= width


def _blocks(kept: Sequence[int], least: Sequence[int], width: int) -> list[list[int]]:
    """Divide columns among tables; each has the first, and as many others as there is room for."""
    first, *others = kept
    blocks = [[first]]
    for n in others:
        if len(blocks[-1]) > 1 and not _fit([*blocks[-1], n], least, width):
            blocks.append([first])
        blocks[-1].append(n)
    return blocks


def _widths(
    block: Sequence[int], natural: Sequence[int], least: Sequence[int], width: int
) -> list[int]:
    """Shorten the longest of the texts that may be, until there is room."""
    sizes = {n: natural[n] for n in block}
    over = sum(sizes.values()) + len(_GAP) * (len(block) - 1) - width
    while over > 0 and any(sizes[n] > least[n] for n in block):
        sizes[max((n for n in block if sizes[n] > least[n]), key=lambda n: sizes[n])] -= 1
        over -= 1
    return list(sizes.values())


def _line(
    texts: Sequence[str], block: Sequence[int], widths: Sequence[int], columns: Sequence[Column]
) -> str:
    cells = []
    for text, n, size in zip(texts, block, widths, strict=True):
        cut = columns[n].cut
        short = cut(text, size) if cut and cell_len(text) > size else text
        blank = " " * (size - cell_len(short))
        cells.append(blank + short if columns[n].right else short + blank)
    return _GAP.join(cells).rstrip()


def facts(pairs: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Lay out names with what is said of each."""
    listed = list(pairs)
    wide = max((cell_len(name) for name, _ in listed), default=0)
    rest = " " * wide + _GAP
    return [
        line
        for name, said in listed
        for line in sentence(said, width, name + rest[cell_len(name) :], rest)
    ]


def say(text: str, file: TextIO | None = None) -> None:
    """Print a sentence: in lines that fit a terminal, in one line elsewhere."""
    show(sentence(text, width_of(file)), file)


def show(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines as they are."""
    with output(file) as stream:
        for line in lines:
            print(line, file=stream)


def print_findings(findings: Iterable[Finding], file: TextIO | None = None) -> None:
    """Print those findings that ask for something to be done, each once."""
    for each in of_concern(findings):
        show(sentence(str(each), width_of(file), f"{each.topic}: ", "    "), file)


def tell(said: str | Finding) -> None:
    """Say on standard error what is known before the first gradient."""
    if isinstance(said, str):
        say(said, sys.stderr)
    else:
        print_findings([said], sys.stderr)
