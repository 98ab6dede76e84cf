"""Compiles the CUDA kernels and counts what a thread of them executes, without a GPU.

    python tools/sass.py           # all architectures; writes benchmarks/results/sass.json
    python tools/sass.py --check   # sm_90 alone; fails where a number is not the committed one

For each kernel: registers, stack, and spills, as ptxas tells them. For those whose speed matters:
the instructions of a thread, divided by its elements. Of all ways through a kernel that make no
call and take no loop twice, that one is counted that has most of the instructions that do the work
(WORKS names them, by opcode or function), and of these the shortest: the way of a thread all of
whose elements are there, whose row is a usual one, and which has no part in combining what others
found. Every instruction on it counts, also where its predicate does not hold.

Beside them stands the roof: the time in which a GPU moves the bytes, over that in which it has the
instructions executed, both by its datasheet.

Needs nvcc 13 and nvdisasm (`pip install nvidia-cuda-nvdisasm`). Numbers of another nvcc are not
compared.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import sass_code as sass

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "sass.json"
ARCHITECTURES = (80, 90, 100)
CHECKED = 90
Figure = dict[str, Any]

# --- what is counted ---


class Work(NamedTuple):
    """What a kernel does with an element, and where to count it."""

    name: str
    source: str
    kernel: str
    does: tuple[str, ...]  # opcodes and functions of the instructions that do it
    elements: int = 16  # of a thread
    target: int | None = None  # instructions an element, on sm_90
    rather: str = "(?!)"  # of ways that do the work alike, that with most of these is taken


def _works() -> Iterator[Work]:
    """Yield all works."""
    # A norm by its loads and by the sum over a warp: the compiler may move the updates of several
    # norms to where no line of theirs is told.
    norm, l2, fused = (r"LDG\.E\.128", "SHFL"), "L2::update", "reduce_and_resample.cu"
    gradients = "parts_kernel<GradientRows<PackedRow<float> > >"
    distances = "parts_kernel<DifferenceRows<float, true> >"
    yield Work("norm, l2", "grad_norm_max.cu", gradients, norm, target=6, rather=l2)
    yield Work("distance, l2", "lp_distances.cu", distances, norm, rather=l2)
    for p, name, mass, write in (("2", "L2", 26, 50), ("1", "L1", 40, 50), ("inf", "LInf", 0, 24)):
        measure, writes = f"measure_kernel<{name}, float>", f"write_kernel<{name}, float>"
        of_mass = ("mass_of_four",) if mass else ()
        if mass:
            yield Work(f"mass, p = {p}", fused, measure, of_mass, target=mass)
        yield Work(f"mass and norm, p = {p}", fused, measure, of_mass + norm, rather=l2)
        yield Work(f"write, p = {p}", fused, writes, (r"STG\.E\.128",), target=write)
        yield Work(f"write, channels_last, p = {p}", fused, writes, (r"STG\.E$",))


WORKS = list(_works())


#: Kernels whose stack has a target.
SMALL_STACK = r"(parts|combine|measure|write|whole)_kernel<.*\bfloat\b"


class Launches(NamedTuple):
    """What the launches of one call do with an element, and the bytes that they must move."""

    name: str
    works: tuple[str, ...]
    bytes: int


CALLS = [
    Launches("norm, l2", ("norm, l2",), 4),
    Launches("distance, l2", ("distance, l2",), 4),
    Launches("sample, p = 2", ("mass, p = 2", "write, p = 2"), 4),
    Launches("sample, p = 1", ("mass, p = 1", "write, p = 1"), 4),
    Launches("sample, p = inf", ("write, p = inf",), 4),
    *(
        Launches(f"norm and sample{form}, p = {p}", (f"mass and norm, p = {p}", write), 8)
        for p in ("2", "1", "inf")
        for form, write in (
            ("", f"write, p = {p}"),
            (", channels_last", f"write, channels_last, p = {p}"),
        )
    ),
]


class Gpu(NamedTuple):
    """A GPU by its datasheet; lanes that a multiprocessor has for each unit."""

    name: str
    architecture: int  # whose instructions it executes
    multiprocessors: int
    clock: float  # boost, Hz
    bandwidth: float  # bytes a second
    lanes: dict[str, int]


# NVIDIA's datasheets of H100 SXM, H200, A100 80GB SXM and GeForce RTX 4090; lanes by the table of
# arithmetic throughput of the CUDA programming guide. All have four schedulers of 32 lanes.
GPUS = [
    Gpu("H100 SXM", 90, 132, 1.98e9, 3.35e12, {"fma": 128, "fp64": 64}),
    Gpu("H200", 90, 132, 1.98e9, 4.8e12, {"fma": 128, "fp64": 64}),
    Gpu("A100 80GB SXM", 80, 108, 1.41e9, 2.039e12, {"fma": 64, "fp64": 32}),
    Gpu("RTX 4090", 80, 128, 2.52e9, 1.008e12, {"fma": 128, "fp64": 2}),
]
LANES = {"issue": 128, "alu": 64, "imad": 64, "xu": 16}


# --- compiling ---


def tool(name: str) -> str:
    """Return where a program of the CUDA toolkit is.

    Raises:
        SystemExit: If it is nowhere.
    """
    places = [
        Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / name,
        Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin" / name,
    ]
    found = next((str(place) for place in places if place.exists()), shutil.which(name))
    if not found:
        sys.exit(
            f"{name} was not found: it is of the CUDA toolkit 13, and nvdisasm also of pip's "
            "nvidia-cuda-nvdisasm"
        )
    return found


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder; one that fails ends the program with its message."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done


def version() -> str:
    """Return nvcc's version."""
    return str(re.findall(r"V([\d.]+)", run([tool("nvcc"), "--version"]).stdout)[0])


