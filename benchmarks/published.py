"""Trained networks and real pictures for what is said of the scores themselves.

Published weights where there are some: the clean and the adversarially trained LeNet of advertorch
(MNIST), the ResNet-18 of pyautoattack (CIFAR-10), EfficientNet-Lite0 (ImageNet). The 7-layer MNIST
network of the paper, and two networks on which alone constants were chosen, are trained by
`train.py`. The pictures are the 20 of each data set that foolbox ships. All take pixels in [0, 1].
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import lenet, mnist_7_layer
from PIL import Image
from torch import Tensor, nn

#: Where train.py puts weights.
WEIGHTS = Path.home() / ".cache" / "clever_ext" / "weights"


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


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with its published ImageNet weights."""
    from clever_ext.models.loading import load_model

    return load_model("efficientnet-lite0").model


def mlp() -> nn.Module:
    """784-256-128-10, for choosing constants."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
        nn.Linear(128, 10),
    ).eval()  # fmt: skip


def small_convolutions() -> nn.Module:
    """Two strided convolutions and two linear layers, for choosing constants."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
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
_SMALL_PICTURES = {1.0: 10.0, 2.0: 0.5, np.inf: 0.02}


def mnist() -> tuple[Tensor, np.ndarray]:
    """Foolbox's 20 digits."""
    return pictures("mnist")


def cifar10() -> tuple[Tensor, np.ndarray]:
    """Foolbox's 20 CIFAR-10 pictures."""
    return pictures("cifar10")


#: Networks that figures are reported for.
REPORTED = {
    "lenet-clean": Case(lenet_clean, mnist, _DIGITS),
    "lenet-adversarial": Case(lenet_adversarial, mnist, _DIGITS),
    "mnist-7-layer": Case(trained("mnist-7-layer", mnist_7_layer), mnist, _DIGITS),
    "cifar-resnet18": Case(cifar_resnet18, cifar10, _SMALL_PICTURES),
    "efficientnet-lite0": Case(
        efficientnet_lite0, photographs, {1.0: 40.0, 2.0: 2.0, np.inf: 0.01}
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
