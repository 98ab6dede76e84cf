"""What a machine has for a trial: `python -m trial.machine` writes it as a line."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import lines

_TOOLKIT = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
_CARD = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.sm,clocks.mem"
#: Beside the project's own needs.
_PACKAGES = ("setuptools", "numpy", "triton", "pytest", "xdist", "pytest_timeout", "hypothesis")


@dataclass(frozen=True)
class Machine:
    """What steps ask for.

    Attributes:
        gpu: Its name; None where torch finds none.
        capability: "9.0", for TORCH_CUDA_ARCH_LIST.
        cuda: The version that torch was built for; None: it is a CPU build.
        build: setup.py's folder.
        programs: Where nvcc, ncu and compute-sanitizer are, of those that were found.
        packages: Names of modules that can be imported.
        cores: That this process may use.
    """

    gpu: str | None = None
    capability: str | None = None
    cuda: str | None = None
    build: str = ""
    programs: dict[str, str] | None = None
    packages: tuple[str, ...] = ()
    cores: int = 1

    def program(self, name: str) -> str | None:
        """Return where a program is."""
        return (self.programs or {}).get(name)


def read(file: Path) -> Machine:
    """Return what the last line of this kind says; a machine without anything where none does."""
    told: list[dict[str, Any]] = [line["machine"] for line in lines.read(file) if "machine" in line]
    return Machine(**told[-1]) if told else Machine()


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"


def _program(name: str) -> str | None:
    beside = _TOOLKIT / name
    return shutil.which(name) or (str(beside) if beside.exists() else None)


def look() -> tuple[dict[str, Any], Machine]:
    """Return where and how figures are measured here, and what steps ask for."""
    import torch

    gpu = torch.cuda.is_available()
    found = Machine(
        gpu=torch.cuda.get_device_name() if gpu else None,
        capability="{}.{}".format(*torch.cuda.get_device_capability()) if gpu else None,
        cuda=torch.version.cuda,
        build=f"build/torch-{torch.__version__}-{sys.implementation.cache_tag}",
        programs={n: p for n in ("nvcc", "ncu", "compute-sanitizer") if (p := _program(n))},
        packages=tuple(name for name in _PACKAGES if importlib.util.find_spec(name)),
        cores=len(os.sched_getaffinity(0)),
    )
    card = _printed("nvidia-smi", f"--query-gpu={_CARD}", "--format=csv,noheader")
    about = {
        "command": "python tools/gpu_trial.py",
        "date": date.today().isoformat(),
        "device": found.gpu or platform.machine(),
        "versions": {
            "torch": torch.__version__,
            "CUDA": torch.version.cuda,
            "python": platform.python_version(),
        },
        "card": dict(zip(_CARD.split(","), card.split(", "), strict=False)),
        "kernel": platform.release(),
        "user": os.getuid(),
        "nvcc": _printed(found.program("nvcc") or "nvcc", "--version").splitlines()[-1:],
    }
    if gpu:
        properties = torch.cuda.get_device_properties(0)
        about["multiprocessors"] = properties.multi_processor_count
        about["memory_bytes"] = properties.total_memory
        about["l2_bytes"] = properties.L2_cache_size
    return about, found


def main() -> None:
    """Write a line, and print it."""
    about, found = look()
    line = {"about": about, "machine": asdict(found)}
    lines.append(Path(os.environ["CLEVER_TRIAL_LINES"]), line)
    print(line)


if __name__ == "__main__":
    main()
