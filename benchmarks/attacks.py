"""The nearest flips that attacks of others find, kept for brackets to be held against.

    python attacks.py lenet-clean --images 50 --out results/attacks-lenet-clean-cpu.json

Attacks go from pictures that the network classifies correctly towards the runner-up, in pixels in
[0, 1]: those of `clever_ext.validation`, at a thousand gradients or more; `from picture` starts at
another picture of the set that the network takes for the target, which gated networks need. What
an attack returns is measured: its distance counts if the network answers otherwise there.
"""

from __future__ import annotations

import math
import sys
import time
import types
import unittest
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peers import peer
from published import CHOOSING, REPORTED, Case, digits, mnist
from side_by_side import arguments, parsed, share, show, write
from torch import Tensor

from clever_ext.validation.attacks import Attack, by_foolbox, choose, distances_of, fmn
from clever_ext.validation.pair import Work, in_parts, nearest_starts

Floats = npt.NDArray[np.float64]

NORMS = (1.0, 2.0, math.inf)
#: What an attack's distance may be exceeded by and still be met.
MET = 1.05


def prepared(case: Case, n: int | None, starts: int) -> tuple[Work, Tensor]:
    """Leave out what is classified wrongly, and look for starts among all pictures.

    Args:
        case: Of digits, the first test digits are attacked in place of Foolbox's twenty.
        n: How many pictures, right or wrong; None for all.
        starts: How many of each.

    Returns:
        What is attacked, and the number of each picture among all.
    """
    images, labels = digits(1000) if case.data is mnist else case.data()
    layout = torch.channels_last if images.shape[1] == 3 else torch.contiguous_format
    model = case.build().requires_grad_(False)  # Foolbox would have gradients of all parameters
    model.to(memory_format=layout)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=layout)
    with torch.no_grad():
        logits = in_parts(model, images)
    order = logits.argsort(dim=1, descending=True)
    right = (order[:n, 0] == torch.from_numpy(labels[:n])).nonzero()[:, 0]
    x, pairs = images[right], order[right, :2]
    found = nearest_starts(model, x, pairs, images, starts)
    return Work.of(model, x, pairs[:, 0], pairs[:, 1], found), right


def beside_torch() -> None:
    """Let adv-lib be imported beside a torch of another build than torchvision's."""
    try:
        peer("torchvision")
    except unittest.SkipTest:
        return  # nor is adv-lib there, which asks for it
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # of its charts, which none needs


def attacks(work: Work, p: float) -> Iterator[Attack]:
    """Yield the attacks of a norm; those that begin elsewhere where there are starts for all."""
    for attack in (each for each in choose(None, NORMS).attacks if p in each.norms):
        if attack.name == "FMN-from-start":
            for number in range(len(work.starts)):
                yield _fmn_from(number)
        elif attack.by_gradients or len(work.starts):
            yield attack


def _fmn_from(number: int) -> Attack:
    def run(work: Work, p: float, gradients: int, _: Floats) -> Tensor:
        return by_foolbox(fmn(p, gradients), work, work.starts[number])

    return Attack(f"FMN from picture {number + 1}", "foolbox", NORMS, run)


def measured(name: str, work: Work, steps: int, only: list[str]) -> list[dict[str, Any]]:
    """Run all attacks of all norms on one network; a flip counts in every norm."""
    found: dict[float, dict[str, Floats]] = {p: {} for p in NORMS}
    taken = {}
    for p in NORMS:
        known = np.full(len(work.x), math.inf)
        for attack in attacks(work, p):
            first = attack.name.split()[0]
            if only and first not in only and f"{first}:{p:g}" not in only:
                continue
            start = time.perf_counter()
            measured_in = distances_of(attack, work, p, NORMS, steps, known)
            taken[p, attack.name] = round(time.perf_counter() - start, 1)
            for q, far in measured_in.items():
                which = attack.name if q == p else "flips of other norms"
                found[q][which] = np.fmin(found[q].get(which, far), far)
            np.fmin(known, measured_in[p], out=known)
    figures = []
    for p, own in found.items():
        best = np.min(list(own.values()), axis=0)
        for which, distances in own.items():
            raw = [float(f"{d:.6g}") if math.isfinite(d) else None for d in distances]
            each = share(
                f"{which} within 5 % of the best attack",
                f"{name}, p = {p:g}, {len(best)} pictures", None, distances <= MET * best,
                distances=raw, seconds=taken.get((p, which)),
            )  # fmt: skip
            show(each)
            figures.append(each)
    return figures


def main() -> None:
    """Attack one network."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("name", choices=[*REPORTED, *CHOOSING])
    parser.add_argument("--steps", type=int, default=1000, help="gradients of each attack")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--starts", type=int, default=2, help="pictures to start from")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="attacks by their first word, as FMN, or FMN:2 for one norm alone",
    )
    args = parsed(parser)
    case = (REPORTED | CHOOSING)[args.name]
    beside_torch()
    work, picture = prepared(case, args.images, args.starts)
    figures = measured(args.name, work, args.steps, args.only)
    write(
        args.out, figures, seed=0, steps=args.steps, pictures=picture.tolist(),
        classes=work.classes.tolist(), targets=work.targets.tolist(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