class Compiled(NamedTuple):
    """One source for one architecture."""

    source: str
    architecture: int
    log: str  # ptxas's
    code: str  # nvdisasm's


def compiled(source: str, architecture: int) -> Compiled:
    """Compile one source as CMakeLists.txt does, and disassemble it."""
    flags = re.findall(r"LANGUAGE:CUDA>:(-fmad.*)", (ROOT / "CMakeLists.txt").read_text())[0]
    with tempfile.TemporaryDirectory() as folder:
        binary = str(Path(folder) / "a.cubin")
        command = [tool("nvcc"), "-std=c++20", "-O3", "-DNDEBUG", *flags.split(), "-lineinfo"]
        command += ["-Xptxas=-v", f"-arch=sm_{architecture}", "-cubin", source, "-o", binary]
        log = run(command).stderr
        code = run([tool("nvdisasm"), "-c", "-gi", binary]).stdout
    return Compiled(Path(source).name, architecture, log, code)


@functools.cache
def readable(mangled: str) -> str:
    """Return the name of a kernel as the sources have it, with its types.

    Example:
        >>> readable("_ZN6clever4cuda1a13sample_kernelINS_2L2EfEEvNS_15SampleArgumentsE")
        'sample_kernel<L2, float>'
    """
    full = run(["c++filt", mangled]).stdout.strip()
    plain = re.sub(r"(\w+|\(anonymous namespace\))::|\bvoid (?=\w)|_t\b", "", full)
    return plain.split("(")[0]


# --- figures ---


def figure(name: str, case: str, value: float, target: float | None = None) -> Figure:
    """Make one figure, in the form of all results."""
    made: Figure = {"figure": name, "case": case, "target": target}
    if target is not None:
        made["at_most"] = True
    return {**made, "ratio": {"median": round(value, 3)}}


def resources(given: Compiled) -> Iterator[Figure]:
    """Yield what ptxas says of each kernel; what a kernel calls counts as its own."""
    is_checked = given.architecture == CHECKED
    for part in given.log.split("Compiling entry function '")[1:]:
        name = readable(part.split("'")[0])
        case = f"{name}, sm_{given.architecture}"
        stacks = re.findall(r"(\d+) bytes (?:cumulative stack size|stack frame)", part)
        spills = re.findall(r"(\d+) bytes spill", part)
        small = is_checked and re.match(SMALL_STACK, name)
        yield figure("registers", case, int(re.findall(r"Used (\d+) registers", part)[0]))
        yield figure("stack, bytes", case, max(map(int, stacks)), 48 if small else None)
        yield figure("spilled, bytes", case, sum(map(int, spills)), 0 if is_checked else None)


class Counts(NamedTuple):
    """Instructions an element, by class and by unit."""

    classes: dict[str, float]
    units: dict[str, float]


def count(work: Work, code: list[sass.Instruction | str], scopes: sass.Scopes) -> Counts:
    """Count what one kernel does with an element."""

    def has(pattern: str, each: sass.Instruction) -> bool:
        return any(re.search(pattern, name) for name in (each.opcode, *map(scopes.of, each.frames)))

    way = sass.way(sass.blocks(code), functools.partial(has, "|".join((*work.does, work.rather))))
    for pattern in work.does:
        if not any(has(pattern, each) for each in way):
            raise ValueError(f"{work.name}: {pattern} is not on the way")
    return Counts(
        {name: n / work.elements for name, n in sass.counted(way, sass.CLASSES).items()},
        {"issue": len(way) / work.elements}
        | {name: n / work.elements for name, n in sass.busy(way).items()},
    )


