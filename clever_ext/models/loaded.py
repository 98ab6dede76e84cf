"""A classifier of pixels with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..findings import Finding
from .normalisation import Normalized

if TYPE_CHECKING:  # what reads pictures is not needed where tensors are scored
    from ..data import Preprocessing, Sides


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, and what is needed to feed it and to name it again.

    Attributes:
        model: Takes pixels in [0, 1] of shape [B, C, H, W], returns logits [B, K]; normalises
            inside, so that scores are in units of pixels. In evaluation mode, on the CPU.
        name: What to call it in results.
        image_size: Side of its square input, or height and width, in pixels.
        preprocessing: From a picture to its input.
        digest: `weights_digest(model)`.
        class_names: Name of each logit, or None where they are not known.
        findings: What was seen while it was loaded.
    """

    model: nn.Module
    name: str
    image_size: Sides
    preprocessing: Preprocessing
    digest: str
    class_names: list[str] | None
    findings: tuple[Finding, ...] = ()

    def to(
        self, device: torch.device | str | None, dtype: torch.dtype | None = None
    ) -> LoadedModel:
        """Move the model, as `torch.nn.Module.to` does; return this."""
        self.model.to(device, dtype)
        return self

    def words(self) -> str:
        """Say in one line what is done to a picture before the network sees it."""
        model = self.model
        then = model.words() if isinstance(model, Normalized) else "no normalisation"
        return f"{self.preprocessing.words()}, {then}"
