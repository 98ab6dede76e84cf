"""Pictures that are not tensors yet, read as the model that is to be scored takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CleverError
from ..findings import Finding
from ..models.loaded import LoadedModel

if TYPE_CHECKING:  # Pillow and the formats of files are not needed where tensors are scored
    from ..data import ImageSource


@dataclass(frozen=True)
class Pictures:
    """Images with what is known of them.

    Attributes:
        images: [N, *shape]; or what they were given as, where that is no pictures to be read.
        labels: [N], or None.
        image_ids: [N], or None.
        names: [N], or None.
        findings: What was seen when they were listed.
    """

    images: Any
    labels: Any = None
    image_ids: Any = None
    names: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()


def bare(model: Any) -> Any:
    """Return what computes the logits: a model that was loaded knows more than that."""
    return model.model if isinstance(model, LoadedModel) else model


def read_pictures(images: Any, labels: Any, image_ids: Any, model: Any) -> Pictures:
    """Read pictures where they are pictures; give arrays back as they are.

    A model of `load_model` says what becomes of pictures. For any other they keep their size, and
    their pixels are in [0, 1]. Labels that are given stand before those of a data set.

    Args:
        images: As for `clever_score`.
        labels: Likewise.
        image_ids: Likewise.
        model: Likewise.

    Raises:
        CleverError: A picture cannot be read, pictures have several sizes, or labels no numbers.
    """
    if isinstance(images, (str, os.PathLike)):
        raise CleverError(
            f"images is the path {os.fspath(images)!r}",
            "images, or pictures that were opened",
            "give cx.open_images(path) with cx.load_model(...) as the model; or score them into a "
            "folder that lasts: cx.score_run(model, path, out=...)",
        )
    if isinstance(images, (list, tuple)) and any(map(_is_path, images)):
        raise CleverError(
            "images are paths of files",
            "pictures",
            "open each: [PIL.Image.open(path) for path in paths]; or give cx.open_images(folder)",
        )
    images = [images] if _is_pillow(images) else images
    if not _are_pictures(images):
        return Pictures(images, labels, image_ids)
    from ..data import ImageSource, load, open_images

    own: Any = None
    if labels is not None:  # those of a data set are needless then
        names = isinstance(labels, (list, tuple)) and any(isinstance(k, str) for k in labels)
        own, labels = (labels, None) if names else ("none", labels)
    source = images if isinstance(images, ImageSource) else open_images(images, labels=own)
    loaded = model if isinstance(model, LoadedModel) else None
    known = source if labels is not None else _resolved(source, loaded)
    preprocessing = None if loaded is None else loaded.preprocessing
    pixels = [load(record, preprocessing) for record in source]
    shapes = list(dict.fromkeys(tuple(each.shape) for each in pixels))
    if len(shapes) > 1:
        raise CleverError(
            f"the pictures have different shapes: {list(shapes[0])} and {list(shapes[1])}",
            "a model that says what becomes of pictures, or pictures of one shape",
            "give the model as cx.load_model(model, image_size=224, mean=..., std=...), or resize "
            "and crop the pictures",
        )
    numbers = [record.label for record in known]
    found = known.findings if labels is None else []
    if None in numbers:  # as of a tensor, nobody expects any
        found = [each for each in found if each.topic != "labels"]
    return Pictures(
        torch.stack(pixels),
        labels if labels is not None else None if None in numbers else np.array(numbers),
        np.array([record.image_id for record in source]) if image_ids is None else image_ids,
        tuple(record.name for record in source),
        tuple(found),
    )


def _are_pictures(images: Any) -> bool:
    """Tell whether something holds pictures, and is no array or list of arrays."""
    if isinstance(images, (list, tuple)):
        return any(map(_is_pillow, images)) or (len(images) > 0 and _is_labelled(images[0]))
    if images is None or hasattr(images, "__array__"):
        return False
    from ..data.datasets import is_held

    return is_held(images)


def _is_labelled(item: Any) -> bool:
    pair = isinstance(item, (list, tuple)) and len(item) > 1
    return pair and (_is_pillow(item[0]) or isinstance(item[0], (Tensor, np.ndarray)))


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_pillow(value: Any) -> bool:
    """Tell whether something is a picture of Pillow, without importing it."""
    return type(value).__module__.split(".")[0] == "PIL"


def _resolved(source: ImageSource, model: LoadedModel | None) -> ImageSource:
    """Return pictures with numbers as labels."""
    from ..data import resolve

    names = None if model is None else model.class_names
    if names is not None:
        return resolve(source, len(names), names)
    if source.label_map is not None:
        return resolve(source, 1 + max(source.label_map.values()))
    if source.classes:
        raise CleverError(
            f"labels are names, such as {source.classes[0]!r}, and the model's are not known",
            "class numbers, or a model that knows the names of its classes",
            "give labels as numbers, or label_map in cx.open_images",
        )
    return source
