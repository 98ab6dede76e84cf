"""Exported programs: `pt2:FILE`, of `torch.export.save`, which hold network and weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Sides, check_image_size
from ..errors import CleverError
from .source import DEFAULT_IMAGE_SIZE, Network, Request, not_one_batch, refuse_weights
from .weights import check_file, unreadable


class _Program(nn.Module):
    """An exported program as a module that may be switched to evaluation mode like any other.

    Its graph was fixed when it was exported; its own `train` and `eval` raise.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        for module in self.modules():
            module.training = False

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.program(inputs)

    def train(self, mode: bool = True) -> _Program:  # noqa: ARG002
        return self


def load(request: Request) -> Network:
    """Load the program of `pt2:FILE`, or of a path that ends in .pt2."""
    path = Path(request.spec.removeprefix("pt2:")).expanduser()
    refuse_weights(request, "an exported program")
    check_file(path)
    try:
        if not zipfile.is_zipfile(path):  # torch would log a traceback of its own
            raise zipfile.BadZipFile("no zip archive")
        with path.open("rb") as file:  # of a path with another ending, torch says it is unreadable
            program = torch.export.load(file)
    except Exception as error:  # a damaged archive raises nearly anything
        raise unreadable(path, str(error), "a file of `torch.export.save`") from error
    channels, size = _input_of(program, path.name, request.image_size)
    return Network(_Program(program.module()), path.name, size, channels=channels)


def _input_of(
    program: torch.export.ExportedProgram, name: str, wanted: Sides | None
) -> tuple[int | None, Sides]:
    """Channels and image size of an exported program: its own where fixed, else those wanted."""
    inputs = program.graph_signature.user_inputs
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    shape = shapes[0] if len(shapes) == 1 else ()
    # Sizes that are dynamic are symbols, not integers.
    fixed = [size if isinstance(size, int) else None for size in shape]
    if len(fixed) != 4:
        raise not_one_batch(name, [tuple(map(str, shape)) for shape in shapes])
    batch, channels, *own = fixed
    if batch is not None:
        raise CleverError(
            f"{name!r} takes batches of exactly {batch}",
            "a dynamic batch size",
            "export it with `torch.export.export(model, (torch.zeros(2, C, H, W),), "
            "dynamic_shapes=({0: torch.export.Dim('batch')},))`",
        )
    return channels, size_of(own, name, wanted)


def size_of(own: list[int | None], name: str, wanted: Sides | None) -> Sides:
    """Return the size of a file's input: its own height and width where fixed, else those wanted.

    Raises:
        CleverError: If another size is wanted than the file was exported with.
    """
    default = wanted or own[0] or own[1] or DEFAULT_IMAGE_SIZE
    asked = (default, default) if isinstance(default, int) else default
    height, width = (mine or other for mine, other in zip(own, asked, strict=True))
    size = check_image_size((height, width))
    if wanted not in (None, size):
        raise CleverError(
            f"image_size is {wanted}",
            f"{size}, the size that {name!r} was exported with",
            "leave the image size out, or export the network again",
        )
    return size
