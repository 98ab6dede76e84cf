"""What is trained and scored by the tests of callbacks: foolbox's digits, and a small network."""

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from clever_ext.data import package_folder

#: A scoring that takes a moment, without trials of what is faster.
HOW = {"targets": "top2", "clip": (0, 1), "prepare": "none", "device_batch": 32}
FEW = {"estimator": "steepest", "max_gradients": 20, **HOW}
#: Scores that depend on samples, and so on the ids of the images.
SAMPLED = {"estimator": "clever", "radius": 1.0, "n_batches": 8, "batch_samples": 8, **HOW}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Foolbox's 20 digits, [20, 1, 14, 14], and their labels."""
    files = sorted((package_folder("foolbox") / "data").glob("mnist_*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])
    images = torch.from_numpy(pixels).float().div(255)[:, None]
    labels = [int(file.stem.rpartition("_")[2]) for file in files]
    return nn.functional.avg_pool2d(images, 2), torch.tensor(labels)


def network() -> nn.Sequential:
    """A network whose modes matter, in training mode but for its first layer."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2)
    made = nn.Sequential(*layers, nn.Flatten(), nn.Linear(576, 10))
    made[0].eval()
    return made


def state(model: nn.Module) -> list:
    """All that a score may not change: weights, statistics, gradients, modes, random states."""
    tensors = [*model.state_dict().values(), *(each.grad for each in model.parameters())]
    random = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    return [*(x if x is None else x.clone() for x in tensors), *random, modes(model)]


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


def same(one: list, other: list) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def by_two(folder: Path, what: str) -> list[dict]:
    """What each of two processes of a training finds, by `training_ranks.py`."""
    import processes  # which stands elsewhere, where those two look

    script = Path(__file__).with_name("training_ranks.py")
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "OMP_NUM_THREADS": "1"}
    started = []
    for rank in ("0", "1"):
        env = os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0"}
        command = [sys.executable, str(script), what, str(folder)]
        started.append(processes.start(command, env=env, cwd=folder))
    said = [process.communicate(300) for process in started]
    assert [process.wait() for process in started] == [0, 0], said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
