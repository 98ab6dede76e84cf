"""A set of 50,000 pictures: memory stays flat, the folder costs little, a second start is quick."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import clever_ext as cx

pytestmark = pytest.mark.faults

NETWORK = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
"""
N = 50_000


def resident(pid: int) -> int:
    """Return the bytes that a process holds, or 0 if it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * 4096


def test_fifty_thousand_pictures(tmp_path):
    (tmp_path / "cheap.py").write_text(NETWORK)
    pixels = np.random.default_rng(0).integers(0, 256, (N, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pixels)
    command = [sys.executable, "-m", "clever_ext", "score", "--model", "cheap:net", "--out", "run"]
    command += ["--images", "pictures.npy", "--image-size", "28", "--targets", "top2"]
    command += ["--n-batches", "16", "--batch-samples", "16", "--threads", "1"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
        held = []
        while process.poll() is None:
            parts = len(list((tmp_path / "run/parts").glob("part-*")))
            if parts and (size := resident(process.pid)):
                held.append((parts, size))
            time.sleep(0.5)
    assert process.returncode == 0, (tmp_path / "said").read_text()

    n_parts = held[-1][0]
    early = [size for parts, size in held if n_parts * 0.1 < parts <= n_parts * 0.3]
    late = [size for parts, size in held if n_parts * 0.7 < parts < n_parts]
    grown = max(late) - max(early)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    pieces = [line for line in lines if line["event"] == "piece"]
    whole = pieces[-1]["time"] - lines[0]["time"]
    waited, scored = (sum(p["seconds"][name] for p in pieces) for name in ("waited", "scored"))
    begin = time.monotonic()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    again = time.monotonic() - begin
    result = cx.load_run(tmp_path / "run")
    assert result.metadata["complete"]
    assert result.table["image_id"].nunique() == N
    print(
        f"{len(pieces)} pieces in {whole:.0f} s; memory {max(late) / 2**20:.0f} MiB, grown by "
        f"{grown / 2**20:.1f} MiB from the first third to the last; waited {waited / whole:.2%}, "
        f"bookkeeping {1 - (waited + scored) / whole:.2%}; started again: {again:.1f} s"
    )
    assert grown < 64 * 2**20
