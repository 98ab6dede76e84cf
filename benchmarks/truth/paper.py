"""The CLEVER paper's tables beside scores of networks of the same shapes, trained here.

    python -m truth.paper train MLP CNN DD BReLU CIFAR         # from benchmarks/
    python -m truth.paper score MLP --images 100 --batches 50 --samples 128 --out FILE
    python -m truth.paper budget MLP --images 2 --batches 500 --samples 1024 --out FILE
    python -m truth.paper readme MLP CNN --images 10 --batches 20 --samples 64 --out FILE
    python -m truth.paper radii MLP --images 10 --batches 20 --samples 64 --out FILE

`score` holds mean scores of the first test pictures that are classified correctly against the
published means: in the ball of the paper's text (l2 and l-inf, R = 5), in those of the authors'
script, and as their script samples and fits. `readme` does the latter with the figures of the
script's README. `budget` tells how scores depend on N_b and N_s, `radii` how on R. A file keeps the
figures of networks that were measured before.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from side_by_side import arguments, parsed, quantity, show, write
from torch import Tensor

import clever_ext as cx
from truth.authors import FARTHEST, location, maxima, stretched
from truth.paper_networks import NETWORKS, accuracy, first_pictures, load, train

Floats = npt.NDArray[np.float64]

KINDS = ("least likely", "random", "top-2")
NORM = {2.0: "l2", math.inf: "l-inf"}
#: Means of the conference submission, l2 and l-inf of each kind; None: unreadable (".006").
PUBLISHED: dict[str, tuple[tuple[float, float | None], ...]] = {
    "MLP": ((2.293, 0.085), (1.314, 0.086), (1.276, 0.082)),
    "CNN": ((1.153, 0.079), (1.084, 0.076), (0.861, None)),
    "DD": ((1.569, 0.101), (1.367, 0.089), (1.372, 0.089)),
    "BReLU": ((2.096, 0.333), (1.576, 0.259), (1.207, 0.176)),
    "CIFAR": ((0.228, 0.005), (0.216, 0.005), (0.206, 0.004)),
}
#: Of the first ten test digits, in the README of the authors' script.
README: dict[str, dict[str, tuple[float, float]]] = {
    "CNN": {
        "least likely": (1.1374, 0.080179),
        "random": (1.1213, 0.075569),
        "top-2": (0.70122, 0.050181),
    },
    "MLP": {"every target": (0.69393, 0.035387)},
}
#: Radius of the paper's text, in both norms, and that of the script's own samples in l-inf.
RADIUS, SCRIPT_RADIUS = 5.0, 0.1
_PART = 256
_BLOCK = 32
_SMALLER = ((20, 32), (20, 64), (50, 128), (100, 256))
_SEED = 0


#: Of a picture, its number, how many and the first: points [n, *shape].
Points = Callable[[Tensor, int, int, int], Tensor]


class Pictures:
    """Test pictures that a network classifies correctly, with three targets each.

    Attributes:
        model: The network.
        x: [N, C, H, W].
        classes: [N]; margins [N, 3] are towards targets [N, 3], in the order of KINDS; or [N, 9].
    """

    def __init__(self, name: str, n: int, every_target: bool = False) -> None:
        self.model = load(name).requires_grad_(False)
        x, y = first_pictures(name, n)
        with torch.no_grad():
            logits = torch.cat([self.model(part) for part in torch.split(x, 500)])
        right = logits.argmax(dim=1) == y
        self.x, logits = x[right], logits[right]
        order = logits.argsort(dim=1)
        drawn = torch.randint(1, 8, (len(order),), generator=torch.Generator().manual_seed(_SEED))
        between = order.gather(1, drawn[:, None])[:, 0]  # neither of the others, as in the script
        self.classes = order[:, -1]
        kinds = torch.stack([order[:, 0], between, order[:, -2]], dim=1)
        self.targets = order[:, :-1] if every_target else kinds
        margins = logits.gather(1, self.classes[:, None]) - logits.gather(1, self.targets)
        self.margins: Floats = margins.double().numpy()

    def __len__(self) -> int:
        return len(self.x)

    def maxima(self, row: int, points: Points, n: int, samples: int) -> Floats:
        """Return batch maxima [2, 3, n / samples] of one picture at n points."""
        parts = (
            points(self.x[row], row, min(_PART, n - first), first) for first in range(0, n, _PART)
        )
        return maxima(self.model, parts, int(self.classes[row]), self.targets[row], samples)


def theirs(x: Tensor, row: int, n: int, first: int) -> Tensor:
    """Return points of their script."""
    return stretched(x, n, 10_000_000 * row + first)


def uniform(x: Tensor, row: int, n: int, first: int, p: float, radius: float) -> Tensor:
    """Return points that are uniform in a ball, clipped as theirs are."""
    return cx.sample_lp_ball(x, n, p, radius, _SEED, row, first, (0, 1))


def first_order(pictures: Pictures) -> Floats:
    """Return margin / norm at the picture, [2, N, 3]."""
    found = cx.clever_score(
        pictures.model, pictures.x, norm=list(NORM), targets=pictures.targets.numpy(),
        clip=(0, 1), estimator="first-order",
    ).table  # fmt: skip
    return _by_norm(found, len(pictures))


def _by_norm(table: Any, n: int) -> Floats:
    rows = [table[table["norm"] == p].sort_values("image_id", kind="stable") for p in NORM]
    scores: Floats = np.stack([each["score"].to_numpy().reshape(n, 3) for each in rows])
    return scores


def balls(pictures: Pictures, radii: dict[float, float], batches: int, samples: int) -> Floats:
    """Return scores [2, N, 3] of `clever_score` in given balls."""
    found = cx.clever_score(
        pictures.model, pictures.x, norm=list(NORM), radius=radii, clip=(0, 1), seed=_SEED,
        targets=pictures.targets.numpy(), n_batches=batches, batch_samples=samples,
    ).table  # fmt: skip
    return _by_norm(found, len(pictures))


def by_script(pictures: Pictures, batches: int, samples: int) -> tuple[Floats, Floats]:
    """Return scores [2, N, 3] of their points: by their fit, and by ours."""
    n = batches * samples
    found = np.stack(
        [pictures.maxima(row, theirs, n, samples) for row in range(len(pictures))], axis=1
    )
    fits = np.apply_along_axis(location, -1, found)
    ours = cx.fit_reverse_weibull(found).location
    return pictures.margins / fits, pictures.margins / ours


def score(name: str, n: int, batches: int, samples: int) -> Iterator[dict[str, Any]]:
    """Measure one network and yield figures: a column is a way to score, a case is a cell."""
    pictures = Pictures(name, n)
    start = time.perf_counter()
    ways = {
        "text: R = 5": balls(pictures, dict.fromkeys(NORM, RADIUS), batches, samples),
        "script's balls": balls(pictures, {2: FARTHEST, math.inf: SCRIPT_RADIUS}, batches, samples),
    }
    ways["script"], ways["script's samples, our fit"] = by_script(pictures, batches, samples)
    ways["first order"] = first_order(pictures)
    many = Pictures(name, 500)
    ways["first order, 500 pictures"] = first_order(many)
    notes = {
        "network": name, "pictures": len(pictures), "n_batches": batches,
        "batch_samples": samples, "seconds": round(time.perf_counter() - start),
        "accuracy": round(accuracy(pictures.model, *first_pictures(name, 10_000)), 2),
        "mean_margin": float(many.margins[:, 2].mean()),
    }  # fmt: skip
    for k, kind in enumerate(KINDS):
        for q, norm in enumerate(NORM.values()):
            cell = {way: found[q, :, k] for way, found in ways.items()}
            yield from _cell(name, f"{name}, {kind}, {norm}", PUBLISHED[name][k][q], cell, notes)


def _cell(
    name: str, case: str, told: float | None, ways: dict[str, Floats], notes: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one cell: means, and their ratios to the published one."""
    if told is not None:
        yield quantity("published", case, None, np.array([told]), network=name)
    for way, scores in ways.items():
        error = float(scores.std() / math.sqrt(len(scores)))
        raw = {"scores": [float(f"{s:.4g}") for s in scores]} if len(scores) <= 100 else {}
        mean = np.array([scores.mean()])
        yield quantity(way, case, None, mean, standard_error=error, **raw, **notes)
        if told is not None and "first" not in way:
            yield quantity(f"{way} / published", case, None, mean / told, network=name)


