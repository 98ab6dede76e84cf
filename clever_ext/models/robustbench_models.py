"""Classifiers of RobustBench: `robustbench:cifar10/Linf/Carmon2019Unlabeled`, as its own names are.

Its `load_model` makes the network and reads the checkpoint, MODEL_DIR/cifar10/Linf/NAME.pt, once
that is known to be there or may be fetched. The networks take pixels in [0, 1].
"""

from __future__ import annotations

import importlib
import pickle
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from torch import nn

from ..data import Sides, imagenet_class_names, scale_size
from ..data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from ..errors import CleverError, in_short
from ..findings import Finding
from .cached import not_here, torch_file, torch_folder
from .catalogue import NAMED
from .source import DEFAULT_IMAGE_SIZE, Network, Request, library, similar
from .weights import check_file, safe_values, unreadable

#: What its evaluation alone imports, and the packages that pip installs with it do not hold.
_OF_EVALUATION = ("autoattack", "pkg_resources")
_CIFAR_SIZE = 32
#: What its names of ways to prepare pictures say: (Bicubic)(Res256)(Crop224).
_WAY = re.compile(r"(Bicubic)?(?:Res(\d+))?(?:Crop(\d+))?")


@dataclass(frozen=True)
class _Entry:
    """A model as RobustBench has it.

    Attributes:
        dataset: "cifar10", "cifar100" or "imagenet".
        threat: "Linf", "L2" or "corruptions".
        name: Of the model.
        ids: Of its files on Google Drive; none where it is a network of timm's registry.
        way: How its pictures are prepared.
    """

    dataset: str
    threat: str
    name: str
    ids: tuple[str, ...]
    way: str | None

    @property
    def registered(self) -> str:
        """Its name where it is a network of timm's registry."""
        name = self.name.replace("-", "_")
        return f"{name}_{self.dataset}_{self.threat}".lower()

    def files(self, folder: Path) -> list[Path]:
        """Where RobustBench keeps its checkpoints: one, or one for each part."""
        path = folder / self.dataset / self.threat / f"{self.name}.pt"
        if len(self.ids) == 1:
            return [path]
        return [path.with_name(f"{path.name}_m{part}.pt") for part in range(len(self.ids))]


def load(request: Request) -> Network:
    """Load a classifier of RobustBench from its folder of models, or by a download."""
    with ExitStack() as stack:
        zoo = stack.enter_context(_zoo())
        entry = _entry(zoo, request)
        folder = request.model_dir or Path("models")
        if request.weights is not None:
            folder = stack.enter_context(_folder_of(request, entry))
        _check_there(zoo, request, entry, folder)
        model = _load(zoo, request, entry, folder)
    pictures, findings = _pictures(entry, model, request.image_size)
    return Network(
        model=model.eval(),
        name=request.spec,
        channels=3,
        takes_pixels=True,
        class_names=_class_names(entry.dataset),
        findings=findings,
        **pictures,
    )


