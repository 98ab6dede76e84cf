"""The images of a call, with labels and ids, checked before any work is done."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..arguments import integers, shown
from ..classifier.oracle import model_placement
from ..errors import CleverError
from ..findings import Finding
from ..kernels import ops
from ..kernels.balls import AUTO, FLOATS, Auto, check_integer
from .images import as_tensor, check_dense, check_values
from .pictures import bare, read_pictures
from .settings import Settings

Device = str | int | torch.device
DeviceBatch = int | Auto


@dataclass(frozen=True)
class Batch:
    """The images of one call, checked and where the model is."""

    images: Tensor  # [N, *shape]
    labels: npt.NDArray[np.int64] | None  # [N]
    image_ids: npt.NDArray[np.int64]  # [N]
    candidates: Tensor | None = None  # [N, M, *shape], points that a search looks at too
    names: Sequence[str] | None = None  # [N], of pictures
    findings: tuple[Finding, ...] = ()

    @cached_property
    def digests(self) -> npt.NDArray[np.object_]:
        """Digests [N] of the images' values as float32, to tell whether two runs saw the same."""
        of_images = (each.float().cpu().contiguous().numpy() for each in self.images)
        return np.array([hashlib.sha256(x.data).hexdigest()[:16] for x in of_images], dtype=object)


def _check_range(x: Tensor, settings: Settings) -> None:
    """Refuse images outside the clip."""
    low, high = settings.clip
    ends = torch.stack(torch.aminmax(x.flatten(1), dim=1)).double().cpu()
    # What may be left of a conversion to another type and back, or of a normalisation.
    slack = 2 * torch.finfo(x.dtype).eps * max(map(abs, (low, high, 1.0)), key=_finite)
    slack += 1e-4 * (high - low) if math.isfinite(high - low) else 0.0
    outside = ((ends[0] < low - slack) | (ends[1] > high + slack)).nonzero()
    if len(outside):
        n = int(outside[0])
        raise CleverError(
            f"image {n} holds values from {float(ends[0, n]):.3g} to {float(ends[1, n]):.3g}, "
            f"outside clip=({low:g}, {high:g})",
            "images within clip, in whose range samples are held",
            "give clip in the units of the images ((0 - mean) / std and (1 - mean) / std where "
            "they are normalised), or clip=None; or normalise in the model and give pixels",
        )


def _finite(bound: float) -> float:
    return bound if math.isfinite(bound) else 0.0


def _check_images(images: Any, model: Any, device: Any, dtype: torch.dtype | None) -> Tensor:
    x = as_tensor(images)
    check_values(x)
    model_device, model_dtype = model_placement(model)
    place = check_device(device, model_device, x.device)
    if dtype is not None and dtype not in FLOATS:
        raise CleverError(
            f"dtype={dtype} is no type to score in",
            "float32, float64, float16 or bfloat16",
            "leave it out for the model's own",
        )
    with torch.inference_mode(False):  # a tensor of inference mode has no gradient
        cast = x.detach().to(place, dtype or model_dtype or x.dtype, copy=True)
    _check_cast(cast)
    return cast


def _check_cast(x: Tensor) -> None:
    beyond = (~torch.isfinite(x)).flatten(1).any(dim=1).nonzero()
    if len(beyond):
        raise CleverError(
            f"image {int(beyond[0])} holds values beyond the largest of {x.dtype}, in which the "
            "model takes it",
            f"values up to {torch.finfo(x.dtype).max:.3g}",
            "scale the images, or score in a wider type, e.g. model.double()",
        )


def check_candidates(candidates: Any, images: Tensor) -> Tensor:
    """Return points [N, M, *shape] as the images [N, *shape] are."""
    points = as_tensor(candidates, "candidates")
    check_dense(points, "candidates")
    shape = ", ".join(map(str, (len(images), "M", *images.shape[1:])))
    same = points.dim() == images.dim() + 1 and points.shape[:1] + points.shape[2:] == images.shape
    if not same or points.shape[1] == 0 or points.is_complex():
        raise CleverError(
            f"candidates are {points.dtype} of shape {list(points.shape)}",
            f"real points [{shape}], M for each image",
            "give one point for each image as points[:, None]",
        )
    points = points.to(images)
    if not bool(torch.isfinite(points).all()):
        raise CleverError(
            f"candidates hold values that are NaN, infinite or too large for {images.dtype}",
            "finite points",
            "leave them out",
        )
    return points


