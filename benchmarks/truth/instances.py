"""Instances of VNN-COMP 2021: networks, pictures, radii, and what verifiers have said of them."""

from __future__ import annotations

import csv
import importlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peers import peer
from torch import Tensor, nn

from clever_ext.models.loading import load_model
from truth.verdicts import agreed, verdicts
from truth.vnnlib import Property, original, parse

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Inputs:
    """What the networks of a benchmark take: shape, and normalisation per channel, if there is any.

    Attributes:
        shape: Of a picture.
        mean: None where pixels go in as they are.
        std: The same.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def pixels(self, values: Floats) -> Floats:
        """Return inputs [n] in units of pixels."""
        if self.mean is None or self.std is None:
            return values
        numel = self.shape[1] * self.shape[2]
        found: Floats = values * np.repeat(self.std, numel) + np.repeat(self.mean, numel)
        return found


#: Normalisation as the benchmarks' own scripts have it: load_cifar_oval_kw_1_vs_all in oval21's
#: src/model_utils.py, cifar10_mean and cifar10_std in cifar10_resnet's generate_properties_pgd.py.
BENCHMARKS = {
    "mnistfc": Inputs((1, 28, 28)),
    "oval21": Inputs((3, 32, 32), (0.485, 0.456, 0.406), (0.225, 0.225, 0.225)),
    "cifar10_resnet": Inputs((3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
}


@dataclass(frozen=True)
class Instance:
    """A property of a network.

    Attributes:
        benchmark: Name.
        network: File of the network.
        name: Of the property's file.
        asked: The property, as the file has it, in units of the network's input.
        pixels: [*shape], the picture.
        eps: Radius in pixels.
        tools: What each verifier that came to a verdict has said: "holds" or "violated".
    """

    benchmark: str
    network: Path
    name: str
    asked: Property
    pixels: Tensor
    eps: float
    tools: dict[str, str]

    @property
    def verdict(self) -> str:
        """What all verifiers say that say anything: else "disputed", or "unknown"."""
        return agreed(self.tools)

    def counterexample(self, point: Floats) -> bool:
        """Tell whether onnxruntime, on the file as it is, takes a point for a counterexample.

        Args:
            point: [n] pixels; what rounding has put outside of the property's box comes into it.
        """
        inputs, box = BENCHMARKS[self.benchmark], self.asked
        x = torch.from_numpy(point.reshape(inputs.shape)).float()
        if inputs.mean is not None:
            mean, std = (torch.tensor(each)[:, None, None] for each in (inputs.mean, inputs.std))
            x = (x - mean) / std
        low, high = _inside(box.low, box.high)
        runtime: Any = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(self.network), providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        inside = x.flatten().numpy().clip(low, high).reshape(given.shape)
        output = session.run(None, {given.name: inside})[0].ravel()
        return bool(output[list(box.others)].max() >= output[box.label])


def _inside(low: Floats, high: Floats) -> tuple[Any, Any]:
    """Return the sides of a box in float32, rounded inwards."""
    narrow_low, narrow_high = low.astype(np.float32), high.astype(np.float32)
    up = np.nextafter(narrow_low, np.float32(np.inf))
    down = np.nextafter(narrow_high, np.float32(-np.inf))
    return np.where(narrow_low < low, up, narrow_low), np.where(
        narrow_high > high, down, narrow_high
    )


def instances(benchmarks: Path, results: Path, benchmark: str) -> Iterator[Instance]:
    """Read the instances of a benchmark, in their order.

    Args:
        benchmarks: Folder of benchmarks.
        results: Folder of the verifiers' files.
        benchmark: Name.
    """
    folder, said = benchmarks / benchmark, verdicts(results, benchmark)
    inputs = BENCHMARKS[benchmark]
    with (folder / f"{benchmark}_instances.csv").open(newline="") as lines:
        for network, name, *_ in csv.reader(lines):
            prop = parse((folder / name).read_text())
            pixels, eps = original(inputs.pixels(prop.low), inputs.pixels(prop.high))
            yield Instance(
                benchmark, folder / network, name, prop,
                torch.from_numpy(pixels).float().view(inputs.shape), eps, said[network, name],
            )  # fmt: skip


def network(benchmark: str, file: Path) -> nn.Module:
    """Load a network of a benchmark as a classifier of pixels [B, *shape]."""
    peer("torchvision")  # onnx2torch imports it
    inputs = BENCHMARKS[benchmark]
    onnx: Any = importlib.import_module("onnx")
    graph = onnx.load(str(file))
    shape = graph.graph.input[0].type.tensor_type.shape
    if len(shape.dim) == 4:
        return load_model(f"onnx:{file}", mean=inputs.mean, std=inputs.std).model
    # mnistfc's take [1, 784, 1], which they flatten at once: pictures do as well.
    assert graph.graph.node[0].op_type == "Flatten"
    del shape.dim[:]
    for side in (1, *inputs.shape):
        shape.dim.add().dim_value = side
    with tempfile.TemporaryDirectory() as folder:
        of_pictures = Path(folder) / file.name
        onnx.save(graph, str(of_pictures))
        return load_model(f"onnx:{of_pictures}").model
