"""How steep a place the search finds, beside uniform samples, attacks and exact constants.

Studies: `uniform` (needs the files of uniform.py), `attacks` (Foolbox's, on the same image, target
and norm), `photographs` (EfficientNet-Lite0 with few gradients against DDN), `exact` (ReLU networks
whose constants are found by enumerating their pieces) and `cost` (microseconds of a gradient beside
the paper's estimator). Each writes what it measured of every case.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from published import CHOOSING, REPORTED
from side_by_side import arguments, figure, interleaved, parsed, quantity, share, show, write
from torch import Tensor
from uniform import BLOCK, joined, load

import clever_ext as cx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

Floats = npt.NDArray[np.float64]

NORMS = (1.0, 2.0, np.inf)


def rounded(values: Any) -> list[float]:
    """Return numbers short enough for a file."""
    return [float(f"{v:.5g}") for v in values]


@dataclass(frozen=True)
class Reference:
    """What uniform samples of a network's balls gave, by norm, for each image and target."""

    samples: int
    largest: dict[float, Floats]
    location: dict[float, Floats]

    @property
    def n_images(self) -> int:
        """How many images, of three targets each."""
        return len(self.largest[2.0]) // 3

    @classmethod
    def drawn(cls, file: Path) -> Reference:
        """Of the maxima that uniform.py wrote."""
        table = cx.CleverResult.load(file).table
        maxima = {p: np.stack(list(table[table["norm"] == p]["maxima"])) for p in NORMS}
        fits = {p: cx.fit_reverse_weibull(joined(m, 1024)) for p, m in maxima.items()}
        return cls(
            maxima[2.0].shape[1] * BLOCK,
            {p: m.max(axis=1) for p, m in maxima.items()},
            {p: fit.location for p, fit in fits.items()},
        )

    @classmethod
    def reported(cls, file: Path, name: str) -> Reference:
        """Of an earlier result file of this study: those of most samples."""
        figures = [f for f in json.loads(file.read_text())["figures"] if "largest" in f]
        found = {
            p: figure
            for figure in sorted(figures, key=lambda f: int(f["uniform_samples"]))
            for p in NORMS
            if figure["case"].startswith(f"{name}, p = {p:g},")
        }
        return cls(
            found[2.0]["uniform_samples"],
            {p: np.array(figure["largest"]) for p, figure in found.items()},
            {p: np.array(figure["location"]) for p, figure in found.items()},
        )


def uniform(name: str, references: list[Reference], budget: int) -> list[dict[str, Any]]:
    """Compare with the largest norm of uniform samples, and with the location fitted to them."""
    case = (REPORTED | CHOOSING)[name]
    model, images, targets = load(case, max(reference.n_images for reference in references))
    settings: dict[str, Any] = {
        "norm": NORMS, "radius": case.radii, "targets": targets, "estimator": "steepest"
    }  # fmt: skip
    few = cx.clever_score(model, images, max_gradients=budget, **settings).table
    many = cx.clever_score(model, images, max_gradients=2 * budget, seed=1, **settings).table
    figures = []
    for reference in references:
        for p in NORMS:
            largest, location = reference.largest[p], reference.location[p]
            ours, more = (
                t[t["norm"] == p]["lipschitz"].to_numpy()[: len(largest)] for t in (few, many)
            )
            best = np.maximum.reduce([ours, more, largest])
            what = f"{name}, p = {p:g}, {len(ours)} cases, {reference.samples:,} uniform samples"
            spent = few[few["norm"] == p]["n_gradients"][: len(largest)]
            raw = {
                "uniform_samples": reference.samples,
                "gradients": [int(n) for n in spent],
                "found": rounded(ours),
                "found_by_twice": rounded(more),
                "largest": rounded(largest),
                "location": rounded(location),
            }
            figures += [
                share("L' at least the largest uniform norm", what, 0.98, ours >= largest, **raw),
                share("L' at least the fitted location", what, 0.85, ours >= location),
                quantity("L' / largest uniform norm", what, None, ours / largest),
                quantity("L' / fitted location", what, None, ours / location),
                quantity("L' / best known", what, 0.9, ours / best),
                quantity("gradients", what, None, spent.to_numpy(dtype=float)),
            ]
    return figures


