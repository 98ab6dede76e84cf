"""ONNX files: `onnx:FILE`, converted to torch and compared with onnxruntime before use."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CleverError, in_short
from .catalogue import NAMED
from .exported import size_of
from .source import Network, Request, library, not_one_batch, refuse_weights
from .weights import check_file, unreadable

#: How far outputs may be from those of onnxruntime: of the largest, by rounding in float32.
_TOLERANCE = 1e-3
_EXPORT = (
    "torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17, "
    "do_constant_folding=False, input_names=['x'], dynamic_axes={'x': {0: 'batch'}})"
)


def load(request: Request) -> Network:
    """Load an ONNX file as a network of torch that gives what onnxruntime gives."""
    converter: Any = library(NAMED["onnx"])
    onnx: Any = importlib.import_module("onnx")
    path = request.folder
    refuse_weights(request, "an ONNX file")
    check_file(path)
    try:
        graph = onnx.load(str(path))
        onnx.checker.check_model(graph)
    except Exception as error:  # a damaged file raises nearly anything
        raise unreadable(path, in_short(error), "an ONNX file") from error
    batch, channels, *own = _input_of(graph, path.name)
    size = size_of(own, path.name, request.image_size)
    model = _converted(converter, graph, path.name)
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, channels or 3, height, width, generator=generator)
    _compare(model, path, pictures, batch)
    return Network(model, request.spec, size, channels=channels)


def _input_of(graph: Any, name: str) -> list[int | None]:
    """Return the four sizes of the one input; None where they are dynamic."""
    weights = {each.name for each in graph.graph.initializer}
    shapes = [
        [each.dim_value or None for each in given.type.tensor_type.shape.dim]
        for given in graph.graph.input
        if given.name not in weights
    ]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise not_one_batch(name, shapes)
    return shapes[0]


def _converted(converter: Any, graph: Any, name: str) -> nn.Module:
    _spread_equal_weights(graph)
    try:
        model: nn.Module = converter.convert(graph)
    except Exception as error:  # what it cannot convert raises nearly anything
        found = re.search(r"operation_type='(\w+)', version=(\d+)", str(error))
        what = f"the operator {found[1]}-{found[2]}" if found else in_short(error)
        raise CleverError(
            f"{name!r} cannot be converted to torch: {what}",
            "operators that onnx2torch knows",
            f"export it again by `{_EXPORT}`, or write the network in torch",
        ) from error
    return model.eval()


def _spread_equal_weights(graph: Any) -> None:
    """Give each layer weights of its own, as onnx2torch wants them.

    Of equal ones, such as biases of zeros, torch exports one, and the others as copies of it.
    """
    weights = {each.name: each for each in graph.graph.initializer}
    for node in list(graph.graph.node):
        if node.op_type == "Identity" and node.input[0] in weights:
            own = graph.graph.initializer.add()
            own.CopyFrom(weights[node.input[0]])
            own.name = node.output[0]
            weights[own.name] = own
            graph.graph.node.remove(node)


def _compare(model: nn.Module, path: Path, pictures: torch.Tensor, batch: int | None) -> None:
    """Refuse a network that gives other outputs than onnxruntime, or takes one batch size alone."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    try:
        with torch.no_grad():
            ours = model(pictures)
    except Exception as error:  # the network's own code runs here
        raise _of_one_batch(path.name, batch, in_short(error)) from error
    if batch is None:
        expected = session.run(None, {name: pictures.numpy()})[0]
    else:  # each picture as often as the file wants it
        rows = [each.expand(batch, -1, -1, -1).numpy() for each in pictures]
        expected = [session.run(None, {name: row})[0][0] for row in rows]
    ours = ours[0] if isinstance(ours, (list, tuple)) else ours
    theirs = torch.stack([torch.as_tensor(each) for each in expected])
    if ours.shape != theirs.shape:
        shapes = f"outputs of shape {list(ours.shape)} for {list(theirs.shape)}"
        raise _of_one_batch(path.name, batch, shapes)
    off = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
    if not off <= _TOLERANCE:
        raise CleverError(
            f"{path.name!r}, converted to torch, gives outputs that are off by {off:.2g} of the "
            "largest",
            f"those of onnxruntime, up to {_TOLERANCE} by rounding",
            f"export it again by `{_EXPORT}`, or write the network in torch",
        )


def _of_one_batch(name: str, batch: int | None, why: str) -> CleverError:
    return CleverError(
        f"{name!r}, exported for batches of {batch or 'any size'}, fails on two pictures ({why})",
        "a dynamic batch size",
        f"export it again by `{_EXPORT}`",
    )
