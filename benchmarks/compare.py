"""Scores networks on the same pictures, by both estimators, and compares them.

digits: the clean and the adversarially trained LeNet on MNIST test digits, l1, l2 and l-inf.
photographs: EfficientNet-Lite0, 1 and 2 on foolbox's 20 photographs, l2 and l-inf.

The true classes are known, the target is the runner-up. Scores go to the files
RUNS/NETWORK-ESTIMATOR.parquet, which `clever-ext compare` takes; a file that exists is used again.

    python benchmarks/compare.py digits --mnist package/data --runs digits
    python benchmarks/compare.py photographs --runs photographs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from published import lenet_adversarial, lenet_clean, photographs, read_idx
from side_by_side import arguments, parsed, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.models.loading import load_model

Data = Callable[[], tuple[Tensor, np.ndarray]]

#: Balls around digits are large, so that few scores are R.
_DIGITS = {1.0: 20.0, 2.0: 2.0, np.inf: 0.3}
_PHOTOGRAPHS = {2.0: 2.0, np.inf: 0.01}
_LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


def scored(
    name: str,
    build: Callable[[], nn.Module],
    data: Data,
    radii: dict[float, float],
    args: argparse.Namespace,
) -> list[Path]:
    """Score a network by both estimators, each into a file; return the files."""
    spent: dict[str, dict[str, Any]] = {
        "clever": {"n_batches": args.n_batches, "batch_samples": args.batch_samples},
        "steepest": {"estimator": "steepest", "max_gradients": args.max_gradients},
    }
    files = [args.runs / f"{name}-{estimator}.parquet" for estimator in spent]
    for file, budget in zip(files, spent.values(), strict=True):
        if not file.exists():
            images, labels = data()
            cx.clever_score(
                build(), images, norm=list(radii), radius=radii, targets="top2", labels=labels,
                clip=(0, 1), model_name=name, progress=True, **budget,
            ).save(file)  # fmt: skip
    return files


def digits(folder: Path, n: int) -> tuple[Tensor, np.ndarray]:
    """The first n test digits of MNIST, [n, 1, 28, 28], and labels."""
    pixels = read_idx(folder / "t10k-images-idx3-ubyte")[:n, None]
    return pixels.float() / 255, read_idx(folder / "t10k-labels-idx1-ubyte")[:n].long().numpy()


def joined(name: str, clever: Path, steepest: Path) -> list[dict[str, Any]]:
    """Scores by the steepest that either run saw: each is a lower bound of L, so the larger is."""
    a, b = (cx.CleverResult.load(file).table for file in (clever, steepest))
    right = a["status"] != "misclassified"
    a, b = a[right], b[right]
    seen = np.maximum(a["max_norm"], b["lipschitz"])
    table = a.assign(
        outdone=a["max_norm"] > b["lipschitz"], joint=np.minimum(a["margin"] / seen, a["radius"])
    )
    return [
        {
            "model": name,
            "norm": f"{p:g}",
            "samples_saw_more_than_the_search": float(rows["outdone"].mean()),
            "mean_score_by_the_steepest_of_both": float(rows["joint"].mean()),
        }
        for p, rows in table.groupby("norm")
    ]


def _network(name: str) -> nn.Module:
    return load_model(name).model


def main() -> None:
    """Score, compare, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("digits", "photographs"))
    parser.add_argument("--runs", type=Path, required=True, help="folder for the scores")
    parser.add_argument("--mnist", type=Path, help="folder of the IDX files, for digits")
    parser.add_argument("--images", type=int, default=200, help="how many digits")
    parser.add_argument("--n-batches", type=int, default=16)
    parser.add_argument("--batch-samples", type=int, default=8)
    parser.add_argument("--max-gradients", type=int, default=160)
    args = parsed(parser)
    if args.what == "digits" and args.mnist is None:
        parser.error("digits needs --mnist")
    args.runs.mkdir(parents=True, exist_ok=True)

    networks: dict[str, tuple[Callable[[], nn.Module], Data]]
    if args.what == "digits":
        own: Data = partial(digits, args.mnist, args.images)
        networks = {
            "lenet-clean": (lenet_clean, own),
            "lenet-adversarial": (lenet_adversarial, own),
        }
    else:
        networks = {name: (partial(_network, name), partial(photographs, name)) for name in _LITE}
    radii = _DIGITS if args.what == "digits" else _PHOTOGRAPHS
    files = {name: scored(name, *how, radii, args) for name, how in networks.items()}
    found = cx.compare(*(file for own in files.values() for file in own)).to_dict()
    both = [row for name, own in files.items() for row in joined(name, *own)]
    for row in found["pairs"]:
        print(row["norm"], row["estimator"], row["a"], row["b"], row["verdict"], row["more_robust"])
    write(
        args.out, found["pairs"], models=found["models"], both=both, n_batches=args.n_batches,
        batch_samples=args.batch_samples, max_gradients=args.max_gradients, seed=0,
        radii={f"{p:g}": radius for p, radius in radii.items()},
        unit="lengths for pixels in [0, 1]",
    )  # fmt: skip


if __name__ == "__main__":
    main()
