"""Image classifiers of transformers: `hf:FOLDER` or `hf:OWNER/NAME`, their id on the hub.

Pictures are prepared as the image processor beside the model does it with Pillow. A repository that
brings code of its own is refused: nothing of it is run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..data import scale_size
from ..errors import CleverError, few, in_short
from ..findings import Finding
from .cached import hub_file, not_here
from .catalogue import NAMED
from .image_processors import Pictures, check_against, read_processor
from .source import DEFAULT_IMAGE_SIZE, Network, Request, library
from .weights import load_weights


class Logits(nn.Module):
    """A classifier of transformers that returns its logits alone.

    Args:
        model: Takes pictures under the name `main_input_name`, and returns an output with `logits`.
        flipped: Whether it takes the channels in the order blue, green, red.
    """

    def __init__(self, model: Any, flipped: bool) -> None:
        super().__init__()
        self.model = model
        self.flipped = flipped
        self.train(model.training)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of normalised pictures [B, C, H, W], whose channels are RGB."""
        if self.flipped:
            pictures = pictures.flip(1)
        logits: torch.Tensor = self.model(**{self.model.main_input_name: pictures}).logits
        return logits


def load(request: Request) -> Network:
    """Load an image classifier of transformers from a folder, its cache or a download."""
    transformers: Any = library(NAMED["hf"])
    where = _where(request)
    # Without the second, it would ask whether to run the code of a repository.
    local = {"local_files_only": not request.download, "trust_remote_code": False}
    model, findings = _model(transformers, request, where, local)
    pictures, told = _pictures(transformers, request.spec, where, local, model.config)
    own, size = pictures.image_size, request.image_size or pictures.image_size
    return Network(
        # In float32, where pictures are: weights may be kept in a shorter type.
        model=Logits(model.float(), pictures.flipped).eval(),
        name=request.spec,
        image_size=size,
        resize=pictures.resize if size == own else scale_size(size, pictures.share),
        crop_mode=pictures.crop_mode,
        interpolation=pictures.interpolation,
        crop_rounding="down",
        channels=getattr(model.config, "num_channels", 3),
        normalisation=pictures.normalisation,
        class_names=_class_names(model.config),
        findings=(*findings, *told),
    )


def _where(request: Request) -> str:
    """Return the folder or the id of what is there, or may be fetched."""
    if request.folder.is_dir():
        if not (request.folder / "config.json").is_file():
            raise CleverError(
                f"the folder {request.name!r} has no config.json",
                "a folder that transformers has saved",
                "save model and image processor there with `save_pretrained`",
            )
        return str(request.folder)
    if request.download:
        return request.name
    found = hub_file(request.name, "config.json")
    if found is None:
        address = f"https://huggingface.co/{request.name}"
        raise not_here(request.spec, address, "as hf:FOLDER")
    # As a folder: of an id, transformers asks the hub even where it shall take local files alone.
    return str(found.parent)


def _model(
    transformers: Any, request: Request, where: str, local: dict[str, bool]
) -> tuple[Any, list[Finding]]:
    kind = transformers.AutoModelForImageClassification
    missing: list[str] = []
    try:
        if request.weights is not None:
            model = kind.from_config(transformers.AutoConfig.from_pretrained(where, **local))
        else:
            model, read = kind.from_pretrained(where, output_loading_info=True, **local)
            missing = [*read["missing_keys"], *map(str, read["mismatched_keys"])]
    except Exception as error:  # transformers and what it asks for raise nearly anything
        raise CleverError(
            f"transformers cannot load {request.spec!r} ({in_short(error)})",
            "an image classifier: configuration and weights",
            "see the error; without a connection, give a folder with all of its files",
        ) from error
    if missing:
        raise CleverError(
            f"the weights of {request.spec!r} leave out {few(missing)}, which would be random",
            "weights of the whole classifier",
            "train the missing layers first, or choose a model that was trained to classify",
        )
    return model, load_weights(model, request.weights) if request.weights else []


def _pictures(
    transformers: Any, spec: str, where: str, local: dict[str, bool], config: Any
) -> tuple[Pictures, list[Finding]]:
    """Read the image processor; what it does otherwise than we do is told."""
    size = getattr(config, "image_size", None) or DEFAULT_IMAGE_SIZE
    size = tuple(size) if isinstance(size, (list, tuple)) else size
    # With Pillow, as ours; the ways of torchvision round otherwise, by a level or so.
    pillow = {"backend": "pil"} if _major(transformers) >= 5 else {"use_fast": False}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(where, **pillow, **local)
    except Exception as error:  # as above
        said = f"{spec!r} has no image processor that can be read ({in_short(error)}): pictures are"
        said += f" resized to {size}, and not normalised"
        return Pictures(size), [Finding("model", said, "give its mean, std and size yourself")]
    pictures = read_processor(processor, size)
    return pictures, check_against(processor, pictures)


def _major(transformers: Any) -> int:
    return int(str(transformers.__version__).partition(".")[0])


def _class_names(config: Any) -> list[str] | None:
    """Names of the classes, where they have any."""
    names = [str(name) for _, name in sorted(config.id2label.items())]
    return None if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names
