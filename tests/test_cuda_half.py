"""The CUDA kernels, on a GPU or under the emulator, against the CPU's; and the emulator itself.

The CPU's kernels are tested against plain references elsewhere. Both halves share their arithmetic,
so that they may differ only by the order of sums, and the comparison can be tight.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import EMULATION_LIBRARY, Backend
from torch import Tensor

ROOT = Path(__file__).parents[1]
CPU = torch.ops.clever_ext
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EXPONENTS = (1.0, 2.0, 3.0, math.inf)
# Fewer elements than a block of draws, a tail, an odd number of channels, more than one per thread.
SHAPES = ([1], [5], [3, 7, 5], [3, 32, 32])


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def unwritten(*shape: int, dtype: torch.dtype) -> Tensor:
    """A buffer in which what a kernel leaves out shows."""
    return torch.full(shape, math.nan, dtype=dtype)


def in_format(points: Tensor, channels_last: bool) -> Tensor:
    return points.contiguous(memory_format=torch.channels_last) if channels_last else points


def one_ulp(dtype: torch.dtype) -> float:
    """Of numbers below 2. Draws are float32 in every type: for float64 theirs counts."""
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_samples_are_those_of_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    for channels_last in (False, True)[: 1 + (len(shape) == 3)]:
        center = in_format(uniform(1, *shape), channels_last).to(dtype)
        expected = in_format(unwritten(4, *shape, dtype=dtype), channels_last)
        ours = expected.to(cuda_half.device, copy=True)
        arguments = (p, 0.5, 11, 12, 2**32 - 2, -0.25, 0.75)  # the batch number changes on the way
        CPU.sample_lp_ball(expected, center[0], *arguments)
        cuda_half.ops.sample_lp_ball(ours, center[0].to(cuda_half.device), *arguments)
        # The order of the sum moves the scale by less than an ulp; without a sum nothing moves.
        allowed = 0.0 if p == math.inf else one_ulp(dtype)
        torch.testing.assert_close(ours.cpu(), expected, rtol=0, atol=allowed)


def strided_grads() -> dict[str, Tensor]:
    """Gradients [2, 3, ...] of every kind of strides, and rows that under- and overflow."""
    base = uniform(2, 3, 6, 8, 10, seed=1) - 0.5
    flat = base.reshape(2, 3, -1).clone()
    extreme = flat.clone()
    extreme[0, 0, 7], extreme[0, 1, 479], extreme[1, 0, 0] = math.nan, math.inf, -math.inf
    return {
        "one element": base[..., :1, :1, :1],
        "contiguous": base,
        "channels last": base.movedim(-1, 2).contiguous().movedim(2, -1),
        "every second": base[..., ::2, 1::2, ::3],
        "expanded": base[:, :1].expand_as(base),
        "groups within": base.transpose(0, 1).contiguous().transpose(0, 1),
        "long": uniform(2, 3, 3 * 64 * 64 + 1, seed=2),
        "not finite": extreme,
        "zero": torch.zeros_like(flat),
        "huge": flat * 1e30,
        "tiny": flat * 1e-30,
    }


@pytest.mark.parametrize("kind", strided_grads())
def test_norms_are_those_of_the_cpu(cuda_half: Backend, kind: str) -> None:
    # Two that share the general way, and so the memory that they are summed in.
    for q in ((1.0, 2.0, math.inf), (3.0, 2.5, 3.0, 2.0)):
        for dtype in DTYPES:
            grads = strided_grads()[kind].to(dtype)
            expected = torch.zeros(len(q), 2, dtype=torch.float64)
            CPU.grad_norm_max(grads, q, expected)
            ours = torch.zeros_like(expected, device=cuda_half.device)
            cuda_half.ops.grad_norm_max(grads.to(cuda_half.device), q, ours)
            torch.testing.assert_close(ours.cpu(), expected, rtol=1e-6, atol=0, equal_nan=True)


def test_strides_reach_the_kernel(cuda_half: Backend) -> None:
    """A GPU's copy of a sliced tensor is contiguous: here the slice is taken there."""
    base = uniform(2, 3, 6, 8, 10, seed=1)
    there = base.to(cuda_half.device)
    for view, our_view in (
        (base[..., ::2, 1::2, ::3], there[..., ::2, 1::2, ::3]),
        (base.transpose(2, 4)[:, 1:], there.transpose(2, 4)[:, 1:]),
    ):
        expected = torch.zeros(1, 2, dtype=torch.float64)
        CPU.grad_norm_max(view, [2.0], expected)
        ours = torch.zeros_like(expected, device=cuda_half.device)
        cuda_half.ops.grad_norm_max(our_view, [2.0], ours)
        torch.testing.assert_close(ours.cpu(), expected, rtol=1e-6, atol=0)


