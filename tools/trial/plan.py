"""The steps of a trial, those that matter most first."""

from __future__ import annotations

import importlib.util
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
    def no_gpu(self) -> str | None:
        """Why nothing can run on a GPU; None: it can."""
        if self.machine.cuda is None:
            return "this torch has no CUDA"
        return None if self.machine.gpu else "torch finds no GPU"

    @property
    def driver(self) -> str:
        """The program that launches the kernels without torch."""
        return f"{self.machine.build}/cuda_driver"

    def missing(self, program: str) -> str | None:
        """Tell that a program is not there; None: it is."""
        return None if self.machine.program(program) else f"{program} was not found"

    def half_a(self) -> Iterator[Step]:
        """Yield build, self test, kernels and tests."""
        yield from self._builds()
        yield Step("self test", 30, [PYTHON, "-m", "clever_ext", "doctor"])
        yield self._bench("kernels against the copy", 60, "kernels", "--rounds", "3")
        yield self._gpu_tests("captures and the engine", 80, [*_CAPTURES])
        if self.emulated:
            library = {"CLEVER_EMULATION_LIBRARY": str(ROOT / EMULATED / "_C_emulated.so")}
            some = ["-m", "not cuda", "-k", "emulated", "tests/kernels/test_cuda_half.py"]
            yield Step("tests on emulated kernels", 100, self._pytest(some), environment=library)
        others = [*self._workers(), *_TESTS, *(f"--ignore={file}" for file in _CAPTURES)]
        yield self._gpu_tests("tests on the GPU", 100, others)
        yield from self._drivers()
        ncu = [PYTHON, "-m", "trial.profile", self.machine.program("ncu") or "ncu", self.driver]
        lacks = self.no_gpu or self.missing("ncu")
        yield Step("profile of six launches", 40, ncu, lacks, _REFUSED)
        yield self._bench("kernels once more", 60, "kernels", "--rounds", "7")

    def half_b(self) -> Iterator[Step]:
        """Yield a real score, loops, and accesses that are watched."""
        yield from self._builds()
        if self.emulated:
            few = self._command("photographs", "--device", "cpu", "--photographs", "1")
            yield Step("a real score on the CPU", 60, few)
        yield self._bench("a real score", 60, "photographs")
        yield self._compiled()
        for name, dtype in _LOOPS[:4]:
            yield self._loop(name, dtype)
        yield from self._drivers()
        watcher = self.machine.program("compute-sanitizer") or "compute-sanitizer"
        lacks = self.no_gpu or self.missing("compute-sanitizer")
        for tool in ("memcheck", "racecheck"):
            watched = [watcher, "--tool", tool, "--error-exitcode", "9", self.driver]
            yield Step(tool, 60, watched, lacks, _REFUSED)
        for name, dtype in _LOOPS[4:]:
            yield self._loop(name, dtype)

    def _builds(self) -> Iterator[Step]:
        """Yield the build in place, and that of the emulated kernels."""
        build = [PYTHON, "setup.py", "build_ext", "--build-lib", "."]
        version = [PYTHON, "setup.py", "--quiet", "egg_info"]  # which the package reads
        variables = {
            "CLEVER_WITH_CUDA": "1",
            "MAX_JOBS": str(self.machine.cores),
            "NVCC_APPEND_FLAGS": "--split-compile=0",
        }
        if self.machine.capability:
            variables["TORCH_CUDA_ARCH_LIST"] = self.machine.capability
        no_cuda = None if self.machine.cuda else "this torch has no CUDA"
        lacks = no_cuda or self.missing("nvcc")
        yield Step("build", 150, _all_of(build, version), lacks, environment=variables)
        if self.emulated:
            torch = importlib.util.find_spec("torch")
            assert torch is not None
            assert torch.origin is not None
            begin = ["cmake", "-G", "Ninja", "-S", ".", "-B", EMULATED, "-DCLEVER_EMULATION=ON"]
            begin += ["-DCLEVER_DRIVER=ON", f"-DCLEVER_OUTPUT_DIR={ROOT / EMULATED}"]
            begin += [f"-DCLEVER_TORCH_DIR={Path(torch.origin).parent}"]
            yield Step("build for the emulator", 150, _all_of(begin, self._make(EMULATED)))

    def _drivers(self) -> Iterator[Step]:
        """Yield builds and runs of the driver; for a GPU of the kernels that were built for it."""
        if self.emulated:
            yield Step("driver under the emulator", 30, [f"{EMULATED}/cuda_driver"])
        if self.emulated and self.no_gpu:
            compiler = f"-DCMAKE_CUDA_COMPILER={self.machine.program('nvcc')}"
            begin = ["cmake", "-G", "Ninja", "-S", ".", "-B", COMPILED, "-DCLEVER_WITH_CUDA=ON"]
            begin += ["-DCLEVER_DRIVER=ON", "-DCLEVER_CUDA_ARCHITECTURES=90-real", compiler]
            steps = _all_of(begin, [*self._make(COMPILED), "--target", "cuda_driver"])
            yield Step("driver by nvcc, for no GPU", 60, steps, self.missing("nvcc"))
        begin = ["cmake", "-S", ".", "-B", self.machine.build, "-DCLEVER_DRIVER=ON"]
        steps = _all_of(begin, [*self._make(self.machine.build), "--target", "cuda_driver"])
        yield Step("driver by nvcc", 60, steps, self.no_gpu)
        yield Step("driver", 20, [self.driver], self.no_gpu)

    def _make(self, folder: str) -> list[str]:
        return ["cmake", "--build", folder, "--parallel", str(self.machine.cores)]

    def _command(self, *arguments: str) -> list[str]:
        return [PYTHON, "benchmarks/gpu.py", *arguments, "--out", str(self.lines)]

    def _bench(self, name: str, limit: float, *arguments: str) -> Step:
        return Step(name, limit, self._command(*arguments), self.no_gpu)

    def _loop(self, name: str, dtype: str) -> Step:
        what = ("loops", "--networks", name, "--dtypes", dtype, "--rounds", "3")
        return self._bench(f"loop of {name}, {dtype}", 50, *what)

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
        return Step("models compiled side by side", 110, together, self.no_gpu,
                    environment={"TORCHINDUCTOR_COMPILE_THREADS": threads})  # fmt: skip

    def _gpu_tests(self, name: str, limit: float, arguments: list[str]) -> Step:
        command = self._pytest(["-m", "cuda", *arguments])
        return Step(name, limit, command, self.no_gpu, environment={"CLEVER_REQUIRE_CUDA": "1"})

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
