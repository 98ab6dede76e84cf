"""The sources of models that have a name, `timm:` and the like, and where their code is.

The code of a source is imported when a model of it is asked for. Nothing here imports torch, since
the command line's help and completion read these tables too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CleverError, in_short

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "clever_ext.model_sources"
"""Entry points of other packages' sources: the name of the source = its function `load`."""


class Named(NamedTuple):
    """A source that is asked for by its name before a colon.

    Attributes:
        form: What a description looks like.
        what: What it leads to, in a few words.
        module: Of this package, with a function `load` from a `Request` to a `Network`.
        packages: What it needs beyond what this package needs, as pip names them, and Python those
            that the source imports; the models come from the first, if there is one.
    """

    form: str
    what: str
    module: str
    packages: tuple[str, ...]


NAMED: dict[str, Named] = {
    "timm": Named(
        "timm:NAME",
        "networks of timm; timm:hf-hub:OWNER/NAME and timm:local-dir:FOLDER too",
        "timm_models",
        ("timm",),
    ),
    "torchvision": Named(
        "torchvision:NAME/WEIGHTS",
        "classifiers of torchvision, such as torchvision:resnet50/IMAGENET1K_V2",
        "torchvision_models",
        ("torchvision",),
    ),
    "hf": Named(
        "hf:FOLDER-OR-ID",
        "image classifiers of transformers, saved in a folder or in the cache of the hub",
        "hugging_face",
        ("transformers",),
    ),
    "robustbench": Named(
        "robustbench:DATASET/THREAT/NAME",
        "classifiers of RobustBench, such as robustbench:cifar10/Linf/Carmon2019Unlabeled",
        "robustbench_models",
        ("robustbench",),
    ),
    "onnx": Named(
        "onnx:FILE",
        "an ONNX file, converted to torch and compared with onnxruntime",
        "onnx_files",
        ("onnx2torch", "onnx", "onnxruntime"),
    ),
    "pt2": Named(
        "pt2:FILE", "a program of torch.export.save; a path that ends in .pt2 too", "exported", ()
    ),
    "torchscript": Named("torchscript:FILE", "a file of torch.jit.save", "torchscript", ()),
    "art": Named(
        "art:module.path:factory",
        "a factory of a PyTorchClassifier of the Adversarial Robustness Toolbox",
        "art_estimators",
        ("adversarial-robustness-toolbox",),
    ),
}
"""The sources of this package by their names."""


def plugins() -> dict[str, EntryPoint]:
    """Return the sources that other packages bring, by their names; those of this one stay."""
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return {each.name: each for each in entry_points(group=GROUP) if each.name not in NAMED}


def loader(name: str) -> Callable[..., Any] | None:
    """Import the function `load` of a source; None where no source has this name."""
    load: Callable[..., Any]
    if name in NAMED:
        load = importlib.import_module(f".{NAMED[name].module}", __package__).load
        return load
    plugin = plugins().get(name)
    if plugin is None:
        return None
    try:
        load = plugin.load()
    except Exception as error:  # the other package's code runs here
        raise CleverError(
            f"the source of {name}: cannot be imported ({in_short(error)})",
            f"a function, as {plugin.value!r} says",
            "see that the package which brings it is complete, or remove it",
        ) from error
    return load


def pip_command(source: Named) -> str:
    """Return what installs the packages of a source."""
    return "pip install " + " ".join(source.packages)