def budget(name: str, n: int, batches: int, samples: int) -> Iterator[dict[str, Any]]:
    """Tell what fewer gradients and other fits make of scores: ratios of means over rows."""
    for way, margins, blocks in _drawn(name, n, batches * samples, (RADIUS,), (RADIUS,)):
        found = joined(blocks, 1, batches, samples)[..., 0, :]
        full = (margins / cx.fit_reverse_weibull(found).location).mean()
        ratios = {
            "by the largest norm": (margins / found.max(axis=-1)).mean() / full,
            "by the script's fit": (margins / np.apply_along_axis(location, -1, found)).mean()
            / full,
        }
        for b, s in _SMALLER:
            times = min(8, blocks.shape[-1] * _BLOCK // (b * s))
            if times and b * s < batches * samples:
                fit = cx.fit_reverse_weibull(joined(blocks, times, b, s)).location
                ratios[f"by {b} x {s}"] = (margins[..., None] / fit).mean() / full
        notes = {"network": f"{name} budget", "pictures": len(margins)}
        case = f"{name}, {way}"
        yield quantity(f"mean score, {batches} x {samples}", case, None, np.array([full]), **notes)
        for told, ratio in ratios.items():
            yield quantity(told, case, None, np.array([ratio]), **notes)


def radii(name: str, n: int, batches: int, samples: int) -> Iterator[dict[str, Any]]:
    """Tell how mean scores depend on R."""
    ways = _drawn(name, n, batches * samples, (1.0, 2.0, FARTHEST, RADIUS),
                  (0.01, 0.05, SCRIPT_RADIUS, 0.3, RADIUS))  # fmt: skip
    for way, margins, blocks in ways:
        found = joined(blocks, 1, batches, samples)[..., 0, :]
        scores = margins / cx.fit_reverse_weibull(found).location
        yield quantity(
            way, f"{name}, {len(margins)} pictures", None, np.array([scores.mean()]),
            network=f"{name} radii", n_batches=batches, batch_samples=samples,
        )  # fmt: skip


def readme(name: str, n: int, batches: int, samples: int) -> Iterator[dict[str, Any]]:
    """Hold scores by the script's points and fit against those of the script's README."""
    if name not in README:
        sys.exit(f"the README has no scores of {name}")
    told = README[name]
    pictures = Pictures(name, n, every_target="every target" in told)
    scores, _ = by_script(pictures, batches, samples)
    for k, kind in enumerate(told):
        for q, norm in enumerate(NORM.values()):
            mean = (scores[q].min(axis=1) if kind == "every target" else scores[q, :, k]).mean()
            case = f"{name}, first ten digits, {kind}, {norm}"
            notes = {"network": f"{name} README", "pictures": len(pictures)}
            for way, value in (
                ("README of the script", told[kind][q]),
                ("script", mean),
                ("script / README", mean / told[kind][q]),
            ):
                yield quantity(way, case, None, np.array([value]), **notes)


def _drawn(
    name: str, n: int, total: int, l2: Sequence[float], l_inf: Sequence[float]
) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield ways to draw points, margins [N, 3] and the maxima [N, 3, blocks] of small blocks."""
    pictures = Pictures(name, n)

    def blocks(points: Points) -> Floats:
        rows = [pictures.maxima(row, points, total, _BLOCK) for row in range(len(pictures))]
        return np.stack(rows, axis=1)

    for q, (p, sizes) in enumerate(zip(NORM, (l2, l_inf), strict=True)):
        for r in sizes:
            points = partial(uniform, p=p, radius=r)
            yield f"{NORM[p]}, R = {r:g}", pictures.margins, blocks(points)[q]
    both = blocks(theirs)
    for q, norm in enumerate(NORM.values()):
        yield f"{norm}, script", pictures.margins, both[q]


def joined(blocks: Floats, times: int, batches: int, samples: int) -> Floats:
    """Join maxima [..., n] of blocks to batch maxima [..., times, batches]."""
    each = samples // _BLOCK
    taken = blocks[..., : times * batches * each]
    found: Floats = taken.reshape(*blocks.shape[:-1], times, batches, each).max(axis=-1)
    return found


def keep(path: Path | None, figures: list[dict[str, Any]]) -> None:
    """Write figures beside those that the file has of other networks."""
    mine = {each["network"] for each in figures}
    kept = json.loads(path.read_text())["figures"] if path and path.exists() else []
    write(path, [each for each in kept if each["network"] not in mine] + figures)


WORKS = {"score": score, "budget": budget, "radii": radii, "readme": readme}


def main() -> None:
    """Train what is named, or measure it."""
    parser = arguments(__doc__ or "", rounds=1)
    parser.add_argument("what", choices=["train", *WORKS])
    parser.add_argument("names", nargs="+", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=100, help="test pictures, right or wrong")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--samples", type=int, default=128, help="of a batch")
    args = parsed(parser)
    torch.set_num_threads(1)
    for name in args.names:
        if args.what == "train":
            train(name)
            continue
        figures = []
        for each in WORKS[args.what](name, args.images, args.batches, args.samples):
            show(each)
            figures.append(each)
        keep(args.out, figures)


if __name__ == "__main__":
    main()
