"""Both ends of brackets beside the nearest flips of others' attacks, and beside first order.

    python bracket.py beside lenet-clean mnist-7-layer --out results/bracket-normal-cpu.json
    python bracket.py paper lenet-adversarial --out results/bracket-paper-cpu.json
    python bracket.py cost --out results/bracket-cost-cpu.json
    python bracket.py verdict lenet-clean lenet-adversarial --out results/bracket-verdict-cpu.json
    python bracket.py photographs --out results/bracket-photographs-cpu.json

The attacks' distances are those that attacks.py kept, results/attacks-NETWORK-cpu.json: of the same
pictures and targets, which is checked.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from attacks import MET, NORMS, prepared
from published import CHOOSING, REPORTED, digits, mnist
from scipy.stats import spearmanr, wilcoxon
from side_by_side import arguments, figure, interleaved, parsed, quantity, share, show, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.validation.attacks import by_foolbox, foolbox
from clever_ext.validation.pair import Work

Floats = npt.NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"
#: Networks that were trained against attacks, or to be proved robust.
ROBUST = {"lenet-adversarial", "mnist-provable-0.1", "mnist-provable-0.3", "cifar-provable"}
ROBUST |= {"cifar-provable-l2", "convolutions-adversarial", "lenet-robust"}
#: An upper end is far from the attack's above so many times its distance.
_FAR = 1.3
#: Pictures whose lower ends are followed to many gradients.
_SETTLED = 10
#: Roundings of distances.
_SAME = 1 + 1e-6
#: Shares of upper ends that are to be near, by robust and norm.
_NEAR = {(False, 1.0): 0.85, (False, 2.0): 0.95, (False, math.inf): 0.95}
_NEAR |= {(True, 1.0): 0.7, (True, 2.0): 0.85, (True, math.inf): 0.95}


def kept_attacks(name: str) -> Any:
    """Return what attacks.py wrote of a network."""
    file = RESULTS / f"attacks-{name}-cpu.json"
    if not file.exists():
        sys.exit(f"{file} is missing: python attacks.py {name} --out {file}")
    return json.loads(file.read_text())


def best_attack(kept: Any, p: float) -> Floats:
    """Return the distances [N] of the best attack of a network; infinite where all have failed."""
    found = [
        [math.inf if d is None else d for d in each["distances"]]
        for each in kept["figures"]
        if f", p = {p:g}," in each["case"]
    ]
    best: Floats = np.min(np.array(found), axis=0)
    return best


def pictures(name: str, n: int | None) -> Work:
    """Return the first n of the pictures that were attacked; all if None."""
    kept = kept_attacks(name)
    n = min(n or len(kept["targets"]), len(kept["targets"]))
    work = prepared((REPORTED | CHOOSING)[name], None, 0)[0].some(slice(n))
    assert work.targets.tolist() == kept["targets"][:n], "the attacks were of other pictures"
    return work


def scored(work: Work, norms: tuple[float, ...], budget: int) -> Any:
    """Return the table of the brackets of the pictures towards their targets."""
    return cx.clever_score(
        work.pair.model, work.x, norm=norms, radius="auto", targets=work.targets.numpy()[:, None],
        clip=(0, 1), estimator="steepest", max_gradients=budget,
    ).table  # fmt: skip


def beside(name: str, budgets: list[int], far: int, n: int | None) -> list[dict[str, Any]]:
    """Measure one network in all norms.

    Args:
        name: Of the network.
        budgets: Gradients.
        far: Gradients of the lower ends that others are held against, of a few pictures; 0: none.
        n: At most so many pictures.
    """
    work = pictures(name, n)
    robust = name in ROBUST
    runs = {budget: scored(work, NORMS, budget) for budget in budgets}
    if far:
        runs[far] = scored(work.some(slice(_SETTLED)), NORMS, far)
    figures = []
    for p in NORMS:
        tables = {budget: run[run["norm"] == p] for budget, run in runs.items()}
        attack = best_attack(kept_attacks(name), p)
        rows = tables[budgets[0]]
        first = rows["first_order"].to_numpy()
        case = f"{name}, p = {p:g}, {len(rows)} pictures, 1 gradient"
        figures += _lower(first, attack[: len(rows)], case, (None, None))
        for budget, rows in tables.items():
            case = f"{name}, p = {p:g}, {len(rows)} pictures, {budget} gradients"
            counts = budget == (400 if robust else 100)
            figures += _ends(rows, attack[: len(rows)], case, robust, p, counts)
            if far and budget != far:
                ratio = rows["score"][:_SETTLED].to_numpy() / tables[far]["score"].to_numpy()
                wanted = 1.5 if robust else 1.25 if p > 1 else None
                figures.append(
                    quantity(f"lower / lower of {far:,}", case, wanted if budget == 100 else None,
                             ratio, at_most=True)
                )  # fmt: skip
    figures.append(_beside_ddn(work, budgets[0], name))
    return figures


def _ends(
    rows: Any, attack: Floats, case: str, robust: bool, p: float, counts: bool
) -> list[dict[str, Any]]:
    """Hold both ends of one run against the attack's distances [N]; `counts`: with targets."""
    lower, upper = rows["score"].to_numpy(), rows["nearest_flip"].to_numpy()
    both = np.isfinite(attack) & np.isfinite(upper)
    wanted = (0.05, 0.85 if p == math.inf else None) if robust else (0.01, 0.98)
    return [
        share("upper within 5 %", case, _NEAR[robust, p] if counts else None,
              upper <= MET * attack, upper=rounded(upper)),
        share("upper within 1.3 times", case, 0.98 if counts and robust else None,
              upper <= _FAR * attack),
        quantity("upper / attack", case, None, (upper / attack)[both]),
        *_lower(lower, attack, case, wanted if counts else (None, None)),
        quantity("gradients spent", case, None, rows["n_gradients"].to_numpy(dtype=float)),
    ]  # fmt: skip


