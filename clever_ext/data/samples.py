"""The pictures that the demo needs, from the package that ships them."""

from __future__ import annotations

from .imagenet import package_folder
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
