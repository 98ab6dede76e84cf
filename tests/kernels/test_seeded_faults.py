"""The emulator: a mistake put into a copy of the CUDA kernels is noticed, by it or by comparing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import needs_emulation

ROOT = Path(__file__).parents[2]
COMPARISON = ROOT / "tests/kernels/test_cuda_half.py"


@dataclass(frozen=True)
class Fault:
    """A mistake put into a copy of the kernels, and a pattern of how it must be noticed."""

    file: str
    right: str
    wrong: str
    noticed: str


FAULTS = {
    "no barrier before the reduction's readers": Fault(
        "block.cuh",
        "partial[warp()] = value;\n  __syncthreads();",
        "partial[warp()] = value;",
        "a read of shared memory that nothing wrote|a race",
    ),
    "no barrier after the last reduction's readers": Fault(
        "block.cuh",
        "  __syncthreads();  // the previous reduction's readers are done\n",
        "",
        "a race: a write to shared memory that another thread used",
    ),
    "a barrier that some threads do not reach": Fault(
        "block.cuh",
        "  __syncthreads();\n  double total",
        "  if (lane() != 1) __syncthreads();\n  double total",
        "a read of shared memory that nothing wrote|a race|wait at different barriers",
    ),
    "a cursor that is read after it moved": Fault(
        "reduce_and_resample.cu",
        "const Plan plan = shared_plan(resample, row, false);",
        "const Plan plan = resample.plan(row);",
        "Tensor-likes are not (close|equal)",
    ),
    "a plan that is made anew by each part": Fault(
        "reduce_and_resample.cu",
        "const Plan* const plan = resample.plans + place.row;",
        "const Plan anew = resample.plan(place.row);\n  const Plan* const plan = &anew;",
        "Tensor-likes are not (close|equal)",
    ),
    "a sum without the last part": Fault(
        "norms.cuh",
        "for (uint32_t part = lane(); part < parts; part += kWarp) {",
        "for (uint32_t part = lane(); part + 1 < parts; part += kWarp) {",
        "Tensor-likes are not (close|equal)",
    ),
    "an end that is settled before all looks are folded": Fault(
        "bracket_ends.cu",
        "  __syncthreads();  // all looks are folded\n",
        "",
        "Tensor-likes are not equal",
    ),
    "an element too many": Fault(
        "samples.cuh",
        "|| element >= point.numel) continue;",
        "|| element > point.numel) continue;",
        "AddressSanitizer: heap-buffer-overflow|Tensor-likes are not (close|equal)",
    ),
    "an element too few": Fault(
        "samples.cuh",
        "|| element >= point.numel) continue;",
        "|| element >= point.numel - 1) continue;",
        "Tensor-likes are not (close|equal)",
    ),
}


def sanitizer_environment(library: Path) -> dict[str, str]:
    """The environment in which Python can load a library built with AddressSanitizer."""
    # libstdc++ too: AddressSanitizer looks for its functions before anything else loads it.
    names = ("libasan.so", "libstdc++.so")
    paths = [
        subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
        for name in names
    ]
    return os.environ | {
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "CLEVER_EMULATION_LIBRARY": str(library),
    }


class Bench:
    """A copy of the kernels in which faults are put, built with AddressSanitizer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.build = folder, folder / "build"
        shutil.copy(ROOT / "CMakeLists.txt", folder)
        shutil.copytree(ROOT / "csrc", folder / "csrc")
        shutil.copytree(ROOT / "tests/cuda_emulation", folder / "tests/cuda_emulation")
        # One type is enough to see a fault in, and compiles in a quarter of the time.
        arguments = folder / "csrc/kernels/arguments.h"
        text, replaced = re.subn(
            r"f\((double|half_t|bfloat16_t)\{\}\)", "f(float{})", arguments.read_text()
        )
        assert replaced == 3
        arguments.write_text(text)
        options = {
            "CLEVER_EMULATION": "ON",
            "CLEVER_SANITIZE": "ON",
            "CLEVER_TORCH_DIR": Path(torch.__file__).parent,
            "CLEVER_OUTPUT_DIR": folder,
        }
        defines = [f"-D{name}={value}" for name, value in options.items()]
        self._run("cmake", "-G", "Ninja", "-S", folder, "-B", self.build, *defines)

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def smoke_test(self) -> subprocess.CompletedProcess[str]:
        """Build what the folder holds, and compare it with the CPU's kernels."""
        self._run("cmake", "--build", self.build, "--parallel", "2")
        few = ["-m", "not cuda", "-k", "(of_the_cpu and float32) or ends or slots or strides"]
        # Nothing captured: what pytest holds back is lost when AddressSanitizer ends the process.
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "--capture=no", *few, COMPARISON],
            env=sanitizer_environment(self.folder / "_C_emulated.so"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The copy, without a fault, seen to pass: what fails later fails for its fault."""
    bench = Bench(tmp_path_factory.mktemp("faults"))
    result = bench.smoke_test()
    assert result.returncode == 0, result.stdout
    return bench


@needs_emulation
@pytest.mark.parametrize("name", FAULTS)
def test_a_seeded_fault_is_noticed(bench: Bench, name: str) -> None:
    fault = FAULTS[name]
    file = bench.folder / "csrc/kernels/cuda" / fault.file
    text = file.read_text()
    assert text.count(fault.right) == 1, "the kernel no longer has the place for this fault"
    file.write_text(text.replace(fault.right, fault.wrong))
    try:
        result = bench.smoke_test()
    finally:
        file.write_text(text)
    assert result.returncode != 0
    assert re.search(fault.noticed, result.stdout), result.stdout