def counts(given: list[Compiled]) -> dict[tuple[str, int], Counts]:
    """Count all works in what was compiled, by name and architecture.

    Raises:
        ValueError: If a source has no kernel of the name that a work gives.
    """
    found, scopes = dict[tuple[str, int], Counts](), sass.Scopes()
    for each in given:
        wanted = [work for work in WORKS if work.source == each.source]
        for mangled, code in sass.kernels(each.code.splitlines()) if wanted else ():
            for work in wanted:
                if readable(mangled) == work.kernel:
                    found[work.name, each.architecture] = count(work, code, scopes)
        for work in wanted:
            if (work.name, each.architecture) not in found:
                raise ValueError(f"{work.name}: {each.source} has no {work.kernel}")
    return found


def instructions(found: dict[tuple[str, int], Counts]) -> Iterator[Figure]:
    """Yield instructions an element by class, and all of them."""
    for work in WORKS:
        for architecture in ARCHITECTURES:
            if (work.name, architecture) in found:
                case = f"{work.name}, sm_{architecture}"
                counted = found[work.name, architecture]
                for name, value in sorted(counted.classes.items()):
                    yield figure(name, case, value)
                yield figure(
                    "all",
                    case,
                    counted.units["issue"],
                    work.target if architecture == CHECKED else None,
                )


def roofs(found: dict[tuple[str, int], Counts]) -> Iterator[Figure]:
    """Yield the copy's time over that of each unit; the least of them and 1 is the estimate."""
    for call in CALLS:
        for gpu in GPUS:
            parts = [
                found[work, gpu.architecture]
                for work in call.works
                if (work, gpu.architecture) in found
            ]
            if len(parts) < len(call.works):
                continue
            moved = call.bytes / gpu.bandwidth
            shares = {}
            for unit, lanes in (LANES | gpu.lanes).items():
                busy = sum(part.units[unit] for part in parts)
                rate = gpu.multiprocessors * gpu.clock * lanes
                shares[unit] = moved * rate / busy if busy else float("inf")
            case = f"{call.name}, {gpu.name}"
            for unit, share in shares.items():
                if share < 10:
                    yield figure(unit, case, share)
            yield figure("est.", case, min(1.0, *shares.values()))


def measured(architectures: tuple[int, ...]) -> list[Figure]:
    """Compile everything and return all figures."""
    names = re.findall(r"csrc/kernels/cuda/\w+\.cu", (ROOT / "CMakeLists.txt").read_text())
    jobs = [(source, each) for source in names for each in architectures]
    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS", 2))) as pool:
        given = list(pool.map(lambda job: compiled(*job), jobs))
    found = counts(given)
    return [*instructions(found), *roofs(found), *(f for each in given for f in resources(each))]


def differences(made: list[Figure], committed: list[Figure]) -> list[str]:
    """Return how figures differ from the committed ones, some of which are of others' code."""

    def named(figures: list[Figure]) -> dict[str, float]:
        return {f"{f['figure']}, {f['case']}": f["ratio"]["median"] for f in figures}

    now, then = named(made), named(committed)
    here = f", sm_{CHECKED}"
    names = [*now, *(name for name in then if name.endswith(here) and name not in now)]
    return [
        f"{name}: {then.get(name, 'nothing')} committed, {now.get(name, 'nothing')} now"
        for name in names
        if then.get(name) != now.get(name)
    ]


def missed(figures: list[Figure]) -> list[str]:
    """Return the figures above their targets."""
    return [
        f"{f['figure']}, {f['case']}: {f['ratio']['median']}, target {f['target']}"
        for f in figures
        if f["target"] is not None and f["ratio"]["median"] > f["target"]
    ]


def main() -> int:
    """Write the result, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    figures = measured((CHECKED,) if check else ARCHITECTURES)
    above = missed(figures)
    for name in above:
        print(f"misses its target: {name}")
    if check:
        committed = json.loads(RESULT.read_text())
        if committed["versions"]["nvcc"] != version():
            print(f"not compared: nvcc {version()}; committed: {committed['versions']['nvcc']}")
            return int(bool(above))
        found = differences(figures, committed["figures"])
        print(
            "\n".join(
                [*found, f"{len(figures)} figures, {len(found)} of them other than committed"]
            )
        )
        return int(bool(found or above))
    head = {
        "command": "python tools/sass.py",
        "date": str(date.today()),
        "device": "none: compiled, not run",
        "versions": {"nvcc": version()},
    }
    lines = ",\n  ".join(json.dumps(each) for each in figures)
    RESULT.write_text(json.dumps(head, indent=1)[:-2] + f',\n "figures": [\n  {lines}\n ]\n}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
