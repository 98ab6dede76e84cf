"""From a description on the command line to a classifier of pixels.

Each source of models is a module with a function `load`; `load_model` gives the networks of all of
them the same normalisation, preprocessing and digest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from ..data import Preprocessing, Sides, check_image_size, scale_size
from ..data.preprocessing import CropMode, Interpolation
from ..errors import CleverError
from ..findings import Finding
from . import built_in, exported, factories
from .built_in import BUILT_IN
from .catalogue import NAMED, loader
from .loaded import LoadedModel
from .normalisation import Normalisation, Normalized, check_normalisation
from .source import Network, Request, similar
from .weights import READERS, weights_digest


def load_model(
    spec: str | nn.Module,
    *,
    weights: str | Path | None = None,
    image_size: Sides | None = None,
    resize: Sides | None = None,
    crop_pct: float | None = None,
    crop_mode: CropMode | None = None,
    interpolation: Interpolation | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    download: bool = False,
    model_dir: str | Path | None = None,
) -> LoadedModel:
    """Load a classifier by its description.

    A factory runs the code of its module, and an exported program may hold code too: load only
    those you trust. Weights are read as tensors alone and can do no harm.

    Args:
        spec: A name in `BUILT_IN`; or that of a library and of a network in it, such as
            "timm:resnet50.a1_in1k" (`clever-ext models` lists them); or `module.path:factory`, a
            callable in a module that is installed or lies in the current folder, with its arguments
            behind a question mark (`factory?width=2&pretrained=true`); or the path of an exported
            program (.pt2) with a dynamic batch size. Or a network itself, which stays as and where
            it is; `image_size` must be given then.
        weights: File with the state dict or a checkpoint that holds one, .safetensors, .pt, .pth,
            .bin or .ckpt, for a factory or in place of a network's own. It must fit
            exactly, but for a prefix of its names.
        image_size: Side of the square input in pixels, or its height and width. Default: the
            built-in network's or the exported program's own, else 224.
        resize: Short side of a picture before the centre crop, or its height and width. Default:
            the built-in network's own, else `image_size`, which leaves pictures of that size as
            they are.
        crop_pct: Share of the resized picture that the crop keeps, in place of `resize`.
        crop_mode: "center", "squash" or "border", as `Preprocessing` explains. Default: the
            network's own, where `resize` is left out.
        interpolation: Filter of the resizing. Default: the network's own, else "bicubic".
        channels: 3 for pictures in RGB, 1 for grey ones. Default: what the built-in network, the
            exported program or `mean` says, else that pictures are RGB, and grey arrays stay grey.
        mean: Mean per channel in units of pixels in [0, 1], given together with `std`. Default:
            the built-in network's own, else no normalisation.
        std: Standard deviation per channel, in the same units.
        download: Whether weights that are not on this machine may be fetched from where their
            library has them. Without it nothing is fetched, and the message says what to fetch.
        model_dir: Folder of RobustBench's checkpoints, DATASET/THREAT/NAME.pt in it. Default:
            "models" in the current folder, as RobustBench has it.

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
    if isinstance(spec, nn.Module):
        network = _held(spec, weights or model_dir, image_size)
    else:
        network = _found(spec, _path(weights), image_size, download, _path(model_dir))
    normalisation = check_normalisation(mean, std, channels or network.channels)
    findings = network.findings
    if normalisation and network.takes_pixels:
        findings += (_normalised_twice(network),)
    elif normalisation and network.normalisation not in (None, normalisation):
        findings += (_other_normalisation(network),)
    normalisation = normalisation or network.normalisation
    if resize is None:
        resize = network.resize if crop_pct is None else scale_size(network.image_size, crop_pct)
        crop_mode = crop_mode or network.crop_mode or "center"
    fill: int | tuple[int, ...] = 0
    if normalisation and crop_mode == "border":
        # As timm does, so that what is beyond the picture is zero once normalised.
        fill = tuple(round(255 * level) for level in normalisation[0])
    preprocessing = Preprocessing(
        network.image_size,
        resize,
        interpolation or network.interpolation or "bicubic",
        crop_mode,
        _checked_channels(channels, network, normalisation),
        fill,
        network.crop_rounding,
    )
    model = Normalized(network.model, *normalisation) if normalisation else network.model
    return LoadedModel(
        model=model,
        name=network.name,
        image_size=preprocessing.image_size,
        preprocessing=preprocessing,
        digest=weights_digest(model),
        class_names=network.class_names,
        findings=findings,
    )


