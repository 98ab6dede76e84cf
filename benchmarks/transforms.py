"""What torchvision and timm make of a picture, and the same in our words."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from peers import peer as peer
from PIL import Image

from clever_ext.data import Preprocessing, scale_size
from clever_ext.data.preprocessing import Interpolation
from clever_ext.models.normalisation import Normalized

Pair = tuple[int, int]


def noise(height: int, width: int, seed: int, mode: str = "RGB") -> Image.Image:
    """The same picture on every machine."""
    count = height * width * len(mode)
    return Image.frombytes(mode, (width, height), random.Random(seed).randbytes(count))


def digest(pixels: torch.Tensor) -> str:
    """Tell pixels in [0, 1] by their levels from 0 to 255."""
    levels = (pixels * 255).round().to(torch.uint8)
    return hashlib.sha256(levels.contiguous().numpy().tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Size:
    """A picture of which only the size counts, and what was cut off or put around it."""

    height: int
    width: int
    top: int = 0
    left: int = 0


def _padded(size: Size, padding: list[int], **_: Any) -> Size:
    left, top, right, bottom = padding
    return Size(size.height + top + bottom, size.width + left + right, -top, -left)


def _cropped(size: Size, top: int, left: int, height: int, width: int) -> Size:
    return Size(height, width, size.top + top, size.left + left)


def geometry(transform: Any, height: int, width: int) -> tuple[Pair, Pair]:
    """Let a resizing and a crop of theirs work on a size alone: `Preprocessing.geometry`."""
    functional = peer("torchvision.transforms.functional")
    resized: list[Pair] = []

    def resize(size: Size, aim: Any, *_: Any, **__: Any) -> Size:
        aim = [aim] if isinstance(aim, int) else list(aim)
        found = functional._compute_resized_output_size((size.height, size.width), aim)
        resized.append((found[0], found[1]))
        return Size(*found)

    with mock.patch.multiple(
        functional,
        get_dimensions=lambda size: (3, size.height, size.width),
        resize=resize,
        pad=_padded,
        crop=_cropped,
    ):
        found = Size(height, width)
        for step in transform.transforms[:2]:
            found = step(found)
    return resized[0], (found.top, found.left)


def torchvision_transform(
    resize: int | Pair, crop: int | Pair, interpolation: Interpolation
) -> Any:
    """Torchvision's way from a PIL picture to pixels in [0, 1]."""
    transforms = peer("torchvision.transforms")
    how = transforms.InterpolationMode[interpolation.upper()]
    steps = [transforms.Resize(resize, how), transforms.CenterCrop(crop), transforms.ToTensor()]
    return transforms.Compose(steps)


def torchvision_presets() -> list[Any]:
    """Every way, up to normalised pixels, of the classifiers that torchvision has weights of."""
    models = peer("torchvision.models")
    kind = peer("torchvision.transforms._presets").ImageClassification
    weights = (each for name in models.list_models() for each in models.get_model_weights(name))
    presets = (each.transforms() for each in weights)
    found = {str(preset): preset for preset in presets if isinstance(preset, kind)}
    return [found[name] for name in sorted(found)]


def of_preset(preset: Any) -> tuple[Preprocessing, Normalized]:
    """The same as a preset of torchvision's, in our words."""
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    preprocessing = Preprocessing(crop, resize, preset.interpolation.value)
    return preprocessing, Normalized(torch.nn.Identity(), preset.mean, preset.std)


@dataclass(frozen=True)
class TimmConfig:
    """What of a network's configuration decides its transform."""

    image_size: Pair
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]

    def theirs(self) -> Any:
        """Timm's way from a PIL picture to levels from 0 to 255."""
        return peer("timm.data").create_transform(
            (3, *self.image_size),
            interpolation=self.interpolation,
            mean=self.mean,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            normalize=False,
        )

    def ours(self) -> Preprocessing:
        """What `load_model` makes of the same options."""
        height, width = self.image_size
        size = height if height == width else self.image_size
        fill = tuple(round(255 * mean) for mean in self.mean) if self.crop_mode == "border" else 0
        return Preprocessing(
            size,
            scale_size(size, self.crop_pct),
            self.interpolation,  # type: ignore[arg-type]
            self.crop_mode,  # type: ignore[arg-type]
            fill=fill,
        )


def timm_configs() -> list[TimmConfig]:
    """Every way to prepare pictures for a network that timm has weights of."""
    return sorted(set(_timm_configs()), key=repr)


def _timm_configs() -> Iterator[TimmConfig]:
    models, data = peer("timm.models"), peer("timm.data")
    for name in models.list_pretrained():
        known = models.get_pretrained_cfg(name).to_dict()
        for test_size in (False, True):
            found = data.resolve_data_config(pretrained_cfg=known, use_test_size=test_size)
            height, width = found["input_size"][1:]
            yield TimmConfig(
                (height, width),
                found["crop_pct"],
                found["crop_mode"],
                found["interpolation"],
                tuple(found["mean"]),
            )