def _lower(
    lower: Floats, attack: Floats, case: str, wanted: tuple[float | None, float | None]
) -> list[dict[str, Any]]:
    """Hold lower ends, or other scores, against the attack's distances, both [N]."""
    ranks = np.array([spearmanr(lower, attack).statistic])
    return [
        share("above the attack", case, wanted[0], lower > attack * _SAME, at_most=True,
              score=rounded(lower), attack=rounded(attack)),
        quantity("lower / attack", case, None, (lower / attack)[np.isfinite(attack)]),
        quantity("rank correlation", case, wanted[1], ranks),
    ]  # fmt: skip


def paper(name: str, gradients: int) -> Iterator[dict[str, Any]]:
    """Hold the paper's scores against the attack's distances.

    That of photographs takes hours; steepest.py has kept one of l2 (R = 2, without clip).
    """
    work, photos = pictures(name, None), name == "efficientnet-lite0"
    for p in (2.0,) if photos else NORMS:
        attack = best_attack(kept_attacks(name), p)
        if photos:
            kept = json.loads((RESULTS / "steepest-photographs-cpu.json").read_text())
            scores, spent = np.array(kept["figures"][0]["clever"]), 1024
        else:
            rows = cx.clever_score(
                work.pair.model, work.x, norm=p, radius="auto", clip=(0, 1),
                targets=work.targets.numpy()[:, None], estimator="clever",
                n_batches=max(16, gradients // 80), batch_samples=min(80, gradients // 16),
            ).table  # fmt: skip
            scores, spent = rows["score"].to_numpy(), int(rows["n_gradients"].median())
        case = f"{name}, p = {p:g}, {len(scores)} pictures, {spent:,} gradients of the paper's"
        yield from _lower(scores, attack, case, (None, None))


def _beside_ddn(work: Work, budget: int, name: str) -> dict[str, Any]:
    """Run Foolbox's DDN and a bracket of l2 alone, with as many gradients."""
    torch.manual_seed(0)
    points = by_foolbox(foolbox().attacks.DDNAttack(steps=budget), work)
    theirs = work.distances(points, 2.0)
    ours = scored(work, (2.0,), budget)["nearest_flip"].to_numpy()
    return share(
        "upper at most that of Foolbox's DDN", f"{name}, p = 2, {budget} gradients each", 0.8,
        ours <= theirs * _SAME, ddn=rounded(theirs), upper=rounded(ours),
    )  # fmt: skip


#: What was sent through a `Logged` model: how many points, and whether gradients were asked for.
_sent: list[tuple[int, bool]] = []


class Logged(nn.Module):
    """A network that notes what is sent through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map points [B, *shape] to logits."""
        _sent.append((len(x), torch.is_grad_enabled()))
        logits: Tensor = self.model(x)
        return logits


def cost(rounds: int) -> list[dict[str, Any]]:
    """Time a bracket of 100 gradients beside the bare passes of the same batches.

    The passes go through the network as it is, in both.
    """
    figures = []
    for name, n in (("lenet-clean", 20), ("efficientnet-lite0", 2)):
        case = REPORTED[name]
        x = case.data()[0][:n]
        plain, logged = case.build().requires_grad_(False), Logged(case.build()).eval()

        def bracket(model: nn.Module, x: Tensor = x) -> Any:
            return cx.clever_score(
                model, x, targets="top2", radius="auto", estimator="steepest", clip=(0, 1),
                max_gradients=100, prepare="none", device_batch=20,
            )  # fmt: skip

        _sent.clear()
        bracket(logged)
        sent = list(_sent)

        def bare(model: nn.Module = plain, x: Tensor = x, sent: Any = sent) -> None:
            for size, gradients in sent:
                leaf = x[torch.arange(size) % len(x)].requires_grad_(gradients)
                with torch.set_grad_enabled(gradients):
                    logits = model(leaf)
                if gradients:
                    torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)

        found = interleaved({"bare": bare, "ours": partial(bracket, plain)}, rounds)
        spent = sum(size for size, gradients in sent if gradients)
        forwards = sum(size for size, gradients in sent if not gradients)
        figures.append(
            figure(
                "bracket, against its bare passes",
                f"{name}, p = 2, {n} pictures, 100 gradients",
                1 / 1.1,
                found["bare"],
                found["ours"],
                gradients=spent,
                forwards_alone=forwards,
            )
        )
    return figures


