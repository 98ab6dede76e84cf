"""What the image processors of transformers do to a picture, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data import Preprocessing, Sides, check_image_size
from ..data.preprocessing import CropMode, Interpolation
from ..errors import in_short
from ..findings import Finding
from .normalisation import Normalisation

#: Levels from 0 to 255 by which pictures may differ without a word.
_LEVELS = 0.01
#: From this side on ConvNeXT's processor squashes the whole picture.
_WHOLE = 384


@dataclass(frozen=True)
class Pictures:
    """How pictures are prepared: the fields of `Network` of the same names.

    Attributes:
        image_size: Side of the input, or its height and width, in pixels.
        resize: Short side of a picture before the crop, or its height and width.
        crop_mode: What becomes of a picture of another shape.
        interpolation: Filter of the resizing.
        normalisation: Mean and standard deviation, in units of pixels in [0, 1].
        flipped: Whether blue comes first, and red last.
    """

    image_size: Sides
    resize: Sides | None = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    normalisation: Normalisation | None = None
    flipped: bool = False

    @property
    def share(self) -> float:
        """Share of the resized picture that the crop keeps."""
        size, resize = (
            side if isinstance(side, int) else min(side)
            for side in (self.image_size, self.resize or self.image_size)
        )
        return size / resize


def read_processor(processor: Any, image_size: Sides) -> Pictures:
    """Say what an image processor does.

    Args:
        processor: Of transformers.
        image_size: Of the model's input, where the processor does not say it.
    """
    size, resize, mode = _sizes(processor, image_size)
    resample = getattr(processor, "resample", None)
    name = None if resample is None else Image.Resampling(int(resample)).name.lower()
    return Pictures(
        check_image_size(size),
        resize,
        mode,
        name,  # type: ignore[arg-type]
        _normalisation(processor),
        bool(getattr(processor, "do_flip_channel_order", False)),
    )


def _sizes(processor: Any, image_size: Sides) -> tuple[Sides, Sides | None, CropMode | None]:
    """Return the size of the crop, what a picture is resized to before it, and how."""
    size = getattr(processor, "size", None)
    short, height, width = (_side(size, each) for each in ("shortest_edge", "height", "width"))
    crop = None
    if getattr(processor, "do_center_crop", False):
        both = [_side(processor.crop_size, each) for each in ("height", "width")]
        crop = None if None in both else (both[0], both[1])
    if not getattr(processor, "do_resize", True):
        return crop or image_size, None, None
    kind = type(processor).__name__
    if kind.startswith("ConvNext") and short is not None:
        if short >= _WHOLE:
            return short, (short, short), "squash"
        return short, int(short / processor.crop_pct), "center"
    if kind.startswith("Levit") and short is not None:
        return crop or short, int(256 / 224 * short), "center"
    if short is not None:
        return crop or short, short, "center"
    if height is not None and width is not None:
        return crop or (height, width), (height, width), "squash"
    return crop or image_size, None, None


def _side(size: Any, name: str) -> Any:
    if isinstance(size, Mapping):
        return size.get(name)
    return getattr(size, name, None)


def _normalisation(processor: Any) -> Normalisation | None:
    """Turn rescaling and normalisation of levels from 0 to 255 into one of pixels in [0, 1]."""
    factor = processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0
    scale = 255 * factor
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if getattr(processor, "do_normalize", False):
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    if getattr(processor, "rescale_offset", False):
        mean = tuple(each + 1 for each in mean)
    normalisation = tuple(each / scale for each in mean), tuple(each / scale for each in std)
    return None if normalisation == ((0.0,) * 3, (1.0,) * 3) else normalisation


def check_against(processor: Any, pictures: Pictures) -> list[Finding]:
    """Compare one picture with what the processor itself makes of it; tell where they differ."""
    rows, columns = np.mgrid[:301, :403]
    levels = np.stack([rows * 3 + columns, rows + columns * 5, rows * columns], 2) % 256
    picture = Image.fromarray(levels.astype(np.uint8))
    prepare = Preprocessing(
        pictures.image_size,
        pictures.resize,
        pictures.interpolation or "bicubic",
        pictures.crop_mode,
        crop_rounding="down",
    )
    ours = torch.from_numpy(prepare.pixels(picture)).double()
    mean, std = pictures.normalisation or ((0.0,) * 3, (1.0,) * 3)
    fix = "give --image-size, --resize, --crop-mode, --interpolation, --mean and --std that agree"
    name = type(processor).__name__
    try:
        theirs = processor(images=picture, return_tensors="pt")["pixel_values"][0].double()
    except Exception as error:  # the processor's own code runs here
        return [
            Finding(
                "model",
                f"the image processor {name} cannot be compared with ours ({in_short(error)})",
                fix,
            )
        ]
    if pictures.flipped:
        theirs = theirs.flip(0)
    if theirs.shape != ours.shape:
        return [
            Finding(
                "model",
                f"the image processor {name} makes {list(theirs.shape)} of a picture of 301 x 403, "
                f"where all pictures become {list(ours.shape)}",
                fix,
            )
        ]
    theirs = theirs * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    off = 255 * float((theirs - ours).abs().max())
    if off <= _LEVELS:
        return []
    return [
        Finding(
            "model",
            f"the image processor {name} prepares pictures otherwise: levels from 0 to 255 differ "
            f"by up to {off:.3g}",
            fix,
        )
    ]