def _held(model: nn.Module, file: str | Path | None, image_size: Sides | None) -> Network:
    """Take a network that the user has made."""
    if file is not None:
        raise CleverError(
            f"{str(file)!r} is given with a network that holds its own weights",
            "one of them",
            "load them first: model.load_state_dict(...)",
        )
    if image_size is None:
        raise CleverError(
            f"image_size is left out for a network of the class {type(model).__name__}",
            "how large its pictures are: a network does not say so itself",
            "give image_size=224, or what it was trained with",
        )
    return Network(model, type(model).__name__, image_size)


def _found(
    spec: str,
    weights: Path | None,
    image_size: Sides | None,
    download: bool,
    model_dir: Path | None,
) -> Network:
    """Load a network by its description."""
    if model_dir is not None and not spec.startswith("robustbench:"):
        raise CleverError(
            f"model_dir is given for {spec!r}",
            "robustbench:DATASET/THREAT/NAME, whose checkpoints lie in such a folder",
            "leave it out; give other weights as one file (weights, --weights)",
        )
    return _source_of(spec)(Request(spec, weights, image_size, download, model_dir))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()


def _source_of(spec: str) -> Callable[[Request], Network]:
    """Return what loads the model of a description: a named source stands before all others."""
    name, colon, _ = spec.partition(":")
    load = loader(name) if colon else None
    if load is not None:
        return load
    if spec in BUILT_IN:
        return built_in.load
    if spec.lower().endswith(".pt2"):
        return exported.load
    if colon:
        return factories.load
    raise _unknown(spec)


def _other_normalisation(network: Network) -> Finding:
    return Finding(
        "model",
        f"mean and std are not those that {network.name!r} was trained with",
        "leave them out, unless these weights were trained with others",
    )


def _normalised_twice(network: Network) -> Finding:
    return Finding(
        "model",
        f"{network.name!r} normalises inside; mean and std normalise what it is given once more",
        "leave them out",
    )


def _checked_channels(
    given: int | None, network: Network, normalisation: Normalisation | None
) -> int | None:
    own = network.channels or (len(normalisation[0]) if normalisation else None)
    if given is not None and own is not None and given != own:
        raise CleverError(
            f"channels is {given}", f"{own}, as {network.name!r} takes", "leave channels out"
        )
    return own if given is None else given


def _unknown(spec: str) -> CleverError:
    suffix = Path(spec).suffix.lower()
    if suffix in READERS:
        wrong = f"{spec!r} holds weights without their network"
        fix = f"name the network too: `--model module.path:factory --weights {spec}`"
    elif suffix == ".onnx":
        wrong = f"{spec!r} is named without its source"
        fix = f"name it onnx:{spec}"
    elif spec.split("/")[0] in ("cifar10", "cifar100", "imagenet"):
        wrong = f"{spec!r} is named without its source"
        fix = f"name it robustbench:{spec}"
    elif suffix in (".h5", ".keras", ".tflite", ".py"):
        wrong = f"{spec!r} ends in {suffix}, which is not read"
        fix = "write a factory that returns the network as a torch.nn.Module"
    else:
        wrong = f"no model is called {spec!r}"
        fix = "choose one of these" + similar(spec.lower(), BUILT_IN)
    known = ", ".join([*BUILT_IN, *(each.form for each in NAMED.values())])
    return CleverError(wrong, f"{known}, `module.path:factory` or a path ending in .pt2", fix)
