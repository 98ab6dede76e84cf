"""The one form of all sources of models: what a source is asked for, and what it gives."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn

from ..data import Sides
from ..data.preprocessing import CropMode, CropRounding, Interpolation
from ..errors import CleverError, first_line
from ..findings import Finding
from .catalogue import Named, pip_command
from .normalisation import Normalisation

DEFAULT_IMAGE_SIZE = 224
"""Height and width of the pictures for a model that does not say its own."""


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    Attributes:
        spec: The whole description, such as "timm:resnet50.a1_in1k".
        weights: File of weights in place of the model's own, where one was given.
        image_size: Height and width of the pictures, where they were given.
        download: Whether the source may fetch what is not on this machine.
        model_dir: Folder of RobustBench's checkpoints, where one was given.
    """

    spec: str
    weights: Path | None = None
    image_size: Sides | None = None
    download: bool = False
    model_dir: Path | None = None

    @property
    def name(self) -> str:
        """What stands behind the source's own name and the colon."""
        return self.spec.partition(":")[2]

    @property
    def folder(self) -> Path:
        """The name as a path."""
        return Path(self.name).expanduser()


@dataclass(frozen=True)
class Network:
    """A network with its weights, and what its source says of it: None where it says nothing.

    Attributes:
        model: Takes normalised pictures [B, C, H, W]; in evaluation mode, on the CPU.
        name: What to call it in results.
        image_size: Side of its square input, or height and width, in pixels.
        resize: Short side of a picture before the centre crop, or its height and width.
        crop_mode: What becomes of a picture of another shape, as `Preprocessing` explains.
        interpolation: Filter of the resizing.
        crop_rounding: Where a crop begins if half a pixel is left.
        channels: How many its input has.
        normalisation: Mean and standard deviation that it was trained with.
        takes_pixels: Whether it is known to take pixels in [0, 1], and to normalise inside.
        class_names: Name of each logit.
        findings: What was seen while it was loaded.
    """

    model: nn.Module
    name: str
    image_size: Sides
    resize: Sides | None = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    crop_rounding: CropRounding = "even"
    channels: int | None = None
    normalisation: Normalisation | None = None
    takes_pixels: bool = False
    class_names: list[str] | None = None
    findings: tuple[Finding, ...] = ()


def similar(name: str, names: Iterable[str]) -> str:
    """Ask whether names much like one that is not there were meant; nothing where none is."""
    close = difflib.get_close_matches(name, list(names))
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def library(source: Named) -> ModuleType:
    """Import the packages of a source; return the first, which its models come from.

    Raises:
        CleverError: If one is not installed, or does not go together with this torch.
    """
    first, *_ = (_imported(name, source) for name in source.packages)
    return first


def _imported(name: str, source: Named) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # an extension of another build raises nearly anything
        said = first_line(error)
        fix = f"run `{pip_command(source)}`"
        if not isinstance(error, ModuleNotFoundError):
            # Others fail with torchvision, whose operators are built for one torch.
            wrong = "torchvision" if "torchvision" in said else name
            fix = f"install the {wrong} that is built for this torch, from where torch is from"
        raise CleverError(
            f"the package {name!r} cannot be imported ({said})",
            f"{' and '.join(source.packages)}, which {source.form} needs",
            fix,
        ) from error


def refuse_weights(request: Request, what: str) -> None:
    """Raise a `CleverError` where weights are given beside a file that holds its own.

    Args:
        request: Its description is the path of the file, or ends in it.
        what: The kind of file.
    """
    if request.weights is not None:
        raise CleverError(
            f"{Path(request.spec).name!r} was given together with weights",
            f"{what} alone: it holds its weights",
            "leave the weights out, or export the network again with them",
        )


def not_one_batch(name: str, shapes: object) -> CleverError:
    """The error for a file of a network that takes something else than a batch of pictures."""
    return CleverError(
        f"{name!r} takes inputs of shapes {shapes}",
        "one input of shape [B, C, H, W]: a batch of pictures",
        "export the network with one batch of pictures as its only argument",
    )