def check_device(
    asked: Any, of_model: torch.device | None, of_images: torch.device
) -> torch.device:
    """Return where to run: where it was asked for, else where the model is, else the images."""
    try:
        device = torch.device(asked) if asked is not None else of_model or of_images
    except (RuntimeError, TypeError) as error:
        raise CleverError(
            f"device={asked!r} is no device", '"cpu" or "cuda"', "check its name"
        ) from error
    if of_model is not None and device.type != of_model.type:
        raise CleverError(
            f"the model is on {of_model}, but device={asked!r} was asked for",
            "the model where it shall run",
            f"move it first: model.to({str(device)!r})",
        )
    if device.type == "cuda":
        if ops.CUDA_MISSING is not None:
            raise CleverError(
                f"{device} cannot be used: the CUDA half is not loaded, {ops.CUDA_MISSING}",
                "the extension built with CUDA",
                "build it where nvcc and a CUDA build of torch are, or move the model to the CPU; "
                "`clever-ext doctor` tells more",
            )
        if not torch.cuda.is_available():
            raise CleverError(
                f"{device} cannot be used: torch finds no GPU",
                "a machine with a GPU and its driver",
                "run on the CPU, or see what nvidia-smi says",
            )
    elif device.type != "cpu":
        raise CleverError(
            f"device {device} is not supported", "cpu or cuda", "move model and images there"
        )
    return of_model if of_model is not None and device.index is None else device


def check_batch(
    images: Any,
    labels: Any,
    image_ids: Any,
    model: Any,
    device: Any,
    dtype: torch.dtype | None,
    settings: Settings | None = None,
    names: Sequence[str] | None = None,
) -> Batch:
    """Check the arguments of these names of `clever_score` and bring the images to the model.

    With settings the images' values are checked against them too.
    """
    given = read_pictures(images, labels, image_ids, model)
    labels, image_ids = given.labels, given.image_ids
    x = _check_images(given.images, bare(model), device, dtype)
    ids = np.arange(len(x)) if image_ids is None else _integers("image_ids", image_ids, len(x))
    if len(np.unique(ids)) < len(ids):
        raise CleverError(
            "image_ids holds a number twice",
            "a different id for each image: it names the image's samples and its rows",
            "leave image_ids out, or number the images apart",
        )
    if settings is not None:
        _check_range(x, settings)
    return Batch(
        images=x,
        labels=None if labels is None else _integers("labels", labels, len(x)),
        image_ids=ids,
        names=names or given.names,
        findings=given.findings,
    )


def check_device_batch(device_batch: Any) -> DeviceBatch:
    """Return "auto" or the number of points that go through the model at once."""
    if isinstance(device_batch, str) and device_batch == AUTO:
        return AUTO
    return check_integer("device_batch", device_batch, 1, 2**31 - 1)


def _integers(name: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    array = integers(values)
    if array is None or array.shape != (n,):
        raise CleverError(
            f"{name}={shown(values)}" if array is None else f"{name} has shape {list(array.shape)}",
            f"{n} integers, one for each image",
            f"give {name} as a one-dimensional int64 array",
        )
    return array


def check_labels(labels: npt.NDArray[np.int64] | None, n_classes: int) -> None:
    """Refuse labels that the model has no logit for."""
    if labels is not None and ((labels < 0) | (labels >= n_classes)).any():
        bad = int(labels[(labels < 0) | (labels >= n_classes)][0])
        raise CleverError(
            f"label {bad} is out of range",
            f"classes from 0 to {n_classes - 1}",
            "number the labels as the model's logits are",
        )