def verdicts(a: str, b: str, gradients: int) -> Iterator[dict[str, Any]]:
    """Compare two networks by brackets, and by what attacks.py kept of them.

    On 200 digits all norms are compared, on photographs l2.
    """
    runs = []
    for name in (a, b):
        case = REPORTED[name]
        images, labels = digits(200) if case.data is mnist else case.data()
        norms = NORMS if case.data is mnist else (2.0,)
        runs.append(
            cx.clever_score(
                case.build(), images, norm=norms, radius="auto", targets="top2", labels=labels,
                clip=(0, 1), estimator="steepest", max_gradients=gradients, model_name=name,
            )
        )  # fmt: skip
    for row in cx.compare(*runs).to_dict()["pairs"]:
        p = float(row["norm"])
        told = row["more_robust"] or "cannot tell"
        theirs, numbers = _attacks_verdict(a, b, p)
        yield share(
            "verdict is the attacks' or none", f"{a}, {b}, p = {p:g}, {gradients} gradients",
            1.0, np.array([told in (theirs, "cannot tell")]), brackets=told, attacks=theirs,
            verdict=row["verdict"], **numbers,
        )  # fmt: skip


def _attacks_verdict(a: str, b: str, p: float) -> tuple[str, dict[str, Any]]:
    """Tell which model's attacks go farther, by Wilcoxon's test at 5 %."""
    kept = {name: kept_attacks(f"{name}-200" if "lenet" in name else name) for name in (a, b)}
    far = {
        name: dict(zip(k["pictures"], best_attack(k, p), strict=True)) for name, k in kept.items()
    }
    common = [i for i in far[a] if i in far[b] and math.isfinite(far[a][i] + far[b][i])]
    x, y = (np.array([far[name][i] for i in common]) for name in (a, b))
    p_value = float(wilcoxon(x, y).pvalue)
    farther = a if x.mean() > y.mean() else b
    return (
        farther if p_value < 0.05 else "cannot tell",
        {
            "pictures": len(common),
            "p_value": p_value,
            "mean_attacks": rounded([x.mean(), y.mean()]),
        },
    )


def photographs() -> list[dict[str, Any]]:
    """Time 18 photographs, l2, 100 gradients, two threads, with a table and a picture."""
    work = pictures("efficientnet-lite0", None)
    torch.set_num_threads(2)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = scored(work, (2.0,), 100)
        rows.to_csv(Path(folder) / "rows.csv")
        taken = time.perf_counter() - start
    what = f"{len(rows)} photographs, p = 2, 100 gradients, two threads"
    return [quantity("seconds", what, 90.0, np.array([taken]), at_most=True, load_before=load)]


def rounded(values: Any) -> list[float | None]:
    """Return numbers short enough for a file; None for what is not finite."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values]


def main() -> None:
    """Measure what is named."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("what", choices=["beside", "paper", "cost", "verdict", "photographs"])
    parser.add_argument("names", nargs="*", default=["lenet-clean", "lenet-adversarial"])
    parser.add_argument("--gradients", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--far", type=int, default=0, help="gradients of settled lower ends")
    parser.add_argument("--images", type=int)
    args = parsed(parser)
    unknown = set(args.names) - {*REPORTED, *CHOOSING}
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}")
    for name in args.names if args.what in ("beside", "paper") else ():
        kept_attacks(name)  # before hours of work
    works = {
        "beside": lambda: (
            figure
            for name in args.names
            for figure in beside(name, args.gradients, args.far, args.images)
        ),
        "paper": lambda: (each for name in args.names for each in paper(name, args.gradients[0])),
        "cost": lambda: cost(args.rounds),
        "verdict": lambda: verdicts(args.names[0], args.names[1], args.gradients[0]),
        "photographs": photographs,
    }
    figures = []
    for each in works[args.what]():
        show(each)
        figures.append(each)
    write(args.out, figures)


if __name__ == "__main__":
    main()
