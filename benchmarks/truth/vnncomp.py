"""What the scores say of networks that verifiers have decided: VNN-COMP 2021.

    cd benchmarks
    python -m truth.vnncomp --benchmarks FOLDER --results FOLDER

The first is the folder of that name in github.com/stanleybak/vnncomp2021, the second is results_csv
in stanleybak/vnncomp2021_results. Each instance asks whether, within eps in l-inf around a picture,
in valid pixels, the class stays the same; verifiers proved that it does ("holds") or that it does
not ("violated"). Scores are of all the classes that the property names, without knowledge of eps,
but for the paper's, whose radius is eps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import arguments, parsed, share, show, write
from torch import nn

import clever_ext as cx
from truth.instances import BENCHMARKS, Instance, instances, network

#: Gradients of a row.
_BUDGETS = (100, 400)
#: Batches and samples of the paper's score.
_BATCHES, _SAMPLES = 20, 32
#: Distances that rounding of the boxes' sides may have made differ.
_SAME = 1e-6
#: Of instances with a counterexample: shares of lower ends above eps, and upper ends within.
_WRONG, _FOUND = 0.02, 0.95


def measured(of_network: list[Instance], paper: bool) -> list[dict[str, Any]]:
    """Score all instances of one network; return what there is to say of each."""
    model = network(of_network[0].benchmark, of_network[0].network)
    rows = [_about(each) for each in of_network]
    for budget in _BUDGETS:
        for own, each in zip(rows, _bracketed(model, of_network, budget), strict=True):
            own.update(each)
    for own, instance in zip(rows, of_network, strict=True):
        if paper:
            own["paper"] = _paper(model, instance)
    return rows


def _about(instance: Instance) -> dict[str, Any]:
    return {
        "benchmark": instance.benchmark,
        "network": instance.network.stem,
        "property": Path(instance.name).stem,
        "eps": instance.eps,
        "verdict": instance.verdict,
        "tools": instance.tools,
    }


def _bracketed(
    model: nn.Module, of_network: list[Instance], budget: int
) -> Iterable[dict[str, Any]]:
    """Bracket the pictures towards all classes of their properties; once for several radii."""
    places: dict[bytes, int] = {}
    for each in of_network:
        places.setdefault(each.pixels.numpy().tobytes(), len(places))
    place = [places[each.pixels.numpy().tobytes()] for each in of_network]
    own = [of_network[place.index(n)] for n in range(len(places))]
    table = cx.clever_score(
        model, torch.stack([each.pixels for each in own]), norm=math.inf, radius="auto",
        targets=np.array([each.asked.others for each in own]),
        labels=[each.asked.label for each in own], clip=(0, 1), estimator="steepest",
        max_gradients=budget, keep_witness=True,
    ).table  # fmt: skip
    assert (table["status"] == "ok").all(), "a picture is misclassified"
    of_image = [table[table["image_id"] == n] for n in range(len(own))]
    for n, instance in zip(place, of_network, strict=True):
        rows = of_image[n]
        nearest = rows.iloc[int(rows["nearest_flip"].argmin())]
        upper = float(nearest["nearest_flip"])
        found = {
            f"lower_{budget}": float(rows["score"].min()),
            f"upper_{budget}": upper if math.isfinite(upper) else None,
            f"class_{budget}": int(nearest["target"]),
            f"gradients_{budget}": int(rows["n_gradients"].sum()),
            "first_order": float(rows["first_order"].min()),
        }
        if upper <= instance.eps * (1 + _SAME):
            found[f"confirmed_{budget}"] = instance.counterexample(nearest["witness"])
        yield found


def _paper(model: nn.Module, instance: Instance) -> float:
    """Return the paper's score in the ball of eps: at most eps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cx.CleverWarning)  # scores may well be the radius
        result = cx.clever_score(
        model, instance.pixels[None], norm=math.inf, radius=instance.eps,
        targets=np.array([instance.asked.others]), clip=(0, 1), estimator="clever",
        n_batches=_BATCHES, batch_samples=_SAMPLES,
        )  # fmt: skip
    return float(result.scores[math.inf][0])


def _of_group(rows: list[dict[str, Any]], name: str, verdict: str) -> list[dict[str, Any]]:
    """Hold the scores of instances with one verdict against it."""
    eps = np.array([row["eps"] for row in rows])
    case = f"{name}, {verdict}, {len(rows)} instances"

    def of(key: str, other: float = math.inf) -> Any:
        return np.array([other if row.get(key) is None else row[key] for row in rows])

    violated, holds = verdict == "violated", verdict == "holds"
    figures = []
    for budget in _BUDGETS:
        wanted = 0.0 if holds else _FOUND if violated and budget == _BUDGETS[-1] else None
        at = f"{case}, {budget} gradients"
        within = of(f"upper_{budget}") <= eps * (1 - _SAME if holds else 1 + _SAME)
        figures += [
            share("upper within eps", at, wanted, within, at_most=holds),
            share("confirmed by onnxruntime", at, None, of(f"confirmed_{budget}", 0) == 1),
            share("lower above eps", at, _WRONG if violated else None,
                  of(f"lower_{budget}") > eps * (1 + _SAME), at_most=True),
        ]  # fmt: skip
    figures.append(
        share("first order above eps", case, None, of("first_order") > eps, at_most=True)
    )
    scored = np.array(["paper" in row for row in rows])
    if scored.any():
        figures.append(
            share("the paper's at least eps", case, None,
                  (of("paper") >= eps * (1 - _SAME))[scored], at_most=True)
        )  # fmt: skip
    return figures


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures of all groups of one network and verdict, and of whole benchmarks."""
    figures = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        own = [row for row in rows if row["benchmark"] == benchmark]
        names = list(dict.fromkeys(row["network"] for row in own))
        groups = [(name, [row for row in own if row["network"] == name]) for name in names]
        for name, of_name in [*groups, (f"all of {benchmark}", own)]:
            for verdict in ("holds", "violated", "disputed"):
                group = [row for row in of_name if row["verdict"] == verdict]
                if group:
                    figures += _of_group(group, name, verdict)
    return figures


def main() -> None:
    """Measure, and write after every network."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of benchmarks")
    parser.add_argument("--results", type=Path, required=True, help="folder results_csv")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--no-paper", nargs="*", default=[], metavar="BENCHMARK",
                        help="leave the paper's score out")  # fmt: skip
    args = parsed(parser)
    rows: list[dict[str, Any]] = []
    for benchmark in args.only:
        of_benchmark = list(instances(args.benchmarks, args.results, benchmark))
        for _, same in groupby(of_benchmark, key=lambda each: each.network):
            some = list(same)[: 4 if args.quick else None]
            rows += measured(some, benchmark not in args.no_paper)
            write(args.out, summary(rows), instances=rows)
    for each in summary(rows):
        show(each)


if __name__ == "__main__":
    main()