@contextmanager
def _zoo() -> Iterator[Any]:
    """Import RobustBench's models, without its evaluation where that cannot be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older names in timm and setuptools
        try:
            library(NAMED["robustbench"])
        except CleverError as error:
            spec = find_spec("robustbench")
            if spec is None or getattr(error.__cause__, "name", None) not in _OF_EVALUATION:
                raise
            sys.modules["robustbench"] = module_from_spec(spec)  # whose own code is not run
            try:
                yield importlib.import_module("robustbench.utils")
            finally:
                del sys.modules["robustbench"]
        else:
            yield importlib.import_module("robustbench.utils")


def _entry(zoo: Any, request: Request) -> _Entry:
    known = {
        (dataset.value, threat.value, name): model
        for dataset, threats in zoo.all_models.items()
        for threat, models in threats.items()
        for name, model in models.items()
    }
    dataset, _, rest = request.name.partition("/")
    threat, _, name = rest.partition("/")
    key = dataset, threat.removesuffix("_3d"), name  # whose models it shares
    if key not in known:
        raise _unknown(request.name, ["/".join(each) for each in known])
    ids = known[key]["gdrive_id"]
    if ids == "":
        raise CleverError(
            f"{request.name!r} is a network of torchvision, which RobustBench has no file of",
            "torchvision:NAME/WEIGHTS",
            "name it torchvision:resnet50/IMAGENET1K_V1",
        )
    ids = tuple(ids) if isinstance(ids, list) else (ids,) if ids else ()
    return _Entry(*key, ids, known[key].get("preprocessing"))


def _unknown(name: str, names: list[str]) -> CleverError:
    group, _, last = name.rpartition("/")
    meant = [each for each in names if each.lower().endswith(f"/{last}".lower())][:3]
    beside = [each.rpartition("/")[2] for each in names if each.startswith(f"{group}/")]
    if last and meant:
        hint = f" (did you mean {' or '.join(meant)}?)"
    else:
        hint = similar(last, beside) if group and beside else similar(name, names)
    groups = dict.fromkeys(each.rpartition("/")[0] for each in names)
    return CleverError(
        f"RobustBench has no model {name!r}",
        f"robustbench:DATASET/THREAT/NAME, with {', '.join(groups)} before the name",
        "correct the name" + hint,
    )


@contextmanager
def _folder_of(request: Request, entry: _Entry) -> Iterator[Path]:
    """Put a file of weights where RobustBench looks for it, in a folder of models of its own."""
    if len(entry.ids) != 1:
        raise CleverError(
            f"{request.spec!r} was given together with weights",
            "a folder of models: its checkpoint is no single file of RobustBench's",
            "leave the weights out, and see where its files belong by a call without them",
        )
    weights = request.weights or Path()
    check_file(weights)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = entry.files(Path(folder))
        path.parent.mkdir(parents=True)
        path.symlink_to(weights.resolve())
        yield Path(folder)


def _check_there(zoo: Any, request: Request, entry: _Entry, folder: Path) -> None:
    """Refuse what is not on this machine, where it may not be fetched."""
    if request.download:
        return
    if not entry.ids:
        url = zoo.timm.models.get_pretrained_cfg(entry.registered).url
        if torch_file(url) is None:
            raise not_here(request.spec, url, f"the path {torch_folder() / Path(url).name}")
        return
    missing = [
        (path, f"https://drive.google.com/uc?id={each}")
        for path, each in zip(entry.files(folder), entry.ids, strict=True)
        if not path.is_file()
    ]
    if missing:
        paths, addresses = ([str(each) for each in column] for column in zip(*missing, strict=True))
        way = f"the path {' and '.join(paths)} (the folder {folder} is --model-dir)"
        raise not_here(request.spec, " and ".join(addresses), way)


def _load(zoo: Any, request: Request, entry: _Entry, folder: Path) -> nn.Module:
    try:
        # RobustBench asks torch for weights alone, by its default; downloads print to the output.
        with safe_values(), redirect_stdout(sys.stderr):
            model: nn.Module = zoo.load_model(
                entry.name, model_dir=folder, dataset=entry.dataset, threat_model=entry.threat
            )
    except pickle.UnpicklingError as error:
        (path, *_) = [request.weights] if request.weights else entry.files(folder)
        raise CleverError(
            f"the weights {str(path)!r} are damaged, or refused because reading them may run code",
            "a checkpoint of tensors and numbers",
            "fetch the file again; if you trust it: `c = torch.load(path, weights_only=False)`, "
            "`torch.save(c.get('state_dict', c), path)`",
        ) from error
    except Exception as error:  # RobustBench, and what it asks for, raise nearly anything
        if request.weights is not None:
            raise unreadable(
                request.weights, in_short(error), f"RobustBench's checkpoint of {entry.name}"
            ) from error
        raise CleverError(
            f"RobustBench cannot load {request.spec!r} ({in_short(error)})",
            f"its checkpoint in {folder}, or a connection to where it has it",
            "see the error; remove a file that is damaged, and fetch it again",
        ) from error
    return model


def _pictures(
    entry: _Entry, model: Any, asked: Sides | None
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return how RobustBench prepares the pictures of a model, in the words of `Network`."""
    if entry.dataset != "imagenet":
        return {"image_size": asked or _CIFAR_SIZE}, ()
    if not entry.ids:
        config = getattr(model, "model", model).default_cfg
        size = asked or config["input_size"][1]
        return _resized(size, config["crop_pct"], config["interpolation"]), ()
    found = _WAY.fullmatch(entry.way or "")
    bicubic, resize, crop = found.groups() if found else (None, None, None)
    own, how = int(crop or resize or DEFAULT_IMAGE_SIZE), "bicubic" if bicubic else "bilinear"
    if resize and crop:
        return _resized(asked or own, own / int(resize), how), ()
    if resize:  # the whole picture, whatever its shape
        return {**_resized(asked or own, 1, how), "crop_mode": "squash"}, ()
    said = f"RobustBench cuts {own} x {own} out of pictures as they are ({entry.way}); here they"
    said += " are resized first"
    return _resized(asked or own, 1, how), (Finding("model", said, "give resize yourself"),)


def _resized(size: Sides, crop_pct: float, how: str) -> dict[str, Any]:
    return {"image_size": size, "resize": scale_size(size, crop_pct), "interpolation": how}


def _class_names(dataset: str) -> list[str] | None:
    if dataset == "imagenet":
        with suppress(CleverError):  # not installed
            return imagenet_class_names()
        return None
    return list(CIFAR10_CLASSES if dataset == "cifar10" else CIFAR100_CLASSES)
