"""The CUDA kernels, on a GPU or under the emulator, against the CPU's.

The CPU's kernels are tested against plain references elsewhere. Both halves share their arithmetic,
so that they may differ only by the order of sums, and the comparison can be tight. The mass of a
sample is a sum of integers, which knows no order: for p = 1, 2 and inf the halves agree to the bit.
"""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Backend, needs_emulation
from op_arguments import (
    DTYPES,
    WritesLast,
    boundary_steps,
    dtypes,
    ends,
    laid_out,
    points,
    start,
)
from step_arguments import assigned, flips, seeds
from torch import Tensor

CPU = torch.ops.clever_ext
EXPONENTS = (1.0, 2.0, 3.0, math.inf)
# Fewer elements than a block of draws, a tail, whole fours that are no sixteens, channels that end
# within four elements though all of them do not, and channels of whole fours; the last three are of
# two parts, with and without a tail.
SHAPES = ([1], [5], [20], [3, 7, 5], [16, 3, 3], [3, 16, 16], [4100], [3, 37, 41], [3, 40, 36])


def is_exact(p: float) -> bool:
    """Whether samples of both halves are the same bits: another p takes a power, of libraries."""
    return p in (1.0, 2.0, math.inf)


def layouts(shape: list[int]) -> tuple[str, ...]:
    """Those that points of a shape can have."""
    return ("contiguous", "channels_last")[: 1 + (len(shape) == 3)]


def one_ulp(dtype: torch.dtype) -> float:
    """Of numbers below 2. Draws are float32 in every type: for float64 theirs counts."""
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


@dtypes
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_samples_are_those_of_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    for layout in layouts(shape):
        center = points((1, *shape), dtype, layout)
        expected = laid_out(torch.full((4, *shape), math.nan, dtype=dtype), layout)
        ours = expected.to(cuda_half.device, copy=True)
        arguments = (p, 0.5, 11, 12, 2**32 - 2, -0.25, 0.75)  # the batch number changes on the way
        CPU.sample_lp_ball(expected, center[0], *arguments)
        cuda_half.ops.sample_lp_ball(ours, center[0].to(cuda_half.device), *arguments)
        allowed = 0.0 if is_exact(p) else one_ulp(dtype)
        torch.testing.assert_close(ours.cpu(), expected, rtol=0, atol=allowed)


def strided_grads() -> dict[str, Tensor]:
    """Gradients [2, 3, ...] of every kind of strides, and rows that under- and overflow."""
    base = points((2, 3, 6, 8, 10), seed=1) - 0.5
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
        "long": points((2, 3, 3 * 64 * 64 + 1), seed=2),
        "long, in fours": points((2, 3, 3 * 64 * 64), seed=2),
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
    base = points((2, 3, 6, 8, 10), seed=1)
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


def test_norms_do_not_depend_on_where_numbers_lie(cuda_half: Backend) -> None:
    """Four at a time where they lie at multiples of 16 bytes, else one by one: the same bits."""
    for numel in (64, 4100, 12288):
        for dtype in DTYPES:
            grads = points((2, 3, numel), dtype).to(cuda_half.device)
            apart = torch.zeros(6 * (numel + 1) + 1, dtype=dtype, device=cuda_half.device)
            elsewhere = apart[1:].view(2, 3, numel + 1)[..., :numel].copy_(grads)
            found = torch.zeros(2, len(EXPONENTS), 2, dtype=torch.float64, device=cuda_half.device)
            cuda_half.ops.grad_norm_max(grads, EXPONENTS, found[0])
            cuda_half.ops.grad_norm_max(elsewhere, EXPONENTS, found[1])
            assert torch.equal(found[0], found[1])


def test_points_may_lie_anywhere(cuda_half: Backend) -> None:
    """Points and centers that begin between multiples of 16 bytes are not taken four at a time."""
    for numel in (64, 4160):
        for shift, center_shift in ((0, 1), (1, 0), (1, 1)):
            apart = torch.zeros(2, 4 * numel + 4, device=cuda_half.device)
            out = apart[0, shift : shift + 4 * numel].view(4, numel)
            center = apart[1, center_shift : center_shift + numel].copy_(points((1, numel))[0])
            expected = torch.empty(4, numel)
            arguments = (2.0, 0.5, 11, 12, 0, -0.25, 0.75)
            CPU.sample_lp_ball(expected, center.cpu(), *arguments)
            cuda_half.ops.sample_lp_ball(out, center, *arguments)
            assert torch.equal(out.cpu(), expected)
            index = torch.zeros(4, dtype=torch.int64)
            found = torch.zeros(2, 4, dtype=torch.float64)
            CPU.lp_distances(expected, center.cpu()[None], index, 2.0, found[0])
            ours = [t.to(cuda_half.device) for t in (index, found[1])]
            cuda_half.ops.lp_distances(out, center[None], ours[0], 2.0, ours[1])
            torch.testing.assert_close(ours[1].cpu(), found[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(64,), (4160,)], ids=str)
