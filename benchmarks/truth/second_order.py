"""Second-order CLEVER (Weng et al. 2018, arXiv 1810.08640) beside the bracket, in l2.

    python -m truth.second_order train                       # from benchmarks/; some minutes
    python -m truth.second_order beside --images 50 --out results/second-order-cpu.json

With the margin g, the norm d of its gradient at the image and M, the largest spectral norm of its
Hessian in the ball, no flip is nearer than (sqrt(d^2 + 2 M g) - d) / M. M is estimated as CLEVER
estimates L: batch maxima at uniform points, here of the norms that power iteration finds, and a
reverse Weibull fit. A product of a Hessian and a vector counts as two gradients. Networks are twice
differentiable; pictures are test digits that they classify correctly, targets the runner-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from attacks import prepared
from published import MNIST, WEIGHTS, Case, mnist, read_idx, trained
from scipy.stats import spearmanr
from side_by_side import arguments, parsed, quantity, share, show, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.validation.attacks import by_foolbox, fmn, foolbox
from clever_ext.validation.pair import Work
from truth.paper_networks import Trained, fitted, load

Floats = npt.NDArray[np.float64]

#: Power iterations of a point, each one product.
ITERATIONS = 5
BUDGETS = (100, 400)
STEPS = 500
RADIUS = 2.0


def tanh_mlp() -> nn.Module:
    """784-256-128-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 128), nn.Tanh(),
        nn.Linear(128, 10),
    ).eval()  # fmt: skip


def gelu_convolutions() -> nn.Module:
    """Four convolutions, strides in place of pooling, and three linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.GELU(), nn.Conv2d(32, 32, 3, 2), nn.GELU(),
        nn.Conv2d(32, 64, 3), nn.GELU(), nn.Conv2d(64, 64, 3, 2), nn.GELU(),
        nn.Flatten(), nn.Linear(1024, 200), nn.GELU(), nn.Linear(200, 200), nn.GELU(),
        nn.Linear(200, 10),
    ).eval()  # fmt: skip


def kept(name: str, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what builds a network of ours with its weights."""
    return trained(file_of(name), build)


def file_of(name: str) -> str:
    """Return what weights of ours are kept as."""
    return f"smooth-{name.split()[0].lower()}"


#: Trained here; the MLP of the CLEVER paper, with smooth rectifiers, stands beside them.
OURS: dict[str, Callable[[], nn.Module]] = {
    "tanh MLP": tanh_mlp,
    "GELU convolutions": gelu_convolutions,
}
NETWORKS: dict[str, Callable[[], nn.Module]] = {"softplus MLP": partial(load, "MLP")}
NETWORKS |= {name: kept(name, build) for name, build in OURS.items()}


def train_ours() -> None:
    """Train our networks."""
    x = read_idx(MNIST / "train-images-idx3-ubyte")[:, None].float() / 255
    y = read_idx(MNIST / "train-labels-idx1-ubyte").long()
    for name, build in OURS.items():
        torch.manual_seed(0)
        model = build()
        fitted(model, x, y, Trained(build, 2), 1.0)
        torch.save(model.state_dict(), WEIGHTS / f"{file_of(name)}.pt")


def margins_of(work: Work, row: int) -> Callable[[Tensor], Tensor]:
    """Return the margin of one picture as a function of points [n, *shape]."""
    own, other = int(work.classes[row]), int(work.targets[row])

    def margins(points: Tensor) -> Tensor:
        logits: Tensor = work.pair.model(points)
        return logits[:, own] - logits[:, other]

    return margins


def spectral_norms(margins: Callable[[Tensor], Tensor], points: Tensor, seed: int) -> Tensor:
    """Return the norms [n] of Hessians that power iteration from random vectors finds."""
    points = points.detach().requires_grad_()
    (g,) = torch.autograd.grad(margins(points).sum(), points, create_graph=True)
    v = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
    for _ in range(ITERATIONS):
        v = v / v.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, *[1] * (v.dim() - 1))
        (v,) = torch.autograd.grad((g * v).sum(), points, retain_graph=True)
    norms: Tensor = v.flatten(1).norm(dim=1).detach()
    return norms


def bound(margin: float, slope: float, curvature: Floats) -> Floats:
    """Return how far the second-order expansion keeps the margin above 0."""
    m = np.maximum(curvature, 1e-12)
    # The same as (sqrt(d^2 + 2 M g) - d) / M, without its cancellation where M is small.
    found: Floats = 2 * margin / (slope + np.sqrt(slope**2 + 2 * m * margin))
    return found


