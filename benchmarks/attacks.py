"""The nearest flips that attacks of others find, kept for brackets to be held against.

    python attacks.py lenet-clean --images 50 --out results/attacks-lenet-clean-cpu.json

Attacks go from pictures that the network classifies correctly towards the runner-up, in pixels in
[0, 1]. Each is one of Foolbox or adv-lib at a thousand gradients or more; `from pictures` starts at
another picture of the set that the network takes for the target, which gated networks need. What
an attack returns is measured here: its distance counts if the network answers otherwise there.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peers import peer
from published import CHOOSING, REPORTED, Case, digits, mnist
from side_by_side import arguments, parsed, share, show, write
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]

NORMS = (1.0, 2.0, math.inf)
#: What an attack's distance may be exceeded by and still be met.
MET = 1.05
#: Margins at the pictures, as attacks see them: losses of logits neither vanish nor overflow.
_MARGIN = 10.0


class Pair(nn.Module):
    """The two logits of a margin, of each row its own, scaled: what attacks towards a target need.

    Its rows are those of the pictures, so that an attack must look at all of them, in their order.
    """

    def __init__(self, model: nn.Module, x: Tensor, classes: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.model, self.columns = model, torch.stack([classes, targets], dim=1)
        with torch.no_grad():
            logits = in_parts(model, x).gather(1, self.columns)
        self.margin = logits[:, 0] - logits[:, 1]

    def forward(self, x: Tensor) -> Tensor:
        """Map points [N, *shape] to [N, 2]."""
        logits: Tensor = self.model(x).gather(1, self.columns)
        return logits * (_MARGIN / self.margin)[:, None]

    def squashed(self, x: Tensor) -> Tensor:
        """Do the same, of margins so tame that cross-entropy has no vanishing gradient."""
        logits = self.forward(x)
        margins = (logits[:, 0] - logits[:, 1]).asinh()
        return torch.stack([margins, torch.zeros_like(margins)], dim=1)


@dataclass(frozen=True)
class Work:
    """A network and its pictures: `pair` is of all of them.

    Attributes:
        picture: [N], its number among all, also those that are classified wrongly.
        x: [N, *shape] in [0, 1].
        classes: [N], and targets: what they are classified as, and the runner-up.
        starts: [K, N, *shape], of each picture others that the network takes for the target; K may
            be 0.
    """

    pair: Pair
    picture: Tensor
    x: Tensor
    classes: Tensor
    targets: Tensor
    starts: Tensor

    def first(self, n: int) -> Work:
        """Return a work of the first n pictures."""
        x, classes, targets = self.x[:n], self.classes[:n], self.targets[:n]
        pair = Pair(self.pair.model, x, classes, targets).eval()
        return Work(pair, self.picture[:n], x, classes, targets, self.starts[:, :n])

    def distances(self, points: Tensor, p: float) -> Floats:
        """Return [N]; infinite where the network does not answer otherwise at the point."""
        points = points.detach().clamp(0, 1)
        with torch.no_grad():
            logits = in_parts(self.pair.model, points).gather(1, self.pair.columns)
        away = torch.linalg.vector_norm((points - self.x).flatten(1).double(), p, dim=1)
        found: Floats = torch.where(logits[:, 1] >= logits[:, 0], away, math.inf).numpy()
        return found


def in_parts(model: nn.Module, x: Tensor) -> Tensor:
    """Return logits; not too many pictures at once."""
    return torch.cat([model(part) for part in torch.split(x, 50)])


def prepared(case: Case, n: int | None, starts: int) -> Work:
    """Leave out what is classified wrongly, and look for starts among all pictures.

    Args:
        case: Of digits, the first test digits are attacked in place of Foolbox's twenty.
        n: How many pictures, right or wrong; None for all.
        starts: How many of each.
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
    x, classes, targets = images[right], order[right, 0], order[right, 1]
    found = []
    for row, (own, other) in enumerate(zip(classes, targets, strict=True)):
        away = torch.linalg.vector_norm((images - x[row]).flatten(1), dim=1)
        away[logits[:, other] <= logits[:, own]] = math.inf
        nearest = away.argsort()[:starts]
        found.append(images[nearest[away[nearest] < math.inf]])
    common = min(len(each) for each in found)
    kept = torch.stack([each[:common] for each in found], dim=1)
    return Work(Pair(model, x, classes, targets).eval(), right, x, classes, targets, kept)


def foolbox() -> Any:
    """Return Foolbox."""
    return importlib.import_module("foolbox")  # its names are not exported to mypy


def _adv_lib(module: str) -> Any:
    peer("torchvision")
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # of its charts, which none needs
    return importlib.import_module(f"adv_lib.attacks.{module}")


