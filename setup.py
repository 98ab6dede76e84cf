"""Builds the extension: finds torch and nvcc, and calls CMake; the rest is in pyproject.toml.

Environment: CLEVER_WITH_CUDA=auto|0|1 (auto: where torch has CUDA and nvcc is found; 1 without
them is an error), TORCH_CUDA_ARCH_LIST (as in torch's own extensions), MAX_JOBS (default 2).
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
# Needs no GPU: every architecture from Turing on, and PTX of the last for those to come.
DEFAULT_ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX"

try:
    import torch
except ImportError:
    sys.exit(
        "clever_ext is built against the torch that is installed, and none is: install torch "
        "first, then run `pip install --no-build-isolation .`"
    )


def find_nvcc() -> str | None:
    """Return the path of nvcc, from CUDA_HOME or the PATH."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (nvcc := Path(home) / "bin" / "nvcc").exists():
        return str(nvcc)
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def with_cuda(nvcc: str | None) -> bool:
    """Decide whether the CUDA half is built, by CLEVER_WITH_CUDA and what is there."""
    choice = os.environ.get("CLEVER_WITH_CUDA", "auto")
    if choice not in ("auto", "0", "1"):
        sys.exit(f"CLEVER_WITH_CUDA={choice!r} is not one of auto, 0, 1")
    missing = [] if torch.version.cuda else [f"torch {torch.__version__} has no CUDA"]
    missing += [] if nvcc else ["nvcc was not found (set CUDA_HOME or the PATH)"]
    if choice == "1" and missing:
        sys.exit("CLEVER_WITH_CUDA=1, but " + " and ".join(missing))
    return choice != "0" and not missing


def cmake_architectures() -> str:
    """Translate TORCH_CUDA_ARCH_LIST ("7.5;9.0+PTX") to CMake's notation."""
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHITECTURES
    names = []
    for entry in re.split(r"[;\s]+", wanted.strip()):
        match = re.fullmatch(r"(\d+)\.(\d+[af]?)(\+PTX)?", entry)
        if match is None:
            sys.exit(f"TORCH_CUDA_ARCH_LIST entry {entry!r} is not like 9.0 or 9.0+PTX")
        number = match[1] + match[2]
        names += [f"{number}-real"] + ([f"{number}-virtual"] if match[3] else [])
    return ";".join(names)


class CMakeBuild(build_ext):
    """Hands the whole build to CMake."""

    def run(self) -> None:
        """Configure and build all the targets into the package's folder."""
        nvcc = find_nvcc()
        cuda = with_cuda(nvcc)
        package = "clever_ext"
        in_place = self.editable_mode or self.inplace
        output = ROOT / package if in_place else Path(self.build_lib).resolve() / package
        build = ROOT / "build" / f"torch-{torch.__version__}-{sys.implementation.cache_tag}"
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CLEVER_TORCH_DIR": Path(torch.__file__).parent,
            "CLEVER_TORCH_VERSION": torch.__version__,
            "CLEVER_VERSION": self.distribution.get_version(),
            "CLEVER_PYTHON_INCLUDE": sysconfig.get_path("include"),
            "CLEVER_MODULE_SUFFIX": sysconfig.get_config_var("EXT_SUFFIX"),
            "CLEVER_OUTPUT_DIR": output,
            "CLEVER_WITH_CUDA": "ON" if cuda else "OFF",
            "CLEVER_CUDA_ARCHITECTURES": cmake_architectures() if cuda else "",
        }
        if cuda:
            options["CMAKE_CUDA_COMPILER"] = nvcc
        defines = [f"-D{name}={value}" for name, value in options.items()]
        # A build folder that was made for a checkout in another place is begun afresh.
        cache = build / "CMakeCache.txt"
        here = f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n"
        fresh = ["--fresh"] if cache.exists() and here not in cache.read_text() else []
        command = ["cmake", *fresh, "-G", "Ninja", "-S", ROOT, "-B", build, *defines]
        subprocess.check_call(command)
        jobs = os.environ.get("MAX_JOBS", "2")
        subprocess.check_call(["cmake", "--build", build, "--parallel", jobs])

    def get_outputs(self) -> list[str]:
        """Name what was built, for the wheel's record."""
        folder = Path(self.build_lib) / "clever_ext"
        return [str(path) for path in folder.glob("_C*.so")]


setup(ext_modules=[Extension("clever_ext._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