def second_order(work: Work, row: int, budget: int, in_ball: str) -> float:
    """Return the score of one picture.

    Args:
        work: Pictures.
        row: Of them.
        budget: Gradients.
        in_ball: "R = 2", the ball of CLEVER; "first order", of the first-order score; or "all
            radii", the best radius with the largest curvature that was met within it.
    """
    margins, x = margins_of(work, row), work.x[row]
    at = x[None].clone().requires_grad_()
    g = margins(at)
    slope = float(torch.autograd.grad(g.sum(), at)[0].norm())
    margin = float(g.detach())
    n = (budget - 1) // (2 * ITERATIONS)
    radius = RADIUS if in_ball == "R = 2" else min(RADIUS, margin / slope)
    points = cx.sample_lp_ball(x, n, 2, radius, 0, row, 0)
    if in_ball == "all radii":
        points = x + (points - x) * torch.linspace(0, 1, n)[:, None, None, None]
    points = points.clamp(0, 1)
    norms = spectral_norms(margins, points, row).double().numpy()
    if in_ball == "all radii":
        # Within r: the largest of what is not farther. Points are in the order of their distance.
        bounds = bound(margin, slope, np.maximum.accumulate(norms))
        far = (points - x).flatten(1).norm(dim=1).double().numpy()
        return min(float(np.maximum(far, bounds).min()), radius)
    batches = norms[: n - n % _per_batch(n)].reshape(-1, _per_batch(n)).max(axis=1)
    curvature = cx.fit_reverse_weibull(batches).location
    return min(float(bound(margin, slope, curvature)), radius)


def _per_batch(n: int) -> int:
    return 1 if n < 20 else 2


def paper(work: Work, budget: int, radius: float | str) -> Floats:
    """Return the scores of the paper's CLEVER."""
    return _scores(work, radius=radius, n_batches=budget // 20, batch_samples=20)


def bracket(work: Work, budget: int) -> Floats:
    """Return the lower ends of brackets."""
    return _scores(work, radius="auto", estimator="steepest", max_gradients=budget)


def _scores(work: Work, **how: Any) -> Floats:
    found = cx.clever_score(
        work.pair.model, work.x, targets=work.targets.numpy()[:, None], clip=(0, 1), **how
    )
    scores: Floats = found.table["score"].to_numpy()
    return scores


def attacked(work: Work) -> Floats:
    """Return the distances of the nearest flips of Foolbox's DDN and FMN."""
    torch.manual_seed(0)
    each = [foolbox().attacks.DDNAttack(steps=STEPS), fmn(2.0, STEPS)]
    nearest: Floats = np.min([work.distances(by_foolbox(a, work), 2.0) for a in each], axis=0)
    return nearest


def beside(name: str, n: int) -> Iterator[dict[str, Any]]:
    """Hold all scores of one network against the attack."""
    work, _ = prepared(Case(NETWORKS[name], mnist, {}), n, 0)
    attack = attacked(work)
    yield from _held("first order", _scores(work, estimator="first-order"), attack, name)
    for budget in BUDGETS:
        ways: dict[str, Callable[[], Floats]] = {
            "bracket": partial(bracket, work, budget),
            "CLEVER, R = 2": partial(paper, work, budget, RADIUS),
            "CLEVER, auto radius": partial(paper, work, budget, "auto"),
        }
        for ball in ("R = 2", "first order", "all radii"):
            ways[f"second order, {ball}"] = partial(_all_rows, work, budget, ball)
        for way, scores in ways.items():
            yield from _held(f"{way}, {budget} gradients", scores(), attack, name)


def _all_rows(work: Work, budget: int, ball: str) -> Floats:
    return np.array([second_order(work, row, budget, ball) for row in range(len(work.x))])


def _held(way: str, scores: Floats, attack: Floats, name: str) -> Iterator[dict[str, Any]]:
    case = f"{name}, {way}"
    raw = [float(f"{s:.4g}") for s in scores]
    yield share("above the attack", case, None, scores > attack, scores=raw,
                attack=[float(f"{a:.4g}") for a in attack], at_most=True)  # fmt: skip
    yield quantity("score / attack", case, None, scores / attack)
    ranks = float(spearmanr(scores, attack).statistic)
    yield quantity("rank correlation", case, None, np.array([ranks]))


def main() -> None:
    """Train or measure."""
    parser = arguments(__doc__ or "", rounds=1)
    parser.add_argument("what", choices=["train", "beside"])
    parser.add_argument("--images", type=int, default=50)
    args = parsed(parser)
    torch.set_num_threads(1)
    if args.what == "train":
        train_ours()
        return
    figures = []
    for name in NETWORKS:
        for each in beside(name, args.images):
            show(each)
            figures.append(each)
    write(args.out, figures, images=args.images, iterations=ITERATIONS, attack_steps=STEPS)


if __name__ == "__main__":
    main()