def by_foolbox(attack: Any, work: Work, start: Tensor | None = None) -> Tensor:
    """Return the points [N, *shape] of an attack of Foolbox, which may start at others."""
    bounded = foolbox().PyTorchModel(work.pair, (0, 1), device="cpu")
    criterion = foolbox().criteria.Misclassification(torch.zeros_like(work.classes))
    more = {} if start is None else {"starting_points": start}
    points: Tensor = attack(bounded, work.x, criterion, epsilons=None, **more)[1]
    return points


def _apgd(work: Work, p: float, known: Floats) -> Tensor:
    """APGD of 100 gradients in balls of ten radii, bisected below the distances that are known."""
    apgd, nearest = _adv_lib("auto_pgd").apgd, work.x.clone()
    high = torch.from_numpy(np.where(np.isfinite(known), known, 0.0))
    low = torch.zeros_like(high)
    for _ in range(10):
        radius = (low + high) / 2
        points = apgd(
            work.pair.squashed, work.x, torch.zeros_like(work.classes), radius.float(), p,
            loss_function="ce", best_loss=True,  # else it leaves out rows
        )  # fmt: skip
        found = torch.from_numpy(np.isfinite(work.distances(points, p)))
        nearest[found] = points[found]
        low, high = torch.where(found, low, radius), torch.where(found, radius, high)
    return nearest


def attacks(
    work: Work, p: float, steps: int, known: Floats
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield names and what returns points.

    Args:
        work: What is attacked.
        p: The norm.
        steps: Gradients of each.
        known: [N], the distances that are known when an attack begins; the caller keeps it so.
    """
    of, zoo, labels = by_foolbox, foolbox().attacks, torch.zeros_like(work.classes)
    fmn = {1.0: zoo.L1FMNAttack, 2.0: zoo.L2FMNAttack, math.inf: zoo.LInfFMNAttack}[p](steps=steps)
    yield "FMN", lambda: of(fmn, work)
    if p == 2:
        yield "DDN", lambda: of(zoo.DDNAttack(steps=steps), work)
    if p == 1:
        ead = zoo.EADAttack(binary_search_steps=5, steps=steps // 5, decision_rule="L1")
        yield "EAD", lambda: of(ead, work)
    for number, start in enumerate(work.starts):
        yield f"FMN from picture {number + 1}", partial(of, fmn, work, start)
    pdpgd = _adv_lib("primal_dual_gradient_descent").pdpgd
    yield "PDPGD", lambda: pdpgd(work.pair, work.x, labels, p, num_steps=steps)
    fab = _adv_lib("fast_adaptive_boundary").fab
    yield "FAB", lambda: fab(work.pair, work.x.clone(), labels, p, steps // 4, restarts=4)
    if p == 2 and len(work.starts):
        yield "boundary", lambda: of(zoo.BoundaryAttack(steps=5 * steps), work, work.starts[0])
    yield "APGD", lambda: _apgd(work, p, known)


def measured(name: str, work: Work, steps: int, only: list[str]) -> list[dict[str, Any]]:
    """Run all attacks of all norms on one network; a flip counts in every norm."""
    found: dict[float, dict[str, Floats]] = {p: {} for p in NORMS}
    taken = {}
    for p in NORMS:
        known = np.full(len(work.x), math.inf)
        for attack, run in attacks(work, p, steps, known):
            first = attack.split()[0]
            if only and first not in only and f"{first}:{p:g}" not in only:
                continue
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002 (Foolbox draws from it)
            start = time.perf_counter()
            points = run()
            taken[p, attack] = round(time.perf_counter() - start, 1)
            for q in NORMS:
                which = attack if q == p else "flips of other norms"
                far = work.distances(points, q)
                found[q][which] = np.fmin(found[q].get(which, far), far)
            np.fmin(known, found[p][attack], out=known)
    figures = []
    for p, own in found.items():
        best = np.min(list(own.values()), axis=0)
        for attack, distances in own.items():
            raw = [float(f"{d:.6g}") if math.isfinite(d) else None for d in distances]
            each = share(
                f"{attack} within 5 % of the best attack",
                f"{name}, p = {p:g}, {len(best)} pictures", None, distances <= MET * best,
                distances=raw, seconds=taken.get((p, attack)),
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
    work = prepared(case, args.images, args.starts)
    figures = measured(args.name, work, args.steps, args.only)
    write(
        args.out, figures, seed=0, steps=args.steps, pictures=work.picture.tolist(),
        classes=work.classes.tolist(), targets=work.targets.tolist(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
