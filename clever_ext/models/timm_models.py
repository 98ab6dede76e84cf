"""Networks of timm: `timm:NAME`, `timm:hf-hub:OWNER/NAME` and `timm:local-dir:FOLDER`.

Pictures are prepared as timm's own transform for evaluation prepares them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Sides, check_image_size, imagenet_class_names, scale_size
from ..data.imagenet import N_CLASSES
from ..errors import CleverError, in_short
from ..findings import Finding
from .cached import hub_file, not_here, torch_file
from .catalogue import NAMED
from .source import Network, Request, library, similar
from .weights import load_weights

_LOCAL, _HUB = "local-dir:", "hf-hub:"
#: Weights in a repository of the Hugging Face hub, the likeliest first.
_FILES = ("model.safetensors", "pytorch_model.bin")


def load(request: Request) -> Network:
    """Load a network of timm, with weights from a file, timm's cache or a download."""
    timm = library(NAMED["timm"])
    name, findings = _name(request), list[Finding]()
    if request.weights is not None:
        model = _create(timm, name)
        findings = load_weights(model, request.weights)
    elif ":" in name or request.download:
        model = _create(timm, name, pretrained=True)
    else:
        model = _create(timm, name, pretrained=True, pretrained_cfg_overlay=_cached(timm, name))
    return _network(timm, request, model, findings)


def _name(request: Request) -> str:
    """Return the name as timm has it: what it has fetched of a repository is a folder."""
    name = request.name
    if name.startswith(_HUB) and not request.download:
        repository = name.removeprefix(_HUB)
        found = hub_file(repository, "config.json")
        if found is None:
            raise not_here(
                request.spec, f"https://huggingface.co/{repository}", "as timm:local-dir:FOLDER"
            )
        return f"{_LOCAL}{found.parent}"
    if name.startswith(_LOCAL):
        folder = Path(name.removeprefix(_LOCAL)).expanduser()
        if not (folder / "config.json").is_file():
            raise CleverError(
                f"the folder {str(folder)!r} has no config.json",
                "a folder that timm has saved: config.json and weights",
                "save it with `timm.models.save_for_hf(model, folder)`",
            )
        return f"{_LOCAL}{folder}"
    return name


def _create(timm: Any, name: str, **options: Any) -> nn.Module:
    if ":" not in name:
        _check_name(timm, name)
    try:
        model: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # timm and what it asks for raise nearly anything
        raise CleverError(
            f"timm cannot make {name!r} ({in_short(error)})",
            "a network whose weights are there or can be fetched",
            "see the error; without a connection, give the weights as a file",
        ) from error
    return model.eval()


def _check_name(timm: Any, name: str) -> None:
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # another tag than it has
        config = None
    if config is None:
        network = name.partition(".")[0]
        names = timm.list_models(f"{network}.*", pretrained=True) or timm.list_models()
        raise CleverError(
            f"timm has no network {name!r}",
            "a name that `timm.list_models(pretrained=True)` has",
            "correct the name" + similar(name, names),
        )
    if config.num_classes == 0:
        raise CleverError(
            f"'timm:{name}' has no classes: it returns features",
            "a classifier",
            "choose a network that was trained to classify, or write a factory that adds a layer",
        )


def _cached(timm: Any, name: str) -> dict[str, Any]:
    """Return what makes timm read weights from a file that it has fetched before."""
    _check_name(timm, name)
    config = timm.models.get_pretrained_cfg(name)
    if not (config.hf_hub_id or config.url):
        raise CleverError(
            f"timm has no weights for {name!r}",
            "a name that `timm.list_models(pretrained=True)` has, or weights",
            "give the weights as a file, or choose another name",
        )
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    for each in names if config.hf_hub_id else ():
        found = hub_file(config.hf_hub_id, each)
        if found is not None:
            return {"file": str(found), "custom_load": False}
    found = torch_file(config.url) if config.url else None
    if found is not None:
        return {"file": str(found), "custom_load": config.custom_load}
    where = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{names[0]}"
    raise not_here(f"timm:{name}", where if config.hf_hub_id else config.url, "as --weights")


def _network(timm: Any, request: Request, model: nn.Module, findings: list[Finding]) -> Network:
    """Put beside a network what timm's configuration says of its pictures and classes."""
    config: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    asked = request.image_size
    tested = asked is not None and asked == _side(config.get("test_input_size"))
    found = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=tested)
    own = check_image_size(found["input_size"][1:])
    size = own if asked is None else asked
    if size != own and config.get("fixed_input_size"):
        _resize(model, request.spec, own, size)
    return Network(
        model=model,
        name=request.spec,
        image_size=size,
        resize=scale_size(size, found["crop_pct"]),
        crop_mode=found["crop_mode"],
        interpolation=found["interpolation"],
        channels=found["input_size"][0],
        normalisation=(tuple(found["mean"]), tuple(found["std"])),
        class_names=_class_names(timm, config, model, inferred=_LOCAL not in request.spec),
        findings=tuple(findings),
    )


def _side(size: Any) -> Sides | None:
    return None if size is None else check_image_size(tuple(size[1:]))


def _resize(model: Any, spec: str, own: Sides, size: Sides) -> None:
    """Let a network of a fixed size take another one, as timm does it."""
    try:
        model.set_input_size(img_size=(size, size) if isinstance(size, int) else size)
        with torch.no_grad():
            model(torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size)))
    except Exception as error:  # the network's own code runs here
        raise CleverError(
            f"{spec!r} takes no pictures of {size} ({in_short(error)})",
            f"{own}, which it was made for, or a size that its parts divide",
            "leave the image size out",
        ) from error


def _class_names(
    timm: Any, config: dict[str, Any], model: Any, *, inferred: bool
) -> list[str] | None:
    """Names that the configuration has, else those of the ImageNet that has so many classes."""
    names, said = config.get("label_names"), config.get("label_descriptions") or {}
    subset = timm.data.infer_imagenet_subset(model) if inferred and not names else None
    if not names and subset is None:
        return None
    if not names and model.num_classes == N_CLASSES:
        with suppress(CleverError):  # not installed, and timm's own names are longer
            return imagenet_class_names()
    if not names:
        return list(timm.data.ImageNetInfo(subset).label_descriptions())
    if isinstance(said, dict):
        return [str(said.get(each, each)) for each in names]
    return [str(each) for each in (said if len(said) == len(names) else names)]
