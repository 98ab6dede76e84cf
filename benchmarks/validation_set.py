"""What a run over many pictures costs beside its passes: waiting for pictures, and bookkeeping.

Photographs: foolbox's 20 ImageNet JPEGs, some times over under other names, scored on
EfficientNet-Lite0 with few gradients each, so that there is little time to read the next ones.
Many: 50,000 pictures of 28 x 28 in an array, scored on a network that costs next to nothing, so
that everything else shows.

    python benchmarks/validation_set.py --out benchmarks/results/validation-set-cpu.json
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import arguments, parsed, quantity, show, write

from clever_ext.data import Loader, sample_pictures
from clever_ext.models.loading import load_model

CHEAP = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
"""


@dataclass(frozen=True)
class Many:
    """A run over many pictures on a cheap network, as it was measured.

    Attributes:
        n_images: Pictures.
        seconds: From the start of the run, by its log, to its last part.
        waited: Share of them in which the model waited for pictures.
        bookkeeping: Share in which it neither waited nor scored.
        memory: Bytes of the process in the last third of the run, at most; without the array of
            pictures, which is mapped from its file.
        grown: The same less those of the first third.
        again: Seconds that the same command takes once all is done.
    """

    n_images: int
    seconds: float
    waited: float
    bookkeeping: float
    memory: int
    grown: int
    again: float


def events(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of a run's log, and those of its pieces."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return lines, [line for line in lines if line["event"] == "piece"]


def shares(run: Path) -> tuple[float, float, float]:
    """Return the seconds of a run, and the shares of waiting and of bookkeeping, by its log."""
    lines, pieces = events(run)
    whole = pieces[-1]["time"] - lines[0]["time"]
    waited, scored = (sum(p["seconds"][name] for p in pieces) for name in ("waited", "scored"))
    return whole, waited / whole, max(0.0, 1 - (waited + scored) / whole)


def many(folder: Path, n_images: int) -> Many:
    """Score many pictures in an empty folder, and watch."""
    (folder / "cheap.py").write_text(CHEAP)
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, 28, 28), dtype=np.uint8)
    np.save(folder / "pictures.npy", pixels)
    command = [sys.executable, "-m", "clever_ext", "score", "--model", "cheap:net", "--out", "run"]
    command += ["--images", "pictures.npy", "--image-size", "28", "--targets", "top2"]
    command += ["--n-batches", "16", "--batch-samples", "16", "--threads", "1"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    held = list(_watched(process, folder / "run" / "parts"))
    if process.returncode:
        raise SystemExit(f"the run ended with status {process.returncode}")
    n_parts = held[-1][0]
    early = max(size for parts, size in held if 1 <= parts <= n_parts / 3)
    # Once the last part is there the scores are read and summed up, which is not the run.
    late = max(size for parts, size in held if n_parts * 2 / 3 <= parts < n_parts)
    begin = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    again = time.monotonic() - begin
    return Many(n_images, *shares(folder / "run"), late, late - early, again)


def _watched(process: subprocess.Popen[bytes], parts: Path) -> Iterator[tuple[int, int]]:
    """Yield the parts that are there and the bytes that the process holds, while it runs."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        own = re.search(r"RssAnon:\s+(\d+) kB", status)
        if own and parts.exists():
            yield len(list(parts.glob("part-*"))), int(own[1]) * 1024
        time.sleep(0.2)


def photographs(folder: Path, times: int) -> list[dict[str, Any]]:
    """Score photographs with few gradients each, one process reading them."""
    source = Path(sample_pictures().path)
    for n in range(times):
        for path in source.glob("imagenet_*.jpg"):
            shutil.copy(path, folder / f"{n:02d}_{path.name}")
    command = [sys.executable, "-m", "clever_ext", "score", "--model", "efficientnet-lite0"]
    command += ["--images", str(folder), "--targets", "top2", "--n-batches", "4"]
    command += ["--batch-samples", "4", "--out", str(folder / "run")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    whole, _, bookkeeping = shares(folder / "run")
    _, pieces = events(folder / "run")
    case = "EfficientNet-Lite0, 16 gradients a picture"
    waits = [piece["seconds"]["waited"] for piece in pieces]
    facts = {"seconds": whole, "pictures": times * 20, "waits": waits}
    found = [
        quantity("seconds until the first piece is read", case, None, np.array(waits[:1])),
        quantity("seconds that the model waits for others", case, None, np.array(waits[1:])),
        quantity("time of bookkeeping", case, 0.01, np.array([bookkeeping])),
    ]
    found[2]["at_most"] = True
    return [{**each, "facts": facts} for each in found]


def reading(workers: int, rounds: int) -> dict[str, Any]:
    """Return the photographs that are read and cropped in a second."""
    source = sample_pictures()
    speeds = []
    with Loader(source, load_model("efficientnet-lite0").preprocessing, workers) as loader:
        loader.submit(source[:2]).result()
        for _ in range(rounds):
            begin = time.monotonic()
            for pending in [loader.submit(list(source)) for _ in range(5)]:
                pending.result()
            speeds.append(5 * len(source) / (time.monotonic() - begin))
    return quantity("photographs read in a second", f"{workers} worker(s)", None, np.array(speeds))


def main() -> None:
    """Measure, and write."""
    args = parsed(arguments(__doc__))
    figures = [reading(workers, args.rounds) for workers in (0, 1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        figures += photographs(Path(folder), 12)
    with tempfile.TemporaryDirectory() as folder:
        found = many(Path(folder), 5_000 if args.quick else 50_000)
    case = f"{found.n_images:,} pictures on a cheap network"
    for name, value, target in (
        ("time of bookkeeping", found.bookkeeping, 0.01),
        ("MiB that memory grows by", found.grown / 2**20, None),
        ("seconds of the same command once all is done", found.again, 5.0),
    ):
        each = quantity(name, case, target, np.array([value]))
        figures.append({**each, "at_most": True, "facts": vars(found)})
    for each in figures:
        show(each)
    write(args.out, figures, unit="shares of a run's time by its own log; pictures; seconds; MiB")


if __name__ == "__main__":
    main()
