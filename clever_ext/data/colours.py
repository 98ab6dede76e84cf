"""From a picture of any kind to an upright one of 8 bits, in RGB or grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ExifTags, Image

from ..errors import CleverError

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


def in_colours(image: Image.Image, channels: int) -> Image.Image:
    """8-bit RGB or grey of a picture in any mode."""
    if channels not in (1, 3):
        raise CleverError(
            f"the network takes {channels} channels, and this is a picture",
            "an array of floating-point numbers",
            "save the inputs as .npy",
        )
    return _rgb(image) if channels == 3 else _rgb(image).convert("L")


def upright(image: Image.Image) -> Image.Image:
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


def check_pixels(width: int, height: int, what: str, times: int = 1) -> None:
    """Refuse a picture above so many times Pillow's limit, from which on Pillow only warns."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > times * limit:
        raise too_large(what, f"{width} x {height} pixels, above the limit of {times * limit}")


def too_large(what: str, why: str) -> CleverError:
    """The error for a picture that would take too much memory."""
    return CleverError(
        f"{what} is too large ({why})",
        "a picture of ordinary size: this one may be a decompression bomb",
        "shrink the picture; if the files can be trusted, raise PIL.Image.MAX_IMAGE_PIXELS",
    )
