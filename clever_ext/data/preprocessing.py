"""From a decoded picture to the pixels that a network sees.

Pixels are in [0, 1]; normalisation belongs to the model (`normalisation.Normalized`), so that
radii and scores are in units of pixels for every network alike.

Sizes, offsets and pixels are those of torchvision's `Resize` and `CenterCrop` and of timm's
transforms for evaluation, bit by bit; docs/reference/pictures.md shows which is which.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import CleverError
from .colours import check_pixels, in_colours, upright

if TYPE_CHECKING:
    import torch

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
CropMode = Literal["center", "squash", "border"]
CropRounding = Literal["even", "down"]
Sides = int | tuple[int, int]
"""A length of pixels, or a height and a width."""

#: Pixels of a network's input, and of a resized picture, at most: as many as Pillow would read of
#: a picture once resized; and channels.
_MOST_PIXELS, _MOST_CHANNELS = 2**29, 2**16
#: Share of a resized picture's sides that a crop keeps, at least.
_SMALLEST_CROP = 0.01
#: How many times Pillow's limit a picture may have once resized: 2 GB, for the narrowest.
_RESIZED = 6


@dataclass(frozen=True)
class Preprocessing:
    """Picture to pixels: upright, RGB or grey, resized, and the centre cropped.

    What is left out is filled in when it is made, so that its fields tell what is done.

    Attributes:
        image_size: Side of the square crop, or its height and width, in pixels.
        resize: How large the picture becomes before the crop: the length of its short side, or a
            height and a width, which `crop_mode` explains. Default: `image_size`. Where the picture
            becomes smaller than the crop, the rest is `fill`.
        interpolation: Filter of the resizing; all but "nearest" smooth when they shrink.
        crop_mode: What becomes of a picture of another shape than `resize`. "center": it keeps its
            shape and covers `resize`; "border": it keeps its shape and fits into `resize`;
            "squash": it gets the shape of `resize`. Default: "squash" where `resize` is given as a
            height and a width, as torchvision understands them, else "center".
        channels: 3 for RGB, 1 for grey. Default: RGB, but grey for grey pictures of an array. A
            network of any other number takes arrays of floating-point numbers alone.
        fill: What lies beyond the picture, from 0 to 255: one level, or one for each channel.
        crop_rounding: Where the crop begins if half a pixel is left: at the "even" of the two, as
            torchvision and timm have it, or at the lower ("down"), as transformers has it.

    Raises:
        CleverError: For what is none of these.
    """

    image_size: Sides
    resize: Sides | None = None
    interpolation: Interpolation = "bicubic"
    crop_mode: CropMode | None = None
    channels: int | None = None
    fill: int | tuple[int, ...] = 0
    crop_rounding: CropRounding = "even"

    def __post_init__(self) -> None:
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        _check_choice("crop_rounding", self.crop_rounding, get_args(CropRounding))
        size = check_image_size(self.image_size)
        resize = size if self.resize is None else check_sides("resize", self.resize)
        mode = self.crop_mode
        if mode is None:
            mode = "center" if self.resize is None or isinstance(resize, int) else "squash"
        _check_choice("crop_mode", mode, get_args(CropMode))
        if mode == "center":
            resize = _one_if_equal(resize)
        elif isinstance(resize, int):
            if not isinstance(size, int):
                raise CleverError(
                    f"resize is {resize} with crop_mode {mode!r} and a crop of {_words(size)}",
                    "a height and a width",
                    "give resize two numbers",
                )
            resize = (resize, resize)
        channels = self.channels
        if channels is not None and not (
            isinstance(channels, int) and 1 <= channels <= _MOST_CHANNELS
        ):
            raise CleverError(
                f"channels is {self.channels!r}", "3 for RGB or 1 for grey", "leave it out for RGB"
            )
        fill = self.fill if isinstance(self.fill, int) else tuple(self.fill)
        if not isinstance(fill, int) and len(fill) != (self.channels or 3):
            raise CleverError(
                f"fill is {fill}", f"a level for each of {self.channels or 3} channels", "give all"
            )
        found = {"image_size": size, "resize": resize, "crop_mode": mode, "fill": fill}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def described(self) -> dict[str, Any]:
        """Return its fields for a run's description; what older runs could not say is left out."""
        fields = dict(vars(self))
        if self.crop_rounding == "even":
            del fields["crop_rounding"]
        return fields

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what comes out of a picture in colour."""
        return (self.channels or 3, *_both(self.image_size))

    @property
    def kept(self) -> float:
        """Share of a resized picture's side that the crop keeps: of the side that loses most."""
        shares = zip(_both(self.image_size), _both(self._target), strict=True)
        return min(1.0, *(crop / side for crop, side in shares))

    @property
    def _target(self) -> Sides:
        return self.image_size if self.resize is None else self.resize

    def words(self) -> str:
        """Say in one line what is done to a picture."""
        aims = {
            "center": "short side to" if isinstance(self._target, int) else "shape kept, to cover",
            "squash": "squashed to",
            "border": "shape kept, to fit into",
        }
        words = [
            f"{aims[str(self.crop_mode)]} {_words(self._target)} ({self.interpolation})",
            f"centre crop {_words(_both(self.image_size))}",
            {3: "RGB", 1: "grey"}.get(self.channels or 3, f"{self.channels} channels"),
        ]
        if self.fill:
            words.insert(2, f"on {self.fill}")
        return ", ".join(words)

    def geometry(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """What becomes of a picture's size.

        Args:
            height: Of the upright picture, in pixels.
            width: Likewise.

        Returns:
            Height and width of the picture once resized; top and left of the crop in it, negative
            where the crop begins outside.

        Raises:
            CleverError: If it would take too much memory once resized.
        """
        sides = (height, width)
        if self.crop_mode == "squash":
            high, wide = _both(self._target)
        elif isinstance(self._target, int):
            # As torchvision does: multiplied first, and truncated.
            high, wide = (int(self._target * side / min(sides)) for side in sides)
        else:
            # As timm does: divided by a ratio, and rounded.
            ratios = [side / aim for side, aim in zip(sides, self._target, strict=True)]
            ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
            high, wide = (max(round(side / ratio), 1) for side in sides)
        check_pixels(wide, high, f"a picture of {width} x {height}, once resized,", _RESIZED)
        down = self.crop_rounding == "down"
        top, left = (
            ((side - crop) // 2 if down else round((side - crop) / 2))
            if side >= crop
            else -((crop - side) // 2)
            for side, crop in zip((high, wide), _both(self.image_size), strict=True)
        )
        return (high, wide), (top, left)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn a picture into a tensor of the pixels that a network sees; see `pixels`."""
        import torch

        return torch.from_numpy(self.pixels(image))

    def pixels(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Turn a picture into the pixels that a network sees.

        The EXIF rotation is applied, if its data can be read. Palette, grey, CMYK and other modes
        become RGB; of 16-bit samples the high byte is kept, as Pillow does for colour; transparency
        is composited on white, as a viewer shows it, since the colours under it are arbitrary.
        Colour profiles are ignored, and of an animation the first frame counts. Grey is Pillow's
        "L" of the RGB picture.

        Args:
            image: Any picture that Pillow opened.

        Returns:
            Float32 in [0, 1] of shape `shape`, contiguous.

        Raises:
            CleverError: If the picture has samples without a known range (32-bit), is so narrow
                that it would take too much memory, or the network takes neither one channel nor
                three.
        """
        self.geometry(*image.size[::-1])  # refuses what is too narrow before it is decoded
        image.load()  # so that what fails from here on is not the decoder
        image = self._cropped(in_colours(upright(image), self.channels or 3))
        pixels = np.asarray(image, dtype=np.float32).reshape(*image.size[::-1], -1)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(255)

    def _cropped(self, image: Image.Image) -> Image.Image:
        # In one call: Pillow decides by the sizes whether rows or columns are resized first, and
        # rounds in between.
        (high, wide), (top, left) = self.geometry(*image.size[::-1])
        crop_height, crop_width = _both(self.image_size)
        image = image.resize((wide, high), Image.Resampling[self.interpolation.upper()])
        right, bottom = min(left + crop_width, wide), min(top + crop_height, high)
        image = image.crop((max(left, 0), max(top, 0), right, bottom))
        if image.size == (crop_width, crop_height):
            return image
        bands = len(image.getbands())
        fill = (self.fill,) * bands if isinstance(self.fill, int) else self.fill
        whole = Image.new(image.mode, (crop_width, crop_height), fill[0] if bands == 1 else fill)
        whole.paste(image, (max(-left, 0), max(-top, 0)))
        return whole


def scale_size(image_size: Sides, crop_pct: float) -> Sides:
    """What a picture is resized to for a crop that is a share of it, as timm counts.

    Args:
        image_size: Of the crop.
        crop_pct: Its share of the resized picture's sides, such as 0.875.

    Raises:
        CleverError: If the share is none.
    """
    if not _SMALLEST_CROP <= crop_pct <= 2:
        raise CleverError(
            f"crop_pct is {crop_pct}",
            f"a share of the side from {_SMALLEST_CROP} to 2",
            "give 0.875 for 87.5 %",
        )
    if isinstance(image_size, int):
        return max(math.floor(image_size / crop_pct), 1)
    height, width = (max(math.floor(side / crop_pct), 1) for side in image_size)
    return height, width


def check_sides(name: str, given: Any) -> Sides:
    """Read a length, or a height and a width, in pixels; of a list of one, that one.

    Raises:
        CleverError: If it is neither.
    """
    try:
        sides = [operator.index(s) for s in (given if isinstance(given, Sequence) else [given])]
    except TypeError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise CleverError(
            f"{name} is {given!r}",
            "a positive number of pixels, or two: height and width",
            f"give {name} what the network was trained with, such as 224",
        )
    if sides[0] * sides[-1] > _MOST_PIXELS:
        raise CleverError(
            f"{name} is {given!r}: that is {sides[0] * sides[-1]:.3g} pixels",
            f"at most {_MOST_PIXELS:,} pixels",
            f"give {name} what the network was trained with, such as 224",
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def check_image_size(given: Any) -> Sides:
    """Read the size of a network's input: one number where it is square.

    Raises:
        CleverError: If it is none.
    """
    return _one_if_equal(check_sides("image_size", given))


def _one_if_equal(sides: Sides) -> Sides:
    return sides[0] if isinstance(sides, tuple) and sides[0] == sides[1] else sides


def _both(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def _words(sides: Sides) -> str:
    """Write a size for a reader, and say which number is which where that matters."""
    if isinstance(sides, int):
        return str(sides)
    return f"{sides[0]} x {sides[1]}" + (" (height x width)" if sides[0] != sides[1] else "")


def _check_choice(name: str, given: object, known: Sequence[str]) -> None:
    if given not in known:
        raise CleverError(
            f"{name} is {given!r}",
            "one of " + ", ".join(known),
            "give the one that the network was trained with",
        )
