"""Makes the tables in README and docs anew from the result files.

A table stands between `<!-- table FILE -->` and `<!-- end -->`, where FILE is a file in
benchmarks/results; `<!-- table FILE: PATTERN -->` takes the figures whose name and case, written
"name, case", match a regular expression.

    python benchmarks/tables.py           # write them
    python benchmarks/tables.py --check   # fail where one is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "docs/studies/performance.md",
    "docs/studies/which-score.md",
    "docs/studies/tolerance.md",
    "docs/concepts/method.md",
)
_TABLE = re.compile(r"(<!-- table ([\w.-]+)(?:: (.*?))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(figure: dict[str, Any]) -> list[str]:
    """Cells of one figure; one that has floor and gap in microseconds shows them."""
    ratio, target = figure["ratio"], figure["target"]
    cells = [figure["figure"], figure["case"]]
    if "floor_us" in figure:
        cells += [_number(figure["floor_us"]), _number(figure["ours_us"])]
    if "share" in figure:
        holds, of = figure["share"]
        cells.append(f"{100 * ratio['median']:.0f} % ({holds} of {of})")
    else:
        spread = f"{_number(ratio['min'])} to {_number(ratio['max'])}"
        cells.append(f"{_number(ratio['median'])} ({spread})")
    if "floor_us" not in figure:
        bound = "at most " if figure.get("at_most") else ""
        cells.append("" if target is None else f"{bound}{target:g}")
    return cells


def table(name: str, pattern: str) -> str:
    """Return the table of a result file's figures, and where and how they were measured."""
    result = json.loads((ROOT / "benchmarks" / "results" / name).read_text())
    rows = [
        _row(each)
        for each in result["figures"]
        if re.search(pattern, f"{each['figure']}, {each['case']}")
    ]
    if not rows:
        raise SystemExit(f"{name} has no figure that matches {pattern!r}")
    head = ["figure", "case", "median (range)", "at least"]
    if len(rows[0]) == 5:
        head = ["stage", "case", "floor, µs", "ours, µs", "floor / ours (range)"]
    lines = [head, ["---"] * len(head), *rows]
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return (
        "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        + f"\n*{result['device']}; {versions}; {result['date']}; `{result['command']}`.*\n"
    )


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    check = parser.parse_args().check
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text()
        made = _TABLE.sub(lambda found: found[1] + table(found[2], found[3] or "") + found[5], text)
        if made != text:
            stale.append(page)
            if not check:
                path.write_text(made)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python benchmarks/tables.py")


if __name__ == "__main__":
    main()
