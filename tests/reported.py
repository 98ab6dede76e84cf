"""A real run to report on: a small network trained on the digits that foolbox ships."""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from clever_ext.cli import main
from clever_ext.data import package_folder

#: As hostile as a file name may be.
HOSTILE = '<img src=x onerror=alert(1)> & "quoted"_5.png'
BROKEN = "broken_1.png"

FACTORY = """
import torch

def net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 4, 2, 1),
        torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(784, 10),
    )
"""


def make_pictures(folder: Path) -> None:
    """Foolbox's 20 digits, one of them again under a hostile name and label, and a broken one."""
    folder.mkdir()
    files = sorted((package_folder("foolbox") / "data").glob("mnist_*.png"))
    for file in files:
        shutil.copy(file, folder / file.name)
    shutil.copy(files[0], folder / HOSTILE)
    (folder / BROKEN).write_bytes(files[0].read_bytes()[:60])


def train(folder: Path, weights: Path, seed: int) -> None:
    """Train the network of `FACTORY` on the pictures, until it knows them."""
    space: dict = {}
    exec(FACTORY, space)
    files = sorted(folder.glob("mnist_*.png"))
    pixels = [np.array(Image.open(file).convert("RGB"), dtype=np.float32) for file in files]
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    y = torch.tensor([int(file.stem.rsplit("_", 1)[1]) for file in files])
    torch.manual_seed(seed)
    model = space["net"]()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(dim=1) == y).all()
    save_file(model.state_dict(), weights)


def make_run(place: Path, name: str, seed: int, *arguments: str) -> Path:
    """Train and score through the command line; `place` must be where the factory is imported."""
    train(place / "pictures", place / f"{name}.safetensors", seed)
    command = ["score", "--model", "digit_net:net", "--weights", str(place / f"{name}.safetensors")]
    command += ["--images", str(place / "pictures"), "--label-pattern", r"_(\d+)\.png$"]
    command += [
        "--image-size",
        "28",
        "--resize",
        "28",
        "--norm",
        "2",
        "inf",
        "--radius",
        "1",
        "0.05",
    ]
    command += ["--targets", "top-3", "--n-batches", "24", "--batch-samples", "4"]
    assert main([*command, "--out", str(place / name), *arguments]) == 0
    return place / name
