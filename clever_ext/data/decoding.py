"""From the record of a picture to its pixels."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, WebPImagePlugin  # noqa: F401 (registers what is not registered at first)

from ..errors import CleverError
from .colours import check_pixels, too_large, upright
from .preprocessing import Preprocessing
from .records import ImageRecord

if TYPE_CHECKING:
    import torch

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What a file may hold, whatever its ending. Pillow's other decoders stay shut: some are seldom
used and little tested, and one hands the file to another program."""


#: What Python prints of an object in memory: another in each process.
_ADDRESS = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


class Stored(NamedTuple):
    """Width and height of a picture in its file, in pixels, and Pillow's name for its colours."""

    width: int
    height: int
    mode: str


def load(record: ImageRecord, preprocessing: Preprocessing | None) -> torch.Tensor:
    """Read one picture.

    Encoded pictures and pixels of 8 bits are preprocessed; pixels of 8 bits in an array that have
    the model's size already are not resized, and grey ones stay grey unless the model is known to
    take RGB. Floating-point numbers are taken as they are.

    Args:
        record: Which one.
        preprocessing: What the model wants; None: a picture keeps its size, grey stays grey, and
            floating-point numbers are not looked at.

    Returns:
        Float32 tensor in [0, 1] of shape `preprocessing.shape`, with one channel where grey stays
        grey; of floating-point numbers, of their own shape.

    Raises:
        CleverError: If the file is missing, truncated, no picture, or above Pillow's limit on
            pixels (`PIL.Image.MAX_IMAGE_PIXELS`), which guards the memory against small files that
            decode to huge pictures; or if floating-point pixels leave [0, 1].
    """
    import torch

    return torch.from_numpy(decode(record, preprocessing)[0])


def decode(
    record: ImageRecord, preprocessing: Preprocessing | None
) -> tuple[npt.NDArray[np.float32], Stored | None]:
    """Read one picture, as `load` does, and tell how it was stored; None of an array's."""
    try:
        found = record.place.read()
        if isinstance(found, np.ndarray):
            return _from_array(found, record.name, preprocessing), None
        if isinstance(found, Image.Image):
            return _from_pillow(found, record.name, preprocessing)
        with Image.open(io.BytesIO(found), formats=FORMATS) as image:
            return _from_pillow(image, record.name, preprocessing)
    except CleverError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise too_large(repr(record.name), str(error) or "out of memory") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        why = _ADDRESS.sub("", str(error)).rstrip(".")
        raise CleverError(
            f"{record.name!r} cannot be decoded ({type(error).__name__}: {why})",
            "a complete picture in one of the formats " + ", ".join(FORMATS),
            "replace the file or leave it out",
        ) from error


def _from_pillow(
    image: Image.Image, name: str, preprocessing: Preprocessing | None
) -> tuple[npt.NDArray[np.float32], Stored]:
    check_pixels(*image.size, repr(name))
    stored = Stored(*image.size, image.mode)
    if preprocessing is None:
        grey = len(image.getbands()) == 1 and image.mode != "P"
        preprocessing = _of_own_size(upright(image).size[::-1], 1 if grey else 3)
    return preprocessing.pixels(image), stored


def _of_own_size(size: tuple[int, int], channels: int) -> Preprocessing:
    return Preprocessing(size, size, crop_mode="squash", channels=channels)


def _from_array(
    values: npt.NDArray[Any], name: str, preprocessing: Preprocessing | None
) -> npt.NDArray[np.float32]:
    if values.dtype != np.uint8:
        pixels = np.array(values, dtype=np.float32, order="C")
        if preprocessing is None:
            return pixels
        is_picture = pixels.ndim == 3 and pixels.shape[0] in (1, 3)
        if is_picture and not (pixels.min() >= 0 and pixels.max() <= 1):
            raise CleverError(
                f"picture {name} has values from {pixels.min():g} to {pixels.max():g}",
                "pixels in [0, 1]: the model normalises, so that scores are in units of pixels",
                "divide by 255, or undo the normalisation",
            )
        return pixels
    check_pixels(values.shape[1], values.shape[0], f"picture {name}")
    grey = values.ndim == 2 or values.shape[2] == 1
    if preprocessing is None:
        preprocessing = _of_own_size(values.shape[:2], 1 if grey else 3)
    if grey and preprocessing.channels is None:
        preprocessing = replace(preprocessing, channels=1)
    if values.shape[:2] == preprocessing.shape[1:]:
        preprocessing = replace(preprocessing, resize=None)
    return preprocessing.pixels(
        Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else values)
    )
