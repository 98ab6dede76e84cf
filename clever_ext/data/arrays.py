"""Pictures that are rows of an array: .npy, .npz and .safetensors files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from .contents import Container
from .labels import parse_label
from .records import ImageRecord, Label

ARRAY_ENDINGS = (".npy", ".npz", ".safetensors")
"""Endings of files that hold an array of pictures, in lower case."""

MAX_NPZ_BYTES = 4 * 2**30
"""Size from which a .npz file, which cannot be read in parts, is not read."""

#: What the arrays of pictures and of labels may be called.
_NAMES = {"images": ("images", "x"), "labels": ("labels", "y")}


@dataclass(frozen=True)
class RowOfArray:
    """One row of the array of pictures in a file.

    Attributes:
        container: The file.
        index: Number of the row.
    """

    container: Container
    index: int

    def read(self) -> npt.NDArray[Any]:
        """Return a copy of the row.

        Raises:
            CleverError: If the file has changed since it was listed.
            OSError: If it cannot be read.
        """
        self.container.check()
        return np.array(_open(self.container)["images"][self.index])


def list_array(path: Path) -> tuple[list[ImageRecord], str]:
    """Records of the pictures in an array, and its shape, data type and length in bytes.

    The number of a picture is its name and its id, so that its samples are those that
    `clever_score` draws for the array.

    Args:
        path: A .npy file; or a .npz or .safetensors file with the pictures as "images" or "x", and
            perhaps their classes as "labels" or "y". Pictures are uint8 [N, H, W, C] with 1, 3 or 4
            channels, uint8 [N, H, W], or floating-point [N, *shape].

    Raises:
        CleverError: If the file is damaged, has other arrays or objects in it, or is a .npz file
            above `MAX_NPZ_BYTES`.
    """
    container = Container.of(path)
    try:
        arrays = _open(container)
        images, labels = arrays["images"], arrays.get("labels")
        shape, dtype = tuple(images.shape), images[:0].dtype
        classes = None if labels is None else np.asarray(labels[:])
    except CleverError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise CleverError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error})",
            "arrays of numbers in a complete .npy, .npz or .safetensors file",
            "save it anew; objects are refused, since reading them may run code",
        ) from error
    _check_layout(path, shape, dtype)
    records = [
        ImageRecord(str(index), index, label, RowOfArray(container, index))
        for index, label in enumerate(_labels(path, classes, shape[0]))
    ]
    return records, f"{shape} {dtype} {container.size}"


class _Rows:
    """A tensor of a .safetensors file, of which only the rows that are asked for are read."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.shape = tensor.get_shape()

    def __getitem__(self, index: int | slice) -> npt.NDArray[Any]:
        rows = self.tensor[index if isinstance(index, slice) else slice(index, index + 1)]
        if rows.is_floating_point():
            rows = rows.float()  # NumPy has no bfloat16
        values: npt.NDArray[Any] = rows.numpy()
        return values if isinstance(index, slice) else values[0]


@lru_cache(maxsize=1)
def _open(container: Container) -> dict[str, Any]:
    """The arrays of a file, "images" and perhaps "labels"; in memory only those of a .npz file."""
    path = container.path
    ending = path.suffix.lower()
    if ending == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"images": _checked(array)}
    if ending == ".npz":
        with zipfile.ZipFile(path) as archive:
            _check_size(path, sum(each.file_size for each in archive.infolist()))
        with np.load(path, allow_pickle=False) as file:
            return {role: _checked(file[name]) for role, name in _roles(path, file.files)}
    from safetensors import safe_open

    tensors: Any = safe_open(path, framework="pt")
    return {
        role: _Rows(tensors.get_slice(name)) for role, name in _roles(path, list(tensors.keys()))
    }


def _checked(array: Any) -> npt.NDArray[Any]:
    if not isinstance(array, np.ndarray):  # NumPy goes by content, not by the ending
        raise ValueError(f"it holds a {type(array).__name__}")
    return array


def _check_size(path: Path, size: int) -> None:
    if size > MAX_NPZ_BYTES:
        raise CleverError(
            f"the arrays of {str(path)!r} take {size} bytes",
            f"a .npz file of at most {MAX_NPZ_BYTES} bytes: it is read into memory whole",
            "save the pictures as .npy or .safetensors, which are read picture by picture",
        )


def _roles(path: Path, names: list[str]) -> Iterable[tuple[str, str]]:
    """The name of the pictures and, where there is one, that of the labels."""
    found = {
        role: next((name for name in known if name in names), None)
        for role, known in _NAMES.items()
    }
    if found["images"] is None:
        raise CleverError(
            f"{str(path)!r} holds {', '.join(map(repr, names)) or 'nothing'}",
            'the pictures as "images" or "x", and perhaps their classes as "labels" or "y"',
            "save the arrays under these names",
        )
    return [(role, name) for role, name in found.items() if name is not None]


def _check_layout(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    pictures = len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3, 4))
    fits = pictures if dtype == np.uint8 else len(shape) > 1 and dtype.kind == "f"
    if not fits or 0 in shape:
        raise CleverError(
            f"the array in {str(path)!r} is {dtype} of shape {list(shape)}",
            "uint8 [N, H, W, C] with 1, 3 or 4 channels, uint8 [N, H, W], or floating-point "
            "[N, *shape], not empty",
            "convert it; np.moveaxis(images, 1, -1) puts channels last",
        )


def _labels(path: Path, classes: npt.NDArray[Any] | None, n_images: int) -> list[Label | None]:
    if classes is None:
        return [None] * n_images
    if classes.size != n_images or classes.dtype.kind not in "iuU":
        raise CleverError(
            f"the labels in {str(path)!r} are {classes.dtype} of shape {list(classes.shape)}",
            f"a class number, WordNet id or name for each of the {n_images} pictures",
            "save them as an array of integers or text of shape [N]",
        )
    return [parse_label(value) for value in classes.reshape(-1).tolist()]
