"""The one form of all sources of models: which descriptions a source takes, and what it gives."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ..data import Sides
from ..findings import Finding
from .normalisation import Normalisation

DEFAULT_IMAGE_SIZE = 224
"""Height and width of the pictures for a model that does not say its own."""


@dataclass(frozen=True)
class Network:
    """A network with its weights, and what its source says of it: None where it says nothing.

    Attributes:
        model: Takes normalised pictures [B, C, H, W]; in evaluation mode, on the CPU.
        name: What to call it in results.
        image_size: Side of its square input, or height and width, in pixels.
        resize: Short side of a picture before the centre crop, or its height and width.
        channels: How many its input has.
        normalisation: Mean and standard deviation that it was trained with.
        class_names: Name of each logit.
        findings: What was seen while it was loaded.
    """

    model: nn.Module
    name: str
    image_size: Sides
    resize: Sides | None = None
    channels: int | None = None
    normalisation: Normalisation | None = None
    class_names: list[str] | None = None
    findings: tuple[Finding, ...] = ()


class Source(NamedTuple):
    """Where models come from.

    Attributes:
        takes: Tells whether a description is of a model of this source.
        load: From a description, a file of weights and an image size, the last two where they were
            given, to the network; raises a `CleverError` where there is none.
    """

    takes: Callable[[str], bool]
    load: Callable[[str, Path | None, Sides | None], Network]


def similar(name: str, names: Iterable[str]) -> str:
    """Ask whether names much like one that is not there were meant; nothing where none is."""
    close = difflib.get_close_matches(name, list(names))
    return f" (did you mean {' or '.join(close)}?)" if close else ""