def test_norms_go_to_their_slots(cuda_half: Backend) -> None:
    grads = uniform(2, 3, 100)
    slots = torch.tensor([[3, -1, 0], [0, 3, 3]])
    expected = torch.full((2, 4), 1e-3, dtype=torch.float64)
    ours = expected.to(cuda_half.device, copy=True)
    CPU.grad_norm_max(grads, [2.0, math.inf], expected, slots)
    cuda_half.ops.grad_norm_max(
        grads.to(cuda_half.device), [2.0, math.inf], ours, slots.to(cuda_half.device)
    )
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-6, atol=0)
    assert expected[0, 1] == 1e-3, "a slot that no row names is left alone"


@dataclass
class Loop:
    """The fused op's buffers on one backend."""

    op: Callable[..., None]
    x: Tensor
    maxima: Tensor
    cursor: Tensor
    slots: Tensor
    centers: Tensor
    jobs: Tensor
    radii: Tensor

    def step(self, grads: Tensor | None, p: float, q: float) -> None:
        self.op(
            grads, self.x, self.maxima, self.cursor, self.slots, self.centers, self.jobs,
            self.radii, 3, p, q, 5, 0.0, 1.0,
        )  # fmt: skip

    def state(self) -> list[Tensor]:
        return [t.cpu() for t in (self.x, self.maxima, self.cursor, self.slots)]


def make_loop(
    op: Callable[..., None], device: torch.device, dtype: torch.dtype, channels_last: bool
) -> Loop:
    rows, shape = 4, (3, 7, 6)
    # Three samples for each of five jobs: jobs change within a batch, and the last batch is short.
    jobs = torch.tensor([[0, 7, 0, 0], [1, 8, 0, 1], [1, 8, 1, 2], [0, 7, 1, 3], [0, 9, 0, 0]])
    return Loop(
        op=op,
        x=in_format(unwritten(rows, *shape, dtype=dtype), channels_last).to(device),
        maxima=torch.zeros(4, dtype=torch.float64, device=device),
        cursor=torch.arange(rows, device=device),
        slots=torch.full((rows,), -1, device=device),
        centers=in_format(uniform(2, *shape, seed=3), channels_last).to(dtype).to(device),
        jobs=jobs.to(device),
        radii=torch.linspace(0.1, 0.5, 5, dtype=torch.float64).to(device),
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("p", "q"), [(2.0, 2.0), (math.inf, 1.0), (1.0, math.inf), (3.0, 1.5)])
def test_the_fused_steps_are_those_of_the_cpu(
    cuda_half: Backend, p: float, q: float, dtype: torch.dtype, channels_last: bool
) -> None:
    expected = make_loop(CPU.reduce_and_resample, torch.device("cpu"), dtype, channels_last)
    ours = make_loop(cuda_half.ops.reduce_and_resample, cuda_half.device, dtype, channels_last)
    grads = None
    for _ in range(6):  # 15 samples in 4 rows: the fourth step writes 3 rows, the fifth none
        expected.step(grads, p, q)
        ours.step(None if grads is None else grads.to(cuda_half.device), p, q)
        for our, cpu in zip(ours.state(), expected.state(), strict=True):
            # maxima: 1e-6 of at most 30; x: see the samples; cursor and slots: exactly.
            allowed = 1e-6 if cpu.dtype == torch.float64 else one_ulp(dtype)
            torch.testing.assert_close(our, cpu, rtol=1e-6, atol=allowed)
        grads = torch.cos(3 * expected.x)
    assert expected.slots.tolist() == [-1] * 4


# Row 1 is skipped; the others step, are moved by noise, or both, into balls that hold them or not.
MOVES = [[0, 1, 0, 7, 8], [-1, 9, 9, 9, 9], [1, -1, 1, 7, 2**32 + 9], [2, 0, 1, 3, 2**63 - 1],
         [2, 1, 0, 3, 4]]  # fmt: skip