def test_gradients_of_another_type_than_the_points(
    cuda_half: Backend, shape: tuple[int, ...]
) -> None:
    for dtype in DTYPES:
        expected = start(4, shape, torch.float32)
        ours = expected.copy(cuda_half.device)
        for _ in range(3):
            expected.run(CPU)
            ours.run(cuda_half.ops)
            torch.testing.assert_close(ours.maxima.cpu(), expected.maxima, rtol=1e-6, atol=0)
            assert torch.equal(ours.x.cpu(), expected.x)
            expected.grads = torch.cos(3 * expected.x).to(dtype)
            ours.grads = expected.grads.to(cuda_half.device)


def test_norms_go_to_their_slots(cuda_half: Backend) -> None:
    grads = points((2, 3, 100))
    slots = torch.tensor([[3, -1, 0], [0, 3, 3]])
    expected = torch.full((2, 4), 1e-3, dtype=torch.float64)
    ours = expected.to(cuda_half.device, copy=True)
    CPU.grad_norm_max(grads, [2.0, math.inf], expected, slots)
    cuda_half.ops.grad_norm_max(
        grads.to(cuda_half.device), [2.0, math.inf], ours, slots.to(cuda_half.device)
    )
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-6, atol=0)
    assert expected[0, 1] == 1e-3, "a slot that no row names is left alone"


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@dtypes
@pytest.mark.parametrize(("p", "q"), [(2.0, 2.0), (math.inf, 1.0), (1.0, math.inf), (3.0, 1.5)])
@pytest.mark.parametrize("shape", [(3, 7, 6), (3, 4, 8), (3, 37, 41), (3, 40, 36)], ids=str)
def test_the_fused_steps_are_those_of_the_cpu(
    cuda_half: Backend, shape: tuple[int, ...], p: float, q: float, dtype: torch.dtype, layout: str
) -> None:
    expected = start(4, shape, dtype, layout, p=p, q=q, low=0.0, high=1.0)
    ours = expected.copy(cuda_half.device)
    for _ in range(6):  # 15 samples in 4 rows: the fourth step writes 3 rows, the fifth none
        expected.run(CPU)
        ours.run(cuda_half.ops)
        for name in ("x", "maxima", "cursor", "slots"):
            our, cpu = getattr(ours, name).cpu(), getattr(expected, name)
            allowed = one_ulp(dtype) if name == "x" and not is_exact(p) else 0.0
            relative = 1e-6 if name == "maxima" else 0.0
            torch.testing.assert_close(our, cpu, rtol=relative, atol=allowed)
        expected.grads = torch.cos(3 * expected.x)
        ours.grads = expected.grads.to(cuda_half.device)
    assert expected.slots.tolist() == [-1] * 4


# Row 1 is skipped; the others step, are moved by noise, or both, into balls that hold them or not.
MOVES = [[0, 1, 0, 7, 8], [-1, 9, 9, 9, 9], [1, -1, 1, 7, 2**32 + 9], [2, 0, 1, 3, 2**63 - 1],
         [2, 1, 0, 3, 4]]  # fmt: skip
SCALES = [[0.5, 0, 0.3], [1, 1, 1], [0, 0.5, 0.2], [-0.1, 0.1, 99], [0, 0, 0.05]]
SHARES = [0.5, 1.0, 0.3, 0.0, 0.0]


@dtypes
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moves_are_those_of_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    for layout in layouts(shape):
        bases, directions, centers = (
            points((3, *shape), dtype, layout, seed) for seed in (1, 2, 3)
        )
        expected = laid_out(torch.full((5, *shape), math.nan, dtype=dtype), layout)
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


@dtypes
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_to_boundaries_as_on_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    step = boundary_steps(shape, dtype, layouts(shape)[-1], p=p, low=-1.1, high=1.2)
    expected = step.out.clone()
    CPU.step_to_boundary(expected, *step.arguments()[1:])
    ours = step.copied(cuda_half.device)
    cuda_half.ops.step_to_boundary(*ours)
    torch.testing.assert_close(ours[0].cpu(), expected, rtol=0, atol=one_ulp(dtype))


