"""Classifiers of torchvision: `torchvision:NAME/WEIGHTS`, such as resnet50/IMAGENET1K_V2.

Pictures are prepared as the transforms of these weights prepare them.
"""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from ..data import imagenet_class_names, scale_size
from ..data.imagenet import N_CLASSES
from ..errors import CleverError, in_short
from .cached import not_here, torch_file, torch_folder
from .catalogue import NAMED
from .source import Network, Request, library, similar
from .weights import load_weights

#: Older files of DenseNet have a dot where names of modules may have none now.
_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def load(request: Request) -> Network:
    """Load a classifier of torchvision, with weights from a file, its cache or a download."""
    library(NAMED["torchvision"])
    models: Any = importlib.import_module("torchvision.models")
    name, _, tag = request.name.partition("/")
    weights = _weights(models, name, tag)
    transforms = weights.transforms()
    (own,), (resize,) = transforms.crop_size, transforms.resize_size
    size = request.image_size or own
    path = request.weights or _file(request, weights)
    model = _create(models, request, weights, size)
    findings = load_weights(model, path, lambda each: _DENSE.sub(r"\1\2", each))
    return Network(
        model=model.eval(),
        name=f"torchvision:{name}/{weights.name}",
        image_size=size,
        resize=resize if size == own else scale_size(size, own / resize),
        crop_mode="center",
        interpolation=transforms.interpolation.value,
        channels=3,
        normalisation=(tuple(transforms.mean), tuple(transforms.std)),
        class_names=_class_names(weights.meta["categories"]),
        findings=tuple(findings),
    )


def _weights(models: Any, name: str, tag: str) -> Any:
    """Return torchvision's entry for the weights of a classifier; its own choice without a tag."""
    known = models.list_models(module=models)
    if name not in known:
        raise CleverError(
            f"torchvision has no classifier {name!r}",
            "torchvision:NAME/WEIGHTS with a name that `torchvision.models.list_models("
            "module=torchvision.models)` has",
            "correct the name" + similar(name, known),
        )
    entries = models.get_model_weights(name)
    tags = [each.name for each in entries]
    if tag.upper() not in ("", "DEFAULT", *tags):
        raise CleverError(
            f"{name} has no weights {tag!r} in torchvision",
            " or ".join(tags),
            "correct their name" + similar(tag.upper(), tags),
        )
    weights = entries[tag.upper() or "DEFAULT"]
    if weights.meta["categories"] is None:
        raise CleverError(
            f"the weights {weights.name} of {name} are of its features alone",
            "weights of a classifier",
            "choose others: " + " or ".join(each for each in tags if each != weights.name),
        )
    return weights


def _create(models: Any, request: Request, weights: Any, size: Any) -> nn.Module:
    """Build the network as torchvision does for its weights, without them."""
    name = request.name.partition("/")[0]
    options: dict[str, Any] = {"num_classes": len(weights.meta["categories"])}
    if name in ("googlenet", "inception_v3"):
        options |= {"transform_input": True, "aux_logits": True, "init_weights": False}
    elif name.startswith("vit_"):
        options["image_size"] = size
    elif name.startswith("maxvit"):
        options["input_size"] = size if isinstance(size, tuple) else (size, size)
    try:
        model: nn.Module = models.get_model(name, weights=None, **options)
    except Exception as error:  # the network's own code runs here
        raise CleverError(
            f"torchvision cannot make {name!r} for pictures of {size} ({in_short(error)})",
            "a size that the network can take",
            "leave the image size out",
        ) from error
    return model


def _file(request: Request, weights: Any) -> Path:
    """Return the file of weights in torch's cache, fetched where that is allowed."""
    found = torch_file(weights.url)
    if found is not None:
        return found
    if not request.download:
        raise not_here(request.spec, weights.url, f"as --weights, or put it into {torch_folder()}")
    path = torch_folder() / Path(urlparse(weights.url).path).name
    begins = torch.hub.HASH_REGEX.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), begins[1] if begins else None)
    except Exception as error:  # a connection fails in many ways
        raise CleverError(
            f"{weights.url} cannot be fetched ({in_short(error)})",
            "a connection to it",
            "try again, or fetch it elsewhere and give it as --weights",
        ) from error
    return path


def _class_names(categories: list[str]) -> list[str]:
    """Names of the ImageNet classes as they are for all networks, where these are installed."""
    if len(categories) == N_CLASSES:
        with suppress(CleverError):
            return imagenet_class_names()
    return list(categories)