SCALES = [[0.5, 0, 0.3], [1, 1, 1], [0, 0.5, 0.2], [-0.1, 0.1, 99], [0, 0, 0.05]]
SHARES = [0.5, 1.0, 0.3, 0.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moves_are_those_of_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    for channels_last in (False, True)[: 1 + (len(shape) == 3)]:
        bases, directions, centers = (
            in_format(uniform(3, *shape, seed=seed), channels_last).to(dtype) for seed in (1, 2, 3)
        )
        expected = in_format(unwritten(5, *shape, dtype=dtype), channels_last)
        ours = expected.to(cuda_half.device, copy=True)
        unit = float(torch.linalg.vector_norm((bases - centers)[0].double(), p))
        scales = unit * torch.tensor(SCALES, dtype=torch.float64)
        scales = torch.cat([scales, torch.tensor(SHARES).double()[:, None]], dim=1)
        tensors = (bases, directions - 0.5, centers, torch.tensor(MOVES), scales)
        arguments = (p, 1.5, 11, -0.25, 0.75)
        CPU.move_in_lp_ball(expected, *tensors, *arguments)
        there = (t.to(cuda_half.device) for t in tensors)
        cuda_half.ops.move_in_lp_ball(ours, *there, *arguments)
        # The order of sums moves every factor by less than an ulp: of three, one after another.
        torch.testing.assert_close(
            ours.cpu(), expected, rtol=0, atol=3 * one_ulp(dtype), equal_nan=True
        )
        distances = torch.zeros(2, 5, dtype=torch.float64)
        index = torch.tensor([0, -1, 1, 2, 0])
        written = expected.nan_to_num(0.0)
        CPU.lp_distances(written, centers, index, p, distances[0])
        on_device = [t.to(cuda_half.device) for t in (written, centers, index, distances[1])]
        cuda_half.ops.lp_distances(*on_device[:3], p, on_device[3])
        torch.testing.assert_close(on_device[3].cpu(), distances[0], rtol=1e-6, atol=0)


def test_runs_repeat_to_the_bit(cuda_half: Backend) -> None:
    """Blocks and threads come in another order each time."""
    grads = uniform(1, 8, 5000).to(cuda_half.device)
    runs = []
    for _ in range(3):
        maxima = torch.zeros(4, 1, dtype=torch.float64, device=cuda_half.device)
        cuda_half.ops.grad_norm_max(grads, EXPONENTS, maxima)
        out = torch.zeros(2, 3, 33, 5, device=cuda_half.device)
        center = torch.zeros(3, 33, 5, device=cuda_half.device)
        cuda_half.ops.sample_lp_ball(out, center, 2.0, 1.0, 1, 2, 3, -math.inf, math.inf)
        runs.append((maxima, out))
    for maxima, out in runs[1:]:
        assert torch.equal(maxima, runs[0][0])
        assert torch.equal(out, runs[0][1])


def test_bad_arguments_are_refused(cuda_half: Backend) -> None:
    out, center = (torch.zeros(*shape, device=cuda_half.device) for shape in ([2, 5], [4]))
    with pytest.raises(RuntimeError, match=r"out of shape \[2, 5\] does not hold points"):
        cuda_half.ops.sample_lp_ball(out, center, 2.0, 1.0, 1, 2, 3, 0.0, 1.0)


needs_emulation = pytest.mark.skipif(
    EMULATION_LIBRARY is None, reason="CLEVER_EMULATION_LIBRARY is not set: see make test-cuda"
)


# On a GPU a trap ends the process's CUDA context, and all tests after it.
@needs_emulation
@pytest.mark.parametrize("cuda_half", ["emulated"], indirect=True)
def test_a_missing_slot_stops_the_kernel_and_no_later_one(cuda_half: Backend) -> None:
    maxima = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.grad_norm_max(torch.ones(1, 1, 9), [2.0], maxima, torch.tensor([[2]]))
    cuda_half.ops.grad_norm_max(torch.ones(1, 1, 9), [2.0], maxima, torch.tensor([[1]]))
    assert maxima.tolist() == [[0.0, 3.0]]


@needs_emulation
@pytest.mark.parametrize("cuda_half", ["emulated"], indirect=True)
@pytest.mark.parametrize(("column", "value"), [(0, 3), (0, -2), (1, 3), (2, -1), (2, 3)])
def test_a_missing_point_stops_the_kernel(cuda_half: Backend, column: int, value: int) -> None:
    x = uniform(3, 9)
    rows = torch.tensor([[0, 0, 0, 0, 0]])
    rows[0, column] = value
    scales = torch.ones(1, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.move_in_lp_ball(x[:1].clone(), x, x, x, rows, scales, 2.0, 1.0, 0, 0.0, 1.0)
    index, distances = torch.tensor([3]), torch.zeros(1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.lp_distances(x[:1], x, index, 2.0, distances)


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
        "partial[threadIdx.x / kWarp] = value;\n  __syncthreads();",
        "partial[threadIdx.x / kWarp] = value;",
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
        "  if (lane != 1) __syncthreads();\n  double total",
        "a read of shared memory that nothing wrote|a race|wait at different barriers",
    ),
    "a cursor that is read after it moved": Fault(
        "reduce_and_resample.cu",
        "  __syncthreads();  // all have read what thread 0 is about to change\n",
        "",
        "Tensor-likes are not close",
    ),
    "an element too many": Fault(
        "ball.cuh",
        "if (element >= grid.numel) break;",
        "if (element > grid.numel) break;",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    "an element too few": Fault(
        "ball.cuh",
        "if (element >= grid.numel) break;",
        "if (element >= grid.numel - 1) break;",
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
        few = ["-m", "not cuda", "-k", "(of_the_cpu and float32) or slots or strides"]
        # Nothing captured: what pytest holds back is lost when AddressSanitizer ends the process.
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "--capture=no", *few, __file__],
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
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="is such a run itself")
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