class Pair(torch.nn.Module):
    """The two logits of a margin, of each row its own: what an attack towards a target needs."""

    def __init__(self, model: torch.nn.Module, classes: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.model, self.pair = model, torch.stack([classes, targets], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map points [B, *shape] to [B, 2]."""
        logits: Tensor = self.model(x)
        return logits.gather(1, self.pair)


def attacked(model: torch.nn.Module, x: Tensor, targets: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Attack towards targets with Foolbox; return the points, and their distances (inf: failed)."""
    foolbox: Any = importlib.import_module("foolbox")  # its names are not exported to mypy

    with torch.no_grad():
        classes = model(x).argmax(dim=1)
    wrapped = foolbox.PyTorchModel(Pair(model, classes, targets).eval(), (0, 1), device="cpu")
    attack, epsilons = {
        1.0: (foolbox.attacks.EADAttack(binary_search_steps=4, steps=80), [None]),
        2.0: (foolbox.attacks.DDNAttack(steps=100), [None]),
        np.inf: (
            foolbox.attacks.LinfProjectedGradientDescentAttack(steps=40),
            list(np.geomspace(0.002, 0.5, 12)),
        ),
    }[p]
    criterion = foolbox.criteria.Misclassification(torch.zeros_like(classes))
    _, points, success = attack(wrapped, x, criterion, epsilons=epsilons)
    best, distances = x.clone(), torch.full((len(x),), torch.inf)
    for candidate, worked in zip(points, success, strict=True):
        d = torch.linalg.vector_norm((candidate - x).flatten(1), p, dim=1)
        better = worked & (d < distances)
        best[better], distances[better] = candidate[better], d[better]
    return best, distances


def attacks(name: str, n_images: int) -> list[dict[str, Any]]:
    """Compare with the distances of attacks that the search was, and was not, given."""
    case = REPORTED[name]
    model, images, targets = load(case, n_images)
    figures = []
    for p in NORMS:
        far, alone, given = [], [], []
        for target in targets.T:
            points, distances = attacked(model, images, torch.from_numpy(target), p)
            settings: dict[str, Any] = {
                "norm": p, "radius": case.radii, "targets": target[:, None],
                "estimator": "steepest",
            }  # fmt: skip
            far.append(distances.double().numpy())
            alone.append(cx.clever_score(model, images, **settings).scores[p])
            both = cx.clever_score(model, images, candidates=points[:, None], **settings)
            given.append(both.scores[p])
        a, b, c = (np.concatenate(each) for each in (far, alone, given))
        worked = np.isfinite(a)
        raw = {"attack": rounded(a), "alone": rounded(b), "given": rounded(c)}
        a, b, c = a[worked], b[worked], c[worked]
        what = f"{name}, p = {p:g}, {len(a)} attacks"
        figures += [
            share("score at most the attack it was given", what, 1.0, c <= a * (1 + 1e-6), **raw),
            share("score at most the attack, not given", what, None, b <= a * (1 + 1e-6)),
            quantity("score / attack, not given", what, None, b / a),
        ]
    return figures


def photographs(budget: int, samples: int) -> list[dict[str, Any]]:
    """EfficientNet-Lite0's right pictures, runner-up, l2: few gradients against a DDN attack."""
    case = REPORTED["efficientnet-lite0"]
    images, labels = case.data()
    model = case.build()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(images, 5)])
    right = logits.argmax(dim=1).numpy() == labels
    images, target = images[right], logits[right].argsort(dim=1, descending=True)[:, 1]
    distances = torch.cat(
        [
            attacked(model, x, t, 2.0)[1]
            for x, t in zip(torch.split(images, 6), torch.split(target, 6), strict=True)
        ]
    )
    far = distances.double().numpy()
    ours = cx.clever_score(
        model, images, targets="top2", estimator="steepest", max_gradients=budget
    ).table
    paper = cx.clever_score(
        model, images, targets="top2", n_batches=samples // 32, batch_samples=32
    ).table
    score, other = ours["score"].to_numpy(), paper["score"].to_numpy()
    what = f"{len(images)} photographs, runner-up, p = 2"
    raw = {"attack": rounded(far), "steepest": rounded(score), "clever": rounded(other)}
    return [
        share(f"steepest of {budget} at most 1.05 attacks", what, 0.9, score <= 1.05 * far, **raw),
        share(f"clever of {samples} at most 1.05 attacks", what, None, other <= 1.05 * far),
        quantity(f"steepest of {budget} / attack", what, None, score / far),
        quantity(f"clever of {samples} / attack", what, None, other / far),
    ]


