"""Images as people hold them, made a tensor and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.masked import is_masked_tensor
from torch.utils.data import DataLoader, Dataset

from ..arguments import Arrays
from ..errors import CleverError
from ..kernels.balls import FLOATS


class HuggingFaceDataset(Protocol):
    """A data set of Hugging Face's `datasets`, which is not imported for its type."""

    @property
    def features(self) -> Any:
        """What its columns hold."""

    @property
    def column_names(self) -> Any:
        """Their names."""

    def __getitem__(self, key: Any) -> Any: ...


if TYPE_CHECKING:
    from PIL import Image

    from ..data import ImageSource

    _Vectors = Sequence[Sequence[float]]
    #: [N, *shape]: an array, a list of N arrays, or nested lists of numbers.
    _Numbers = Arrays | _Vectors | Sequence[_Vectors] | Sequence[Sequence[_Vectors]]
    _Labelled = tuple[Image.Image | Tensor | npt.NDArray[Any], int]
    _Pictures = Image.Image | Sequence[Image.Image] | Sequence[_Labelled] | ImageSource
    #: What `clever_score(images=...)` may be.
    Images = _Numbers | _Pictures | Dataset[Any] | DataLoader[Any] | HuggingFaceDataset
else:  # Pillow and the formats of files are not needed where tensors are scored
    Images = Any


def _hides_values(value: Any) -> bool:
    """Tell whether something is a masked array or tensor of which values are hidden."""
    return np.ma.is_masked(value) or is_masked_tensor(value)


def as_tensor(images: Any, what: str = "images") -> Tensor:
    """Turn what people hold images in into one tensor, without a graph.

    Args:
        images: A tensor or an array [N, *shape], of any strides and order of bytes; or a list or
            tuple of N of one shape.
        what: What messages call them.

    Raises:
        CleverError: they are something else, or of several shapes.
    """
    if _hides_values(images):
        raise CleverError(
            f"{what} are masked: some of their values are hidden",
            "values that all count",
            "fill in what is hidden, e.g. images.filled(0), or leave those images out",
        )
    listed = isinstance(images, (list, tuple)) and len(images) > 0
    if listed and all(isinstance(each, (Tensor, np.ndarray)) for each in images):
        shapes = list(dict.fromkeys(tuple(each.shape) for each in images))
        if len(shapes) > 1:
            raise CleverError(
                f"the {what} have different shapes: {list(shapes[0])} and {list(shapes[1])}",
                f"{what} of one shape",
                "resize and crop them to it; or score those of each shape by themselves, and "
                "give the images alone, without labels",
            )
        return torch.stack([as_tensor(each, what) for each in images])
    if isinstance(images, np.ndarray) and images.dtype.kind in "fiub":
        # As torch wants it: strides of at least 0, bytes in this machine's order, and writable.
        native = images.dtype.newbyteorder("=")
        images = np.require(images, native, ["C", "W"])
    try:
        x = images if isinstance(images, Tensor) else torch.as_tensor(images, device="cpu")
        return x.detach().resolve_neg()
    except Exception as error:  # whatever the conversion of some class raises
        raise CleverError(
            f"{what} of type {type(images).__name__} are no array: {error}",
            "a float tensor or array [N, *shape]",
            f"stack the {what} with torch.stack",
        ) from error


def check_dense(x: Tensor, what: str) -> None:
    """Refuse a tensor whose values do not lie in memory, one behind the other.

    Raises:
        CleverError: it is on the meta device, sparse or nested.
    """
    if x.is_meta or x.layout != torch.strided or x.is_nested:
        kind = "on the meta device" if x.is_meta else "sparse or nested"
        raise CleverError(
            f"{what} are {kind}",
            "a dense tensor that holds values",
            f"give the {what} themselves" if x.is_meta else "stack or convert them: x.to_dense()",
        )


def check_values(x: Tensor) -> None:
    """Refuse images without values, or with some that are no numbers.

    Raises:
        CleverError: they are not [N, *shape] of finite floating point numbers.
    """
    check_dense(x, "images")
    if x.dim() < 2 or x.numel() == 0:
        raise CleverError(
            f"images have shape {list(x.shape)}",
            "[N, *shape] with at least one image",
            "give a single image as images[None]",
        )
    if x.dtype not in FLOATS:
        raise CleverError(
            f"images are {x.dtype}",
            "floating point values in the range that the model takes",
            "convert them, e.g. images.float() / 255; or give cx.open_images(images)",
        )
    bad = (~torch.isfinite(x)).flatten(1).any(dim=1).nonzero()
    if len(bad):
        raise CleverError(
            f"image {int(bad[0])} holds NaN or infinite values",
            "finite values",
            "leave it out, or repair it",
        )
