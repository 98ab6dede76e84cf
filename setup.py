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
from setuptools.command.dist_info import dist_info

ROOT = Path(__file__).parent.resolve()
# Needs no GPU: every architecture from Turing on, and PTX of the last for those to come.
DEFAULT_ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX"

OLDEST_TORCH = (2, 11)  # whose stable ABI CMakeLists.txt asks for


def check_environment() -> None:
    """End with one sentence where the extension cannot be built."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.exit("clever_ext cannot run in a free-threaded Python: use one that has the GIL")
    try:
        import torch
    except ImportError:
        sys.exit(
            "clever_ext is built against the torch that is installed, and sees none: install torch "
            "first, then run pip with --no-build-isolation, which lets the build see it"
        )
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        sys.exit(
            f"clever_ext needs torch {'.'.join(map(str, OLDEST_TORCH))} or later, and "
            f"{torch.__version__} is installed: upgrade torch first, then run pip with "
            "--no-build-isolation"
        )
    if missing := [name for name in ("cmake", "ninja") if shutil.which(name) is None]:
        sys.exit(
            f"clever_ext is built with cmake and ninja, and {' and '.join(missing)} cannot be "
            "found: run `pip install cmake ninja` first, or put them on the PATH"
        )


def find_nvcc() -> str | None:
    """Return the path of nvcc, from CUDA_HOME or the PATH."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (nvcc := Path(home) / "bin" / "nvcc").exists():
        return str(nvcc)
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def with_cuda(nvcc: str | None) -> bool:
    """Decide whether the CUDA half is built, by CLEVER_WITH_CUDA and what is there."""
    import torch

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


class Metadata(dist_info):
    """What pip asks for first: refusing here, it has not yet downloaded what the package needs."""

    def run(self) -> None:
        """Write the metadata of a package that can be built."""
        check_environment()
        super().run()


class CMakeBuild(build_ext):
    """Hands the whole build to CMake."""

    def run(self) -> None:
        """Configure and build all the targets into the package's folder."""
        check_environment()
        import torch

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
        # What an older build left under another name would be found before what was built now.
        built = {"_C.abi3.so"} | ({"_C_cuda.so"} if cuda else set())
        for library in output.glob("_C*.so"):
            if library.name not in built:
                library.unlink()

    def get_outputs(self) -> list[str]:
        """Name what was built, for the wheel's record."""
        folder = Path(self.build_lib) / "clever_ext"
        return [str(path) for path in folder.glob("_C*.so")]


def readme() -> str:
    """Return README.md as a package index can show it, which knows no other file of ours.

    Links to files lead to the address that pyproject.toml names as `Source` in [project.urls];
    where it names none, links become plain words, and pictures are left out.
    """
    source = re.search(r'^Source = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if source is None:
            return "" if picture else text
        kind = "raw" if picture else "blob"
        return f"{picture}[{text}]({source[1]}/{kind}/HEAD/{target})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^]]*)\]\((?!https?:)([^)#][^)]*)\)", absolute, text)


setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    # No sources here: CMake has them. One library for all Pythons: csrc/bindings/module.cpp.
    ext_modules=[Extension("clever_ext._C", sources=[], py_limited_api=True)],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    cmdclass={"build_ext": CMakeBuild, "dist_info": Metadata},
)