@pytest.mark.parametrize(("looks", "rows"), [(0, 4), (40, 3), (1100, 600)])
def test_ends_are_those_of_the_cpu(cuda_half: Backend, looks: int, rows: int) -> None:
    for steps in (None, 5):  # five different numbers: many looks give the same ends
        some = ends(looks, rows, steps=steps)
        some.margin[::7], some.norm[1::11], some.distance[2::13] = math.nan, -math.nan, math.inf
        expected, ours = some.copied("cpu"), some.copied(cuda_half.device)
        CPU.bracket_ends(*expected)
        cuda_half.ops.bracket_ends(*ours)
        for our, cpu in zip(ours, expected, strict=True):
            torch.testing.assert_close(our.cpu(), cpu, rtol=0, atol=0, equal_nan=True)


def written_by_both(cuda_half: Backend, some: WritesLast) -> list[tuple[Tensor, Tensor]]:
    """What an op of the CUDA half writes, beside what the CPU's does."""
    cpu = some.copied("cpu")
    getattr(CPU, some.OP)(*cpu)
    return list(zip(some.run(cuda_half), cpu[-some.WRITTEN :], strict=True))


@pytest.mark.parametrize(("rows", "n_targets"), [(1, 1), (700, 9), (3, 999), (600, 0)])
def test_assignments_are_those_of_the_cpu(cuda_half: Backend, rows: int, n_targets: int) -> None:
    for ours, expected in written_by_both(cuda_half, assigned(rows, n_targets)):
        assert torch.equal(ours, expected)


@dtypes
@pytest.mark.parametrize("sizes", [(1, 2, 1, 0), (64, 10, 1, 9), (9, 1000, 9, 40), (3, 70, 0, 3)])
def test_seeds_are_those_of_the_cpu(
    cuda_half: Backend, sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    for ours, expected in written_by_both(cuda_half, seeds(*sizes, dtype=dtype)):
        assert torch.equal(ours, expected)


@dtypes
@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flips_are_those_of_the_cpu(
    cuda_half: Backend, shape: list[int], p: float, dtype: torch.dtype
) -> None:
    for n_targets, layout in zip((2, 70), layouts(shape)[::-1], strict=False):
        some = flips(5, shape, n_targets, p, dtype, layout, margins_dtype=dtype)
        some.x[0] = some.centers[some.row_image[0]]
        some.x[3, 0] = math.nan
        for ours, expected in written_by_both(cuda_half, some):
            torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0, equal_nan=True)


def test_runs_repeat_to_the_bit(cuda_half: Backend) -> None:
    """Blocks and threads come in another order each time."""
    grads = points((1, 8, 5000)).to(cuda_half.device)
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
    x = points((3, 9))
    rows = torch.tensor([[0, 0, 0, 0, 0]])
    rows[0, column] = value
    scales = torch.ones(1, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.move_in_lp_ball(x[:1].clone(), x, x, x, rows, scales, 2.0, 1.0, 0, 0.0, 1.0)
    index, distances = torch.tensor([3]), torch.zeros(1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.lp_distances(x[:1], x, index, 2.0, distances)
    scales = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.step_to_boundary(x[:1], x[:1], x[:1], x, index, scales, 2.0, 0.0, 1.0)


@needs_emulation
@pytest.mark.parametrize("cuda_half", ["emulated"], indirect=True)
@pytest.mark.parametrize("row", [2, -1, 2**62])
def test_a_missing_row_stops_the_kernel(cuda_half: Backend, row: int) -> None:
    some = ends(3, 2)
    some.row[1] = row
    with pytest.raises(RuntimeError, match="__trap"):
        cuda_half.ops.bracket_ends(*some.arguments())


@needs_emulation
@pytest.mark.parametrize("cuda_half", ["emulated"], indirect=True)
@pytest.mark.parametrize("number", [7, 2**32, 2**62])
def test_a_missing_number_stops_the_kernel(cuda_half: Backend, number: int) -> None:
    of_slot, of_image = assigned(3, 2, n_slots=7), assigned(3, 2, n_slots=7)
    of_slot.slots[1] = number
    of_image.slots[1], of_image.center_of_slot[2] = 2, number
    of_class, of_target, of_margin = seeds(3, 7, 1), seeds(3, 7, 1), seeds(3, 7, 0, 1)
    of_class.classes[2], of_target.targets[2], of_margin.targets[2] = number, -number, number
    of_center = flips(3, (5,), 1)
    of_center.slots[:], of_center.margins[:], of_center.row_image[1] = 0, -1.0, number
    for some in (of_slot, of_image, of_class, of_target, of_margin, of_center):
        with pytest.raises(RuntimeError, match="__trap"):
            some.run(cuda_half)
