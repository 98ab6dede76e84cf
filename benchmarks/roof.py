"""What the kernels could reach on a GPU by the instructions that it can issue."""

from __future__ import annotations

import json
import math
import subprocess
from functools import cache
from pathlib import Path

import torch

#: What tools/sass.py counted in the compiled kernels.
SASS = Path(__file__).parent / "results" / "sass.json"


def card(*fields: str) -> dict[str, str]:
    """Return what nvidia-smi says of the GPU that torch uses, of several; nothing where it cannot.

    Args:
        fields: As its --query-gpu names them.
    """
    # Torch counts the GPUs that CUDA_VISIBLE_DEVICES leaves, nvidia-smi all of them.
    uuid = torch.cuda.get_device_properties("cuda").uuid
    query = ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={','.join(fields)}"]
    query += ["--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return {}
    said = ran.stdout.strip().split(", ")
    return dict(zip(fields, said, strict=True)) if len(said) == len(fields) else {}


@cache
def issue_rate() -> float:
    """Return how many instructions of single threads the GPU can issue in a second.

    A multiprocessor has four schedulers, each of which issues for 32 threads in a cycle. The clock
    is nvidia-smi's, for torch's properties have none in all versions; infinite where it tells none.
    """
    try:
        clock = 1e6 * float(card("clocks.max.sm")["clocks.max.sm"])
    except (KeyError, ValueError):
        return math.inf
    return torch.cuda.get_device_properties("cuda").multi_processor_count * 4 * 32 * clock


def instructions(kernel: str, p: float, channels_last: bool, architecture: int) -> float | None:
    """Return the instructions an element of a kernel's launches; None where nobody counted them."""
    counted = json.loads(SASS.read_text())["figures"] if SASS.exists() else []
    found = {f["case"]: float(f["ratio"]["median"]) for f in counted if f["figure"] == "all"}
    write = f"write, {'channels_last, ' if channels_last else ''}p = {p:g}"
    mass = [f"mass, p = {p:g}"] if math.isfinite(p) else []
    works = {
        "sampling": [*mass, write],
        "grad_norm_max": ["norm, l2"],  # another norm adds another instruction in its place
        "fused step": [f"mass and norm, p = {p:g}", write],
    }
    names = [f"{work}, sm_{architecture}" for work in works[kernel]]
    return sum(found[name] for name in names) if found.keys() >= set(names) else None
