"""A classifier of pixels in [0, 1], made of one that takes normalised images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import CleverError
from ..findings import Finding
from ..models.loaded import LoadedModel
from ..models.normalisation import Normalized
from .calling import check_kind
from .oracle import GradientOracle

#: How far pixels may lie beyond [0, 1]: what resizing leaves.
_SLACK = 0.01


def beyond_pixels(images: Tensor) -> list[Finding]:
    """Say of images for a model that normalises them itself where they are no pixels in [0, 1]."""
    low, high = (float(each) for each in images.aminmax())
    if low >= -_SLACK and high <= 1 + _SLACK:
        return []
    said = f"images hold values from {low:.3g} to {high:.3g}, and mean and std are given"
    return [Finding("units", said, "give pixels in [0, 1], or normalised images without these")]


def of_pixels(model: Any, mean: Sequence[float] | None, std: Sequence[float] | None) -> Any:
    """Put a normalisation in front of a module or callable; the same model where there is none.

    Raises:
        CleverError: only one of mean and std is given, they are no normalisation, or the model is a
            GradientOracle or was loaded with a normalisation of its own.
    """
    if mean is None and std is None:
        return model
    if isinstance(model, LoadedModel):
        raise CleverError(
            f"mean and std are given with {model.name!r}, which was loaded and brings its own",
            "one of them",
            "give them to load_model, or leave them out",
        )
    check_kind(model)
    if isinstance(model, GradientOracle) and not isinstance(model, nn.Module):
        raise CleverError(
            "mean and std are given for a GradientOracle",
            "a module or a callable, which torch differentiates through the normalisation",
            "normalise inside its logits, and divide its gradients by std",
        )
    return Normalized(model, mean, std)
