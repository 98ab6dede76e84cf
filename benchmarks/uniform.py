"""Draws what the studies refer to: maxima of many uniform samples, in blocks that can be joined.

For each network, image, target (runner-up, random, least likely) and norm 102,400 samples are
drawn, and the largest gradient norm of each 64 of them kept: 16 such blocks are one batch of 1,024.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from published import CHOOSING, REPORTED, Case
from torch import Tensor

import clever_ext as cx

Floats = npt.NDArray[np.float64]

BLOCK = 64


def three_targets(logits: Tensor, seed: int = 0) -> np.ndarray:
    """Runner-up, a random other class and the least likely one, [N, 3], all different."""
    order = logits.argsort(dim=1, descending=True).numpy()
    random = np.random.default_rng(seed).integers(2, order.shape[1] - 1, len(order))
    return np.stack([order[:, 1], order[np.arange(len(order)), random], order[:, -1]], axis=1)


def joined(blocks: Floats, samples: int) -> Floats:
    """Join maxima of blocks to those of batches; a rest is left out."""
    each = samples // BLOCK
    whole = blocks[:, : blocks.shape[1] // each * each]
    maxima: Floats = whole.reshape(len(blocks), -1, each).max(axis=2)
    return maxima


def load(case: Case, n_images: int | None = None) -> tuple[torch.nn.Module, Tensor, np.ndarray]:
    """Return a case's network, its images, and their three targets."""
    model = case.build()
    images = case.data()[0][:n_images]
    with torch.no_grad():
        targets = three_targets(torch.cat([model(part) for part in torch.split(images, 10)]))
    return model, images, targets


def main() -> None:
    """Draw them, or some, and save a file of results for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[*REPORTED, *CHOOSING])
    parser.add_argument("--samples", type=int, default=102_400)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.names:
        case = (REPORTED | CHOOSING)[name]
        model, images, targets = load(case, args.images)
        begin = time.time()
        result = cx.clever_score(
            model, images, norm=[2, np.inf, 1], radius=case.radii, targets=targets,
            n_batches=args.samples // BLOCK, batch_samples=BLOCK, seed=args.seed, model_name=name,
        )  # fmt: skip
        result.save(args.out / f"{name}.parquet")
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
