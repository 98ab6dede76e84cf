"""Scores beside exact distances of nearest flips, on perceptrons small enough to be solved.

    python -m truth.exact solve --images 25                         # an hour on one core
    python -m truth.exact hold --out results/truth-exact-cpu.json   # the scores beside them

`solve` keeps each distance in ~/.cache/clever_ext/truth as soon as it has it, and goes on from
there; picture after picture, each of all networks and norms.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from published import WEIGHTS, digits
from side_by_side import arguments, parsed, quantity, show, write

import clever_ext as cx
from truth.held import Known, ends, scores
from truth.perceptrons import PERCEPTRONS, pooled, pooled_digits, trained_perceptron
from truth.pieces import Margin
from truth.solving import Solver

Floats = npt.NDArray[np.float64]

NORMS = (math.inf, 2.0, 1.0)
#: Distances that were solved, a line each.
SOLVED = WEIGHTS.parent / "truth" / "exact.jsonl"
#: Digits among which first flips are looked for.
_OTHERS = 200
#: Keys of what is known.
_ENDS = ("distance", "bound")
#: The runs that targets are set for.
_COUNTS = "bracket, 400 gradients"
#: Samples of a batch of the paper's score.
_BATCH = 80


def solved() -> list[dict[str, Any]]:
    """Return what `solve` has kept."""
    if not SOLVED.exists():
        sys.exit(f"{SOLVED} is missing: python -m truth.exact solve")
    return [json.loads(line) for line in SOLVED.read_text().splitlines()]


def solve(names: list[str], n: int) -> None:
    """Solve the first n pictures of networks, where that has not been done."""
    SOLVED.parent.mkdir(parents=True, exist_ok=True)
    SOLVED.touch()
    known = {(row["network"], row["picture"], row["norm"]) for row in solved()}
    models = {name: trained_perceptron(name) for name in names}
    pictures = {name: pooled_digits(model, n)[0].double() for name, model in models.items()}
    others = pooled(digits(_OTHERS)[0]).double()
    for i in range(n):
        for name, model in models.items():
            solver = Solver(model.double(), others)
            for p in NORMS:
                if (name, i, p) in known:
                    continue
                found = solver.nearest_of_all(pictures[name][i], p)
                row = {"network": name, "picture": i, "norm": p, **found}
                with SOLVED.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def hold(budgets: list[int], samples: list[int]) -> Iterator[dict[str, Any]]:
    """Score the pictures that were solved in all norms, and yield the figures.

    Args:
        budgets: Gradients of brackets, for each target.
        samples: Those of the paper's score.
    """
    of_all: dict[tuple[float, str], list[tuple[Known, Floats, Floats | None]]] = {}
    for name in PERCEPTRONS:
        truths = _truths(name)
        runs = _runs(name, len(truths[2.0].distance), budgets, samples)
        for (p, how), (score, upper) in runs.items():
            case = f"{name}, p = {p:g}, {len(score)} pictures, {how}"
            yield from _figures(truths[p], score, upper, case)
            of_all.setdefault((p, how), []).append((truths[p], score, upper))
    for (p, how), parts in of_all.items():
        known = Known(*(np.concatenate([getattr(k, n) for k, _, _ in parts]) for n in _ENDS))
        score = np.concatenate([s for _, s, _ in parts])
        uppers = [u for _, _, u in parts if u is not None]
        upper = np.concatenate(uppers) if uppers else None
        case = f"all four, p = {p:g}, {len(score)} pictures, {how}"
        yield from _figures(known, score, upper, case, counts=how == _COUNTS)


def _figures(
    known: Known, score: Floats, upper: Floats | None, case: str, counts: bool = False
) -> list[dict[str, Any]]:
    if upper is None:
        return scores(score, known, case)
    return ends(score, upper, known, case, counts)


def _truths(name: str) -> dict[float, Known]:
    """Return what is known of the first pictures, as many as were solved in all norms."""
    rows = {(row["picture"], row["norm"]): row for row in solved() if row["network"] == name}
    n = min(sum(q == p for _, q in rows) for p in NORMS)
    return {
        p: Known(*(np.array([rows[i, p][key] for i in range(n)]) for key in _ENDS)) for p in NORMS
    }


def _runs(
    name: str, n: int, budgets: list[int], samples: list[int]
) -> dict[tuple[float, str], tuple[Floats, Floats | None]]:
    """Return scores and, of brackets, upper ends, over all targets, by norm and estimator."""
    model = trained_perceptron(name)
    x, _ = pooled_digits(model, n)
    found: dict[tuple[float, str], tuple[Floats, Floats | None]] = {}
    for budget in budgets:
        result = cx.clever_score(
            model, x, norm=NORMS, radius="auto", clip=(0, 1), estimator="steepest",
            max_gradients=budget,
        )  # fmt: skip
        first = result.table.groupby(["norm", "image_id"])["first_order"].min()
        for p in NORMS:
            found[p, "first order"] = first[p].to_numpy(), None
            found[p, f"bracket, {budget} gradients"] = result.scores[p], result.flips[p]
    for many in samples:
        result = cx.clever_score(
            model, x, norm=NORMS, radius="auto", clip=(0, 1), estimator="clever",
            n_batches=many // _BATCH, batch_samples=_BATCH,
        )  # fmt: skip
        for p in NORMS:
            found[p, f"the paper's, {many:,} gradients"] = result.scores[p], None
    return found


def checked(names: list[str], n: int) -> dict[str, Any]:
    """Solve the first n pictures again in l1 and l-inf, by the solver of l2: the nearest class."""
    known = {(row["network"], row["picture"], row["norm"]): row for row in solved()}
    others = pooled(digits(_OTHERS)[0]).double()
    ratios = []
    for name in names:
        model = trained_perceptron(name)
        x, labels = pooled_digits(model, n)
        solver = Solver(model.double(), others)
        for i, label in enumerate(labels.tolist()):
            for p in (1.0, math.inf):
                row = known[name, i, p]
                margin = Margin(model, x[i].double(), label, row["target"])
                first = solver.first_flip(margin, p)
                flip, _ = solver.nearest(margin, first, p, by_branches=True)
                ratios.append(flip.distance / row["distance"])
    case = f"p = 1 and inf, {len(ratios)} nearest flips"
    return quantity("branch and bound / integer programming", case, None, np.array(ratios))


def main() -> None:
    """Solve, or hold scores against what was solved."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("what", choices=["solve", "hold"])
    parser.add_argument("names", nargs="*", default=[*PERCEPTRONS])
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--checked", type=int, default=2, help="pictures of a second solver")
    parser.add_argument("--gradients", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--samples", type=int, nargs="*", default=[640, 3200])
    args = parsed(parser)
    if args.what == "solve":
        solve(args.names, args.images)
        return
    figures = []
    held = hold(args.gradients, args.samples)
    for figure in (*held, checked(args.names, args.checked)):
        show(figure)
        figures.append(figure)
    write(args.out, figures)


if __name__ == "__main__":
    main()
