"""From a decoded picture to the pixels that a network sees.

Pixels are in [0, 1]; normalisation belongs to the model (`models.Normalized`), so that radii and
scores are in units of pixels for every network alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import ExifTags, Image

from ..errors import CleverError

Interpolation = Literal["bicubic", "bilinear"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

#: What makes a picture upright, by its EXIF orientation.
_TURNS: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Preprocessing:
    """Picture to pixels: upright, RGB, short side resized to `resize`, centre crop of `image_size`.

    Attributes:
        image_size: Height and width of the crop, in pixels.
        resize: Length of the short side before the crop, in pixels; at least `image_size`.
        interpolation: Filter of the resizing; it smooths when it shrinks.

    Raises:
        CleverError: For sizes that are not positive, a `resize` below `image_size`, or an unknown
            interpolation.
    """

    image_size: int
    resize: int
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.resize < self.image_size:
            raise CleverError(
                f"resize is {self.resize} with an image_size of {self.image_size}",
                "a short side at least as long as the crop",
                f"give a resize of {self.image_size} or more",
            )
        if self.interpolation not in _FILTERS:
            raise CleverError(
                f"interpolation is {self.interpolation!r}",
                "one of " + ", ".join(_FILTERS),
                "give the one that the network was trained with",
            )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn a picture into the pixels that a network sees.

        The EXIF rotation is applied, if its data can be read. Palette, grey, CMYK and other modes
        become RGB; of 16-bit samples the high byte is kept, as Pillow does for colour; transparency
        is composited on white, as a viewer shows it, since the colours under it are arbitrary.
        Colour profiles are ignored, and of an animation the first frame counts.

        Args:
            image: Any picture that Pillow opened.

        Returns:
            Float32 tensor in [0, 1] of shape [3, image_size, image_size], contiguous.

        Raises:
            CleverError: If the picture has samples without a known range (32-bit), or is so narrow
                that it would exceed Pillow's pixel limit when resized.
        """
        self._resized(image.size)  # refuses what is too narrow before it is decoded
        image.load()  # so that what fails from here on is not the decoder
        image = _rgb(_upright(image))
        image = image.resize(self._resized(image.size), _FILTERS[self.interpolation])
        left, top = (round((side - self.image_size) / 2) for side in image.size)
        image = image.crop((left, top, left + self.image_size, top + self.image_size))
        pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height after resizing: the short side exact, the long one rounded."""
        short = min(size)
        width, height = (round(side * self.resize / short) for side in size)
        check_pixels(width, height, f"a picture of {size[0]} x {size[1]}, once resized,")
        return width, height


def check_image_size(image_size: int) -> None:
    """Raise a `CleverError` unless it is a positive number of pixels."""
    if image_size < 1:
        raise CleverError(
            f"image_size is {image_size}",
            "a positive number of pixels",
            "give the height and width that the network was trained on, such as 224",
        )


def _upright(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data say.

    Pillow's `exif_transpose` would also write the data anew, and fail for what it cannot write.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of damaged data; viewers ignore them too
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of a picture in any mode; `Preprocessing.__call__` says how."""
    if image.mode == "F" or image.mode.startswith("I"):
        samples = np.asarray(image)
        if image.mode == "F" or samples.min() < 0 or samples.max() > 0xFFFF:
            raise CleverError(
                f"the picture has 32-bit samples (mode {image.mode})",
                "8-bit or 16-bit samples, whose range is known",
                "save it with 8 bits per channel",
            )
        # Pillow's own conversion clips at 255 and shows a white page.
        image = Image.fromarray((samples >> 8).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer)
    return image.convert("RGB")


def check_pixels(width: int, height: int, what: str) -> None:
    """Refuse a picture above Pillow's limit, from which on Pillow itself only warns."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise too_large(what, f"{width} x {height} pixels, above the limit of {limit}")


def too_large(what: str, why: str) -> CleverError:
    """The error for a picture that would take too much memory."""
    return CleverError(
        f"{what} is too large ({why})",
        "a picture of ordinary size: this one may be a decompression bomb",
        "shrink the picture; if the files can be trusted, raise PIL.Image.MAX_IMAGE_PIXELS",
    )
