"""What the tests of models by name share: photographs, caches, and a network that is not there."""

import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

from clever_ext.data import package_folder
from clever_ext.models.loaded import LoadedModel


def photographs() -> list[Image.Image]:
    """Three photographs: a square one, a wide one and a tall one."""
    files = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))[:3]
    square, wide, tall = (Image.open(file).convert("RGB") for file in files)
    return [square, wide.crop((20, 40, 480, 363)), tall.crop((100, 0, 411, 509))]


def seen(loaded: LoadedModel, picture: Image.Image) -> torch.Tensor:
    """What the network itself gets of a picture: pixels, normalised."""
    network, loaded.model.model = loaded.model.model, torch.nn.Identity()
    try:
        return loaded.model(loaded.preprocessing(picture)[None])[0]
    finally:
        loaded.model.model = network


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """A network whose every number is drawn, so that a weight left out makes a difference."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator) - 0.5
            tensor.copy_(drawn.abs() + 0.5 if "var" in name or tensor.dim() < 2 else drawn * 0.2)
    return model.eval()


def without_a_connection(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cut the network off; return the list of hosts that were asked for, which grows."""
    asked: list[str] = []

    def refuse(host, *_, **__):
        asked.append(host)
        raise OSError("no connection")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


def in_hub_cache(cache: Path, repository: str) -> Path:
    """A folder of the Hugging Face hub's cache, as a download would have made it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot
