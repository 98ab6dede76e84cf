"""What other libraries have fetched before: found in their caches, and never fetched here."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from urllib.parse import urlparse

import torch

from ..errors import CleverError


def hub_file(repository: str, name: str) -> Path | None:
    """Return a file of a repository of the Hugging Face hub that is in its cache.

    Args:
        repository: Its owner and name, and behind an @ the revision.
        name: Of the file.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        return None
    repository, _, revision = repository.partition("@")
    try:
        found = hub.try_to_load_from_cache(repository, name, revision=revision or None)
    except ValueError:  # no name that a repository may have
        return None
    return Path(found) if isinstance(found, (str, os.PathLike)) else None


def torch_file(url: str) -> Path | None:
    """Return what `torch.hub` has fetched from an address."""
    path = torch_folder() / Path(urlparse(url).path).name
    return path if path.is_file() else None


def torch_folder() -> Path:
    """Return the folder where `torch.hub` keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def not_here(spec: str, where: str, way: str) -> CleverError:
    """The error for a model that is not on this machine.

    Args:
        spec: Its description.
        where: The address of what is missing.
        way: How what was fetched by hand is given.
    """
    return CleverError(
        f"{spec!r} is not on this machine, and nothing is downloaded unasked",
        "weights in the cache of the library, or a file of them",
        f"allow it by --download (download=True in Python), or fetch {where} and give it {way}",
    )
