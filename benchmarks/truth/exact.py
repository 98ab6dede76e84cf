"""Scores beside exact distances of nearest flips, on perceptrons small enough to be solved.

    python -m truth.exact solve --images 25                               # an hour on one core
    python -m truth.exact check                                           # two solvers, five minutes
    python -m truth.exact hold --out results/truth-exact-cpu.json         # the scores beside them

`solve` keeps each distance in ~/.cache/clever_ext/truth as soon as it has it, and goes on from there;
picture after picture, each of all networks and norms.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from published import WEIGHTS, digits
from side_by_side import arguments, parsed
from truth.perceptrons import PERCEPTRONS, pooled, pooled_digits, trained_perceptron
from truth.solving import Solver

NORMS = (math.inf, 2.0, 1.0)
#: Distances that were solved, a line each.
SOLVED = WEIGHTS.parent / "truth" / "exact.jsonl"
#: Digits among which first flips are looked for.
_OTHERS = 200


def solved() -> list[dict[str, Any]]:
    """Return what `solve` has kept."""
    if not SOLVED.exists():
        sys.exit(f"{SOLVED} is missing: python -m truth.exact solve")
    return [json.loads(line) for line in SOLVED.read_text().splitlines()]


def solve(n: int) -> None:
    """Solve the first n pictures of each network, where that has not been done."""
    SOLVED.parent.mkdir(parents=True, exist_ok=True)
    SOLVED.touch()
    known = {(row["network"], row["picture"], row["norm"]) for row in solved()}
    models = {name: trained_perceptron(name) for name in PERCEPTRONS}
    pictures = {name: pooled_digits(model, n)[0].double() for name, model in models.items()}
    others = pooled(digits(_OTHERS)[0]).double()
    for i in range(n):
        for name, model in models.items():
            solver = Solver(model.double(), others)
            for p in NORMS:
                if (name, i, p) in known:
                    continue
                found = solver.solve(pictures[name][i], p)
                row = {"network": name, "picture": i, "norm": p, **found}
                with SOLVED.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def main() -> None:
    """Solve, check, or hold scores against what was solved."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("what", choices=["solve", "check", "hold"])
    parser.add_argument("--images", type=int, default=25)
    args = parsed(parser)
    if args.what == "solve":
        solve(args.images)


if __name__ == "__main__":
    main()
