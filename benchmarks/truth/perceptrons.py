"""Small networks whose nearest flips can be computed, trained on digits of 14 x 14 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from published import MNIST, WEIGHTS, digits, read_idx
from torch import Tensor, nn
from train import train

_EPOCHS = 3


@dataclass(frozen=True)
class Training:
    """What a perceptron is: widths of its layers, the adversary's l-inf size, and weight decay."""

    widths: tuple[int, ...]
    adversary: float = 0.0
    decay: float = 0.0


PERCEPTRONS = {
    "196-32-10": Training((196, 32, 10)),
    "196-16-16-10": Training((196, 16, 16, 10)),
    "196-32-10 decayed": Training((196, 32, 10), decay=1e-3),
    "196-16-16-10 adversarial": Training((196, 16, 16, 10), adversary=0.1),
}


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers with ReLUs between them, of torch's random weights."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def trained_perceptron(name: str) -> nn.Sequential:
    """Return a perceptron, trained where that has not been done: seconds, half a minute at most."""
    training = PERCEPTRONS[name]
    file = WEIGHTS / f"perceptron-{name.replace(' ', '-')}.pt"
    model = perceptron(training.widths)
    if not file.exists():
        torch.manual_seed(0)
        model = perceptron(training.widths)
        x = read_idx(MNIST / "train-images-idx3-ubyte")[:, None].float() / 255
        y = read_idx(MNIST / "train-labels-idx1-ubyte").long()
        train(model, pooled(x), y, _EPOCHS, training.adversary, training.decay)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval().requires_grad_(False)


def pooled(x: Tensor) -> Tensor:
    """Return means of 2 x 2 pixels, flat: [N, 1, 28, 28] to [N, 196]."""
    return F.avg_pool2d(x, 2).flatten(1)


def pooled_digits(model: nn.Module, n: int) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Return the first n test digits that a network classifies correctly, [n, 196], and labels."""
    images, labels = digits(2 * n)
    x, y = pooled(images), torch.from_numpy(labels)
    with torch.no_grad():
        right = (model(x).argmax(dim=1) == y).nonzero()[:n, 0]
    return x[right], labels[right.numpy()]
