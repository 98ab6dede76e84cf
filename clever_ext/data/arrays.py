"""Pictures that are rows of an array: .npy, .npz and .safetensors files."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from ..errors import CleverError
from .columns import label_column, picture_column
from .contents import Container
from .records import ImageRecord, Label, Listing, known_label

ARRAY_ENDINGS = (".npy", ".npz", ".safetensors")
"""Endings of files that hold an array of pictures, in lower case."""

MAX_NPZ_BYTES = 4 * 2**30
"""Size from which a .npz file, which cannot be read in parts, is not read."""


@dataclass(frozen=True)
class RowOfArray:
    """One row of the array of pictures in a file.

    Attributes:
        container: The file.
        array: Name of the array in it, or "" in a file of one.
        index: Number of the row.
    """

    container: Container
    array: str
    index: int

    def read(self) -> npt.NDArray[Any]:
        """Return a copy of the row.

        Raises:
            CleverError: If the file has changed since it was listed.
            OSError: If it cannot be read.
        """
        self.container.check()
        return np.array(_array(self.container, self.array)[self.index])


def list_array(path: Path, picture: str | None = None, label: str | None = None) -> Listing:
    """List the pictures in an array.

    The number of a picture is its name and its id, so that its samples are those that
    `clever_score` draws for the array.

    Args:
        path: A .npy file; or a .npz or .safetensors file with the pictures as "images", "x" or
            such, and perhaps their classes as "labels", "y" or such. Pictures are uint8
            [N, H, W, C] with 1, 3 or 4 channels, uint8 [N, H, W], or floating-point [N, *shape].
        picture: The name of the pictures, where it was asked for.
        label: That of the labels.

    Raises:
        CleverError: If the file is damaged, has other arrays or objects in it, several that may be
            the pictures or the labels, or is a .npz file above `MAX_NPZ_BYTES`.
    """
    container = Container.of(path)
    try:
        names = _names(container)
        where = repr(str(path))
        if names == [""] and (picture or label):
            raise _one_array(path)
        name = picture_column(names, picture, where, only_like=names != [""])
        if name is None:
            raise _no_pictures(path, names)
        label = label_column([each for each in names if each != name], label, where, name)
        images = _array(container, name)
        shape, dtype = tuple(images.shape), images[:0].dtype
        classes = None if label is None else np.asarray(_array(container, label)[:])
    except CleverError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise CleverError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error})",
            "arrays of numbers in a complete .npy, .npz or .safetensors file",
            "save it anew; objects are refused, since reading them may run code",
        ) from error
    _check_layout(path, shape, dtype)
    labels = [None] * shape[0] if classes is None else _labels(path, classes, shape[0])
    others = ", ".join(repr(each) for each in names if each not in (name, label))
    return Listing(
        "array",
        [
            ImageRecord(str(index), index, each, RowOfArray(container, name, index))
            for index, each in enumerate(labels)
        ],
        labels_from=f"the array {label!r}",
        why=f"the array {label!r} holds none"
        if label
        else f"there is {others} beside {name!r}"
        if others
        else "there is no array of labels beside the pictures",
        fix="name the array (--label-column), or give labels in a file (--labels FILE)"
        if others
        else "give them in a file: --labels with a .npy file of labels in order, or a .csv file",
        facts=(f"{shape} {dtype} {container.size}",),
    )


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


@lru_cache(maxsize=4)
def _names(container: Container) -> list[str]:
    """The names of the arrays in a file, "" where it holds one alone."""
    path = container.path
    if path.suffix.lower() == ".npy":
        return [""]
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return list(file.files)
    with safe_open(path, framework="pt") as tensors:
        return list(tensors.keys())


@lru_cache(maxsize=2)
def _array(container: Container, name: str) -> Any:
    """An array of a file, mapped into memory; those of a .npz file are read whole."""
    path = container.path
    if not name:
        return _checked(np.load(path, mmap_mode="r", allow_pickle=False))
    if path.suffix.lower() != ".npz":
        tensors: Any = safe_open(path, framework="pt")
        return _Rows(tensors.get_slice(name))
    with zipfile.ZipFile(path) as archive:
        sizes = {each.filename.removesuffix(".npy"): each.file_size for each in archive.infolist()}
    _check_size(path, sizes[name])
    with np.load(path, allow_pickle=False) as file:
        return _checked(file[name])


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


def _no_pictures(path: Path, names: list[str]) -> CleverError:
    return CleverError(
        f"{str(path)!r} holds {', '.join(map(repr, names)) or 'nothing'}",
        'the pictures as "images" or "x", and perhaps their classes as "labels" or "y"',
        "save the arrays under these names, or name yours (--image-column, --label-column)",
    )


def _one_array(path: Path) -> CleverError:
    return CleverError(
        f"{str(path)!r} holds one array, without a name",
        "a column or array only where there are several",
        "leave --image-column and --label-column out; labels come from --labels FILE",
    )


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


def _labels(path: Path, classes: npt.NDArray[Any], n_images: int) -> list[Label | None]:
    try:
        if classes.size != n_images or classes.dtype.kind not in "iuUSf":
            raise ValueError("the type or the shape does not fit")
        return [known_label(value) for value in classes.reshape(-1).tolist()]
    except ValueError as error:
        raise CleverError(
            f"the labels in {str(path)!r} are {classes.dtype} of shape {list(classes.shape)}: "
            f"{error}",
            f"a class number, WordNet id or name for each of the {n_images} pictures",
            "save them as an array of integers or text of shape [N]",
        ) from error
