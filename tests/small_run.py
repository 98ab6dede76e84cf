"""A run that takes a second or two: a small network on pictures of noise, by every entry point."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import processes
import torch
from PIL import Image

import clever_ext as cx
from clever_ext.data import Preprocessing, open_images
from clever_ext.estimators.table import check_settings
from clever_ext.models.loaded import LoadedModel
from clever_ext.runs.folder import RunFolder
from clever_ext.runs.loop import score_pieces
from clever_ext.runs.ranks import Alone
from clever_ext.runs.scorer import Scorer

NETWORK = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    )
"""
#: The command, with pieces of two pictures: what a small network costs would make one piece of all.
#: Its imports are for itself: processes that read pictures import the script, and need none.
PROGRAM = """
if __name__ == "__main__":
    import sys

    import clever_ext.runs.pieces
    from clever_ext.cli import main

    clever_ext.runs.pieces._IMAGES = 2
    sys.exit(main())
"""
#: How passes are made is said in full: by trials, two runs could choose differently.
HOW = ["--device-batch", "32", "--prepare", "none", "--threads", "1", "--image-size", "8"]
HOW += ["--radius", "2"]
COMMAND = [sys.executable, "program.py", "score", "--model", "tiny_net:net", *HOW]


def make_pictures(folder: Path, n: int) -> Path:
    """Write PNG files of noise, named by their number and a class."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(n):
        pixels = noise.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number:04d}_{number % 5}.png")
    return folder


class SmallRun:
    """Pictures and a network in a folder, and ways to score the one by the other."""

    def __init__(self, path: Path, n_images: int = 6, n_batches: int = 6) -> None:
        self.path = path
        self.pictures = make_pictures(path / "pictures", n_images)
        (path / "tiny_net.py").write_text(NETWORK)
        (path / "program.py").write_text(PROGRAM)
        few = ["--n-batches", str(n_batches), "--batch-samples", "4", "--targets", "all"]
        self.command = [*COMMAND, "--images", "pictures", *few]
        #: The same without a radius and without what only the paper's estimator has.
        self.searching = [*COMMAND[:-2], "--images", "pictures", "--targets", "all"]
        self.n_batches = n_batches
        namespace: dict[str, Any] = {}
        exec(NETWORK, namespace)
        preprocessing = Preprocessing(image_size=8, resize=8)
        model: torch.nn.Module = namespace["net"]().eval()
        self.model = LoadedModel(model, "small", 8, preprocessing, "digest", list("abcde"))

    def start(self, out: str, *more: str) -> processes.Process:
        """Start the command in a process of its own."""
        return processes.start([*self.command, "--out", out, *more], cwd=self.path)

    def under_torchrun(self, out: str, *how: str) -> list[str]:
        """Return the command of several processes, by torchrun's options."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", *how]
        return [*torchrun, *self.command[1:], "--out", out]

    def scorer(self, threads: int | None = None, **changes: Any) -> Scorer:
        """Return the same settings for a run in this process."""
        given = {
            "norm": 2,
            "radius": {2: 2, "inf": 0.01},
            "targets": "all",
            "n_batches": self.n_batches,
        }
        given |= {"batch_samples": 4, "clip": (0, 1), "seed": 0, **changes}
        return Scorer(self.model, check_settings(**given), 32, None, "none", threads)

    def score(
        self,
        out: str,
        ranks: Any = None,
        shard: tuple[int, int] = (0, 1),
        retry_errors: bool = False,
        tell: Any = None,
        **changes: Any,
    ) -> int:
        """Score in this process."""
        folder = RunFolder(self.path / out)
        source = open_images(self.pictures)
        how = {"shard": shard, "retry_errors": retry_errors, "tell": tell}
        return score_pieces(folder, source, self.scorer(**changes), ranks or Alone(), **how)

    def folder(self, out: str) -> RunFolder:
        """Return a run's folder."""
        return RunFolder(self.path / out)

    def table(self, out: str) -> pd.DataFrame:
        """Return a run's rows."""
        return cx.load_run(self.path / out).table


def assert_same_bits(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Compare two tables of results to the last bit, order of rows included."""
    pd.testing.assert_frame_equal(left, right, check_exact=True)