def exact() -> list[dict[str, Any]]:
    """ReLU networks of few units: the score against margin / L by enumeration."""
    from known_classifiers import relu_lipschitz, relu_network

    ratios, what = [], []
    for n_inputs, n_hidden in ((4, 7), (6, 9)):
        for seed in range(8):
            net = relu_network(n_inputs, n_hidden, seed)
            torch.manual_seed(seed)
            x0 = torch.randn(1, n_inputs, dtype=torch.float64)
            for p in (1.0, np.inf):
                for radius in (0.5, 1.5):
                    constant = relu_lipschitz(net, x0[0].numpy(), p, radius)
                    row = cx.clever_score(
                        net, x0, norm=p, radius=radius, estimator="steepest"
                    ).table.iloc[0]
                    ratios.append(constant / row["lipschitz"])
                    what.append([n_inputs, n_hidden, seed, p, radius])
    found = np.array(ratios)
    case = f"{len(found)} enumerated ReLU networks and balls, 2,000 gradients"
    return [
        share("score at least margin / L", case, 1.0, found >= 1 - 1e-9),
        quantity("score / (margin / L)", case, 1.02, found, at_most=True, raw=rounded(found)),
    ]


def cost(name: str, rounds: int) -> list[dict[str, Any]]:
    """Seconds of a gradient by the search and by the paper's estimator, of about as many."""
    case = REPORTED[name]
    n_images, gradients = (2, 101) if name == "efficientnet-lite0" else (20, 1001)
    model, images, _ = load(case, n_images)

    def score(norms: Sequence[float], **settings: Any) -> float:
        begin = time.perf_counter()
        table = cx.clever_score(
            model, images, norm=norms, targets="top2", radius=case.radii, **settings
        ).table
        return (time.perf_counter() - begin) / int(table["n_gradients"].sum())

    figures = []
    for norms in (*((p,) for p in NORMS), NORMS):
        search = partial(score, norms, estimator="steepest", max_gradients=gradients)
        plain = partial(score, norms, n_batches=10, batch_samples=gradients // 10)
        taken = interleaved({"ours": search, "plain": plain}, rounds)
        what = f"{name}, {n_images} images, p = {' and '.join(f'{p:g}' for p in norms)}"
        figures.append(
            figure("search / plain, seconds of a gradient", what, 1.1,
                   taken["ours"], taken["plain"], at_most=True)
        )  # fmt: skip
    return figures


def main() -> None:
    """Run the studies that are named."""
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument(
        "studies", nargs="+", choices=["uniform", "attacks", "photographs", "exact", "cost"]
    )
    parser.add_argument("--names", nargs="+", default=["lenet-clean"])
    parser.add_argument(
        "--uniform",
        type=Path,
        nargs="+",
        help="folders of uniform.py's files, or earlier result files of this study",
    )
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--paper-samples", type=int, default=1024, help="of photographs")
    args = parsed(parser)
    figures: list[dict[str, Any]] = []
    for study in args.studies:
        if study == "photographs":
            figures += photographs(300, args.paper_samples)
        elif study == "exact":
            figures += exact()
        for name in args.names:
            if study == "uniform":
                references = [
                    Reference.reported(path, name)
                    if path.is_file()
                    else Reference.drawn(path / f"{name}.parquet")
                    for path in args.uniform
                ]
                figures += uniform(name, references, 2000)
            elif study == "attacks":
                figures += attacks(name, args.images)
            elif study == "cost":
                figures += cost(name, args.rounds)
    for found in figures:
        show(found)
    write(args.out, figures)


if __name__ == "__main__":
    main()
