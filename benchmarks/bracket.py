"""Both ends of brackets beside attacks of a thousand steps, and beside the first-order score.

    python bracket.py lenet-clean lenet-adversarial --out results/bracket-cpu.json
    python bracket.py mlp-clean convolutions-adversarial lenet-robust      # to choose constants

The attack is the best of Foolbox's: DDN (p = 2), FMN (all p), EAD (p = 1), towards the runner-up.
Images that the network gets wrong are left out.
"""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from published import CHOOSING, REPORTED, Case
from scipy.stats import spearmanr
from side_by_side import arguments, parsed, quantity, share, show, write
from steepest import NORMS, Pair, rounded
from torch import Tensor

import clever_ext as cx

Floats = npt.NDArray[np.float64]

#: What an attack's distance may be exceeded by and still be met.
_MET = 1.05


def attack(model: torch.nn.Module, x: Tensor, targets: Tensor, p: float, steps: int) -> Floats:
    """Return the distances [N] of the best flips that Foolbox finds; infinite where it finds none.

    Args:
        model: Takes pixels in [0, 1].
        x: [N, *shape].
        targets: [N] classes.
        p: The norm.
        steps: Gradients of each attack.
    """
    foolbox: Any = importlib.import_module("foolbox")  # its names are not exported to mypy
    with torch.no_grad():
        classes = model(x).argmax(dim=1)
    pair = foolbox.PyTorchModel(Pair(model, classes, targets).eval(), (0, 1), device="cpu")
    attacks = foolbox.attacks
    several = {
        1.0: [
            attacks.L1FMNAttack(steps=steps),
            attacks.EADAttack(binary_search_steps=5, steps=steps // 5),
        ],
        2.0: [attacks.DDNAttack(steps=steps), attacks.L2FMNAttack(steps=steps)],
        math.inf: [attacks.LInfFMNAttack(steps=steps)],
    }[p]
    criterion = foolbox.criteria.Misclassification(torch.zeros_like(classes))
    best = np.full(len(x), math.inf)
    for each in several:
        _, (points,), (success,) = each(pair, x, criterion, epsilons=[None])
        distance = torch.linalg.vector_norm((points - x).flatten(1).double(), p, dim=1)
        best = np.fmin(best, torch.where(success, distance, math.inf).numpy())
    return best


def measured(name: str, case: Case, budgets: list[int], steps: int, n: int) -> list[dict[str, Any]]:
    """Measure one network in all norms."""
    model = case.build()
    images, labels = case.data()
    images, labels = images[:n], labels[:n]
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(images, 10)])
    order = logits.argsort(dim=1, descending=True)
    right = order[:, 0] == torch.from_numpy(labels)
    images, targets = images[right], order[right, 1]
    figures = []
    for p in NORMS:
        distance = attack(model, images, targets, p, steps)
        runs = {
            budget: cx.clever_score(
                model, images, norm=p, radius="auto", targets=targets.numpy()[:, None],
                clip=(0, 1), estimator="steepest", max_gradients=budget,
            ).table
            for budget in budgets
        }  # fmt: skip
        best = np.fmin.reduce(
            [distance, *(run["nearest_flip"].to_numpy() for run in runs.values())]
        )
        what = f"{name}, p = {p:g}, {len(images)} pictures"
        for budget, rows in runs.items():
            figures += _of_run(rows, distance, best, f"{what}, {budget} gradients")
        first = (rows["margin"] / rows["norm_at_image"]).to_numpy()
        figures += [
            share("attack within 5 % of the best known", what, None, distance <= _MET * best),
            quantity("first order / best known", what, None, first / best),
            quantity("rank correlation of first order", what, None, _ranks(first, best)),
        ]
    return figures


def _of_run(rows: Any, distance: Floats, best: Floats, case: str) -> list[dict[str, Any]]:
    """Hold one run against the attack's distances and the best that are known, all [N]."""
    lower, upper = rows["score"].to_numpy(), rows["nearest_flip"].to_numpy()
    raw = {"attack": rounded(distance), "lower": rounded(lower), "upper": rounded(upper)}
    found = np.isfinite(distance)
    return [
        share("upper within 5 % of the best known", case, None, upper <= _MET * best, **raw),
        quantity("upper / attack", case, None, (upper / distance)[found]),
        quantity("lower / best known", case, None, lower / best),
        share("lower above the best known", case, None, lower > best * (1 + 1e-6)),
        quantity("lower / upper", case, None, lower / upper),
        quantity("rank correlation of lower", case, None, _ranks(lower, best)),
        quantity("gradients spent", case, None, rows["n_gradients"].to_numpy(dtype=float)),
    ]


def _ranks(scores: Floats, distances: Floats) -> Floats:
    """Spearman's correlation, as a quantity of one value."""
    return np.array([spearmanr(scores, distances).statistic])


def main() -> None:
    """Measure the networks that are named."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("names", nargs="*", default=["lenet-clean", "lenet-adversarial"])
    parser.add_argument("--gradients", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--steps", type=int, default=1000, help="of each attack")
    parser.add_argument("--images", type=int, default=20)
    args = parsed(parser)
    unknown = set(args.names) - {*REPORTED, *CHOOSING}
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}")
    figures = []
    for name in args.names:
        case = (REPORTED | CHOOSING)[name]
        for each in measured(name, case, args.gradients, args.steps, args.images):
            show(each)
            figures.append(each)
    out: Path | None = args.out
    write(out, figures)


if __name__ == "__main__":
    main()
