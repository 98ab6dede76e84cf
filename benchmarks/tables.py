"""Makes what README and docs quote from the result files anew.

It stands between a comment that says where it comes from and `<!-- end -->`:

    <!-- table FILE: PATTERN -->   figures, their targets, and where and how they were measured
    <!-- speed FILE: PATTERN -->   figures alone
    <!-- grid FILE: PATTERN -->     a row for each case and a column for each figure, medians alone;
                                    of a GPU also where and how they were measured
    <!-- value FILE: PATTERN -->   in a line: the median of one figure

FILE is a file in benchmarks/results; one of JSON lines may be missing, or lack the figures: then it
says "not measured". Its lines are all of one GPU. PATTERN is a regular expression, which takes the
figures whose name and case, written "name, case", match it; without ": PATTERN" all are taken.

    python benchmarks/tables.py           # write them
    python benchmarks/tables.py --check   # fail where one is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lines

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_QUOTED = re.compile(
    r"(<!-- (table|speed|grid|value) ([\w.-]+)(?:: (.*?))? -->)(?s:.*?)(<!-- end -->)"
)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _median(figure: dict[str, Any]) -> str:
    median: float = figure["ratio"]["median"]
    return f"{100 * median:.0f} %" if "share" in figure else _number(median)


def _ratio(figure: dict[str, Any]) -> str:
    """Median and range; of a share, how many cases hold."""
    if "share" in figure:
        holds, of = figure["share"]
        return f"{_median(figure)} ({holds} of {of})"
    ratio = figure["ratio"]
    return f"{_median(figure)} ({_number(ratio['min'])} to {_number(ratio['max'])})"


def _target(figure: dict[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    return f"{'at most ' if figure.get('at_most') else ''}{figure['target']:g}"


def _reached(figure: dict[str, Any]) -> bool:
    target, median = figure["target"], figure["ratio"]["median"]
    if target is None:
        return True
    return bool(median <= target if figure.get("at_most") else median >= target)


def _lines(head: list[str], rows: Iterable[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def table(result: dict[str, Any], figures: list[dict[str, Any]]) -> str:
    """Return a table of figures with their targets, or floors, and the line of where and how."""
    if "floor_us" in figures[0]:
        head = ["stage", "case", "floor, µs", "ours, µs", "floor / ours (range)"]
        rows = [
            [f["figure"], f["case"], _number(f["floor_us"]), _number(f["ours_us"]), _ratio(f)]
            for f in figures
        ]
    else:
        head = ["figure", "case", "median (range)", "at least"]
        rows = [[f["figure"], f["case"], _ratio(f), _target(f)] for f in figures]
    return f"\n{_lines(head, rows)}\n{_where(result)}"


def _where(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    where = f"{result['device']}; {versions}; {result['date']}; `{result['command']}`"
    return f"*{where}.*\n"


def speed(figures: list[dict[str, Any]]) -> str:
    """Return a table of figures, cases and ratios alone."""
    rows = ([f["figure"], f["case"], _ratio(f)] for f in figures)
    return "\n" + _lines(["figure", "case", "ratio (range)"], rows)


def grid(result: dict[str, Any], figures: list[dict[str, Any]]) -> str:
    """Return a table of a row for each case; what misses its target is bold."""
    cells: dict[str, dict[str, str]] = {}
    for figure in figures:
        median = _median(figure)
        cell = median if _reached(figure) else f"**{median}**"
        cells.setdefault(figure["case"], {})[figure["figure"]] = cell
    fullest_first = sorted(cells.values(), key=len, reverse=True)
    columns = list(dict.fromkeys(column for own in fullest_first for column in own))
    rows = ([case, *(own.get(column, "") for column in columns)] for case, own in cells.items())
    made = "\n" + _lines(["case", *columns], rows)
    return f"{made}\n{_where(result)}" if result.get("gpu") else made


def read(name: str) -> dict[str, Any]:
    """Return a result: where and how it was measured, and its figures.

    Of a file of JSON lines it is the first line that tells where, and the last figure of each name
    and case: the line was written when it was measured.

    Raises:
        SystemExit: If figures of a file of JSON lines are not all of one GPU.
    """
    file = RESULTS / name
    if file.suffix == ".json":
        result: dict[str, Any] = json.loads(file.read_text())
        return result
    told = lines.read(file)
    figures = {(line["figure"], line["case"]): line for line in told if "figure" in line}
    abouts: list[dict[str, Any]] = [line["about"] for line in told if "about" in line]
    if figures:
        _of_one_gpu(name, abouts)
    return {**(abouts[0] if abouts else {}), "figures": list(figures.values())}


def _of_one_gpu(name: str, abouts: list[dict[str, Any]]) -> None:
    if not abouts:
        raise SystemExit(f"{name} has figures, but no line that tells where they were measured")
    gpus = sorted({str(about.get("gpu") or "no GPU") for about in abouts})
    if len(gpus) > 1 or "no GPU" in gpus:
        raise SystemExit(f"{name} has lines of {', '.join(gpus)}; it must be of one GPU alone")


def quote(form: str, name: str, pattern: str) -> str:
    """Return what one comment asks for.

    Raises:
        SystemExit: If no figure matches, or several do where one value is asked for.
    """
    result = read(name)
    figures = [
        figure
        for figure in result["figures"]
        if re.search(pattern, f"{figure['figure']}, {figure['case']}")
    ]
    if not figures and name.endswith(".jsonl"):
        return "not measured" if form == "value" else "\nNot measured.\n"
    if not figures or (form == "value" and len(figures) > 1):
        raise SystemExit(f"{name} has {len(figures)} figures that match {pattern!r}")
    if form == "value":
        return _median(figures[0])
    if form == "speed":
        return speed(figures)
    return (grid if form == "grid" else table)(result, figures)


def pages() -> list[Path]:
    """Return README and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def renewed(text: str) -> str:
    """Return a page with all that it quotes made anew."""
    return _QUOTED.sub(
        lambda found: found[1] + quote(found[2], found[3], found[4] or "") + found[5], text
    )


def main() -> None:
    """Write what the pages quote, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    check = parser.parse_args().check
    stale = []
    for page in pages():
        text = page.read_text()
        made = renewed(text)
        if made != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(made)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python benchmarks/tables.py")


if __name__ == "__main__":
    main()
