"""The ops on every backend: norms and the fused step against plain torch, and every check."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from clever_ext import ops, reference
from clever_ext.errors import CleverError
from clever_ext.maxima import grad_norm_max

INF, NAN = math.inf, math.nan
EXPONENTS = [1.0, 1.5, 2.0, 3.0, 7.0, INF]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

# Up to 64 float32 terms are added one to another before float64 takes over: at most 64 half ulps. A
# power in float32 is exp(q log x), whose exponent is rounded to 2^-24 of itself: the q-th root
# leaves |log x| of these, at most 60 for what is not rescaled. float64 has as many terms, and its
# powers are the machine's library's.
RTOL = {torch.float64: 130 * 2.0**-53}
RTOL_FLOAT32 = 130 * 2.0**-24

exponents = pytest.mark.parametrize("q", EXPONENTS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def examples(many: int):
    """Hypothesis, on the same examples each time."""
    return settings(
        max_examples=many,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def few(backend, many: int, emulated: int) -> int:
    """How many cases: the emulator runs 512 threads, one after another, for each row."""
    return emulated if backend.name == "emulated" else many


def rtol(dtype: torch.dtype) -> float:
    return RTOL.get(dtype, RTOL_FLOAT32)


def randn(shape: Sequence[int], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def norm_max(
    backend, grads: Tensor, q: Sequence[float], maxima: Tensor | None = None, slots=None
) -> Tensor:
    """Call the op; without maxima to fold into, into zeros."""
    if maxima is None:
        maxima = torch.zeros(len(q), len(grads), dtype=torch.float64, device=grads.device)
    backend.ops.grad_norm_max(grads, list(q), maxima, slots)
    return maxima


def exact_norms(rows: Tensor, q: float) -> Tensor:
    """q-norms over all but the first two dimensions, rounded once.

    torch's own sums of thousands of equal numbers are off by more than ours may be.
    """
    sizes = rows.double().flatten(2).abs().cpu().numpy().astype(np.longdouble)
    norms = sizes.max(axis=2) if q == math.inf else (sizes**q).sum(axis=2) ** (1 / np.longdouble(q))
    return torch.from_numpy(norms.astype(np.float64)).to(rows.device)


# --- grad_norm_max -----------------------------------------------------------------------------


@st.composite
def layouts(draw):
    """A function that makes gradients [G, B, *shape] of some dtype, size and strides."""
    dims = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(1, 6), min_size=dims, max_size=dims))
    if draw(st.booleans()):
        shape = [draw(st.integers(1, 5000))]
    shape = [draw(st.integers(1, 3)), draw(st.integers(1, 3)), *shape]
    dtype = draw(st.sampled_from(DTYPES))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2])) for _ in shape]
    starts = [draw(st.integers(0, 2)) for _ in shape]
    expanded = [draw(st.integers(0, 5)) == 0 for _ in shape]
    size = draw(st.sampled_from([1e-2, 1.0, 1e2]))
    seed = draw(st.integers(0, 99))

    def make(device) -> Tensor:
        stored = [1 if expanded[dim] else starts[dim] + shape[dim] * steps[dim] for dim in order]
        base = (randn(stored, torch.float64, seed) * size).to(dtype).to(device)
        base = base.permute([order.index(dim) for dim in range(len(shape))])
        for dim, (start, step) in enumerate(zip(starts, steps, strict=True)):
            if not expanded[dim]:
                base = base.narrow(dim, start, shape[dim] * step)
                base = base[(slice(None),) * dim + (slice(None, None, step),)]
        return base.expand(shape)

    return make


@examples(150)
@given(
    make=layouts(),
    q=st.lists(st.sampled_from(EXPONENTS) | st.floats(1, 20), min_size=1, max_size=ops.MAX_NORMS),
    turn=st.integers(0, 7),
)
def test_norms_of_any_layout(backend, make, q, turn):
    if turn % few(backend, 1, 8):
        return
    grads = make(backend.device)
    before = grads.clone()
    got = norm_max(backend, grads, q)
    for n, exponent in enumerate(q):
        expected = exact_norms(grads, exponent).amax(1)
        torch.testing.assert_close(got[n], expected, rtol=rtol(grads.dtype), atol=0)
        # Several norms share one read, and nothing else.
        assert torch.equal(got[n], norm_max(backend, grads, [exponent])[0])
    assert torch.equal(grads, before)


@dtypes
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "padded"])
def test_rows_of_the_size_of_a_photograph(backend, dtype, layout):
    grads = randn((2, few(backend, 3, 1), 3, 223, 225), dtype).to(backend.device)
    if layout == "channels_last":
        grads = grads.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    elif layout == "transposed":
        grads = grads.transpose(3, 4)
    elif layout == "padded":
        grads = torch.nn.functional.pad(grads, (3, 2))[..., 3:-2]
    # In float64 the order of 150,525 additions counts, in torch's sum as in ours: no more than one
    # half ulp for each of them.
    allowed = max(rtol(dtype), 150525 * 2.0**-53)
    for some in (EXPONENTS[:3], EXPONENTS[3:]):
        got = norm_max(backend, grads, some)
        for n, q in enumerate(some):
            expected = exact_norms(grads, q).amax(1)
            torch.testing.assert_close(got[n], expected, rtol=allowed, atol=0)


@exponents
@pytest.mark.parametrize("numel", [1, 2, 31, 32, 33, 511, 512, 513, 2047, 2048, 2049, 4097])
def test_no_element_is_left_out_or_counted_twice(backend, q, numel):
    # Of ones the sum is exactly the number of elements, and one larger element is found anywhere.
    ones = torch.ones(1, 1, numel, device=backend.device)
    expected = 1.0 if q == INF else numel ** (1 / q)
    assert norm_max(backend, ones, [q]).item() == pytest.approx(expected, rel=1e-6)
    places = sorted({0, numel // 2, numel - 1})
    spikes = torch.ones(len(places), 1, numel, device=backend.device)
    spikes[range(len(places)), 0, places] = 1000.0
    expected = 1000.0 if q == INF else (numel - 1 + 1000.0**q) ** (1 / q)
    for spike in norm_max(backend, spikes, [q])[0].tolist():
        assert spike == pytest.approx(expected, rel=RTOL_FLOAT32)


EXTREMES = [
    *[(torch.float64, value) for value in (1e300, 1e30, 1e-30, 1e-300, 1e-310, 5e-324, 1.7e308)],
    *[(torch.float32, value) for value in (1e30, 3.4e38, 1e-30, 1e-38, 1e-40, 1e-45)],
    *[(torch.bfloat16, value) for value in (3.3e38, 1e30, 1e-30, 1e-38, 1e-40)],
    *[(torch.float16, value) for value in (65504.0, 1e-4, 6e-5, 6e-8)],
]


@exponents
@pytest.mark.parametrize(("dtype", "value"), EXTREMES, ids=str)
def test_huge_and_tiny_values(backend, q, dtype, value):
    # Alone, beside ordinary numbers, and beside numbers that vanish next to them.
    held = torch.tensor(value, dtype=dtype).double().item()
    assert held != 0
    others_of_each_kind = [[held / 4] * 70, [], [held] * 3, [0.0] * 40, [1.0], [held * 1e-20]]
    for others in others_of_each_kind[: few(backend, 6, 2)]:
        row = torch.tensor([*others, value], dtype=torch.float64).to(dtype)
        exact = row.double()
        largest = exact.max()
        expected = largest * torch.linalg.vector_norm(exact / largest, q)
        grads = row.to(backend.device)[None, None]
        got = norm_max(backend, grads, [q])[0, 0].cpu()
        # The smallest float64 numbers have few bits: half a unit of the last place there.
        torch.testing.assert_close(got, expected, rtol=rtol(dtype), atol=2.5e-324)


@exponents
@dtypes
def test_zeros(backend, q, dtype):
    grads = torch.zeros(2, 3, 17, dtype=dtype, device=backend.device)
    grads[:, 1] = -0.0
    got = norm_max(backend, grads, [q])
    assert (got == 0).all()
    assert not got.signbit().any()


@exponents
@dtypes
def test_nan_and_infinity_are_kept(backend, q, dtype):
    numel = 2 * 512 + 5
    places = [0, 1, 31, 511, 512, numel - 2, numel - 1]
    places = places[:: few(backend, 1, 5)]
    for strided in (False, True):
        batch = 3
        plain = randn((1, batch, numel), dtype).to(backend.device)
        for place in places:
            for row in range(batch)[-few(backend, 3, 1) :]:
                grads = plain.clone()
                grads = grads.transpose(1, 2).contiguous().transpose(1, 2) if strided else grads
                grads[0, row, place] = -INF
                assert norm_max(backend, grads, [q]).item() == INF
                grads[0, row, (place + 7) % numel] = NAN
                assert math.isnan(norm_max(backend, grads, [q]).item())
                # In another row than the infinity's.
                grads[0, row, (place + 7) % numel] = 0
                grads[0, (row + 1) % batch, place] = -NAN
                assert math.isnan(norm_max(backend, grads, [q]).item())


def test_nan_and_infinity_in_one_of_several_groups_and_norms(backend):
    grads = randn((3, 2, 9)).to(backend.device)
    grads[1, 1, 4] = NAN
    grads[2, 0, 8] = INF
    got = norm_max(backend, grads, [1.0, 2.0, 2.5, INF])
    assert got[:, 0].isfinite().all()
    assert got[:, 1].isnan().all()
    assert (got[:, 2] == INF).all()


@exponents
def test_maxima_run_on(backend, q):
    grads = randn((4, 3, 21)).to(backend.device)
    found = norm_max(backend, grads, [q])
    start = torch.tensor([[0.0, 1e9, NAN, INF]], dtype=torch.float64, device=backend.device)
    maxima = start.clone()
    norm_max(backend, grads, [q], maxima)
    assert torch.equal(maxima[0, :2], torch.maximum(start, found)[0, :2])
    assert math.isnan(maxima[0, 2])
    assert maxima[0, 3] == INF
    # In parts, in whatever order, it is the maximum of the whole.
    parts = torch.zeros_like(found)
    for row in (2, 0, 1):
        norm_max(backend, grads[:, row : row + 1], [q], parts)
    assert torch.equal(parts, found)


def test_slots(backend):
    grads = randn((2, 5, 13)).to(backend.device)
    q = [2.0, INF, 1.3]
    slots = torch.tensor([[3, -1, 0, 3, 3], [0, 5, -1, -7, 3]], device=backend.device)
    maxima = torch.full((3, 7), 0.25, dtype=torch.float64, device=backend.device)
    expected = maxima.cpu().clone()
    reference.grad_norm_max(grads.cpu(), q, expected, slots.cpu())
    norm_max(backend, grads, q, maxima, slots)
    torch.testing.assert_close(maxima.cpu(), expected, rtol=RTOL_FLOAT32, atol=0)
    assert (maxima[:, [1, 2, 4, 6]] == 0.25).all()
    # Rows without a slot are not even looked at.
    grads[0, 1], grads[1, 2] = NAN, INF
    again = torch.full_like(maxima, 0.25)
    assert torch.equal(norm_max(backend, grads, q, again, slots), maxima)


def test_the_same_bits_on_each_run_and_with_any_number_of_threads(backend):
    grads = randn((3, few(backend, 40, 2), 3, 37, 41)).to(backend.device)
    runs, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 1, 3):
            torch.set_num_threads(count)
            runs.append(norm_max(backend, grads, [1.0, 2.0, 3.3, INF]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(runs[0], other) for other in runs[1:])


@exponents
def test_norms_of_a_memory_format_agree(backend, q):
    # Other orders of the sum: the same number to rounding, not to the bit.
    grads = randn((1, 2, 3, 31, 17)).to(backend.device)
    last = grads.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    a, b = norm_max(backend, grads, [q]), norm_max(backend, last, [q])
    torch.testing.assert_close(a, b, rtol=RTOL_FLOAT32, atol=0)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (0, 0, 5), (2, 3, 0), (2, 3, 4, 0)])
def test_empty_gradients(backend, shape):
    maxima = torch.full((1, shape[0]), 0.5, dtype=torch.float64, device=backend.device)
    norm_max(backend, torch.zeros(shape, device=backend.device), [2.0], maxima)
    assert (maxima == 0.5).all()


def test_public_function_is_the_op():
    grads = randn((3, 4, 2, 5))
    for q in EXPONENTS:
        cpu = torch.ops.clever_ext
        maxima = torch.zeros(1, 3, dtype=torch.float64)
        cpu.grad_norm_max(grads, [q], maxima)
        assert torch.equal(grad_norm_max(grads, q), maxima[0])
    assert torch.equal(grad_norm_max(grads), grad_norm_max(grads, 2))


# --- reduce_and_resample -----------------------------------------------------------------------


@dataclass
class Step:
    """The arguments of reduce_and_resample, in order."""

    grads: Tensor | None
    x: Tensor
    maxima: Tensor
    cursor: Tensor
    slots: Tensor
    centers: Tensor
    jobs: Tensor
    radii: Tensor
    batch_samples: int
    p: float = 2.0
    q: float = 2.0
    seed: int = 5
    low: float = -INF
    high: float = INF

    def arguments(self) -> list:
        return [getattr(self, field.name) for field in fields(self)]

    def run(self, namespace) -> None:
        namespace.reduce_and_resample(*self.arguments())

    def copy(self, device) -> "Step":
        """A copy on a device, strides kept."""
        values = [
            v.detach().to(device).clone() if isinstance(v, Tensor) else v for v in self.arguments()
        ]
        return Step(*values)


def points(shape: Sequence[int], dtype: torch.dtype, layout: str, seed: int = 0) -> Tensor:
    out = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return out.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else out


def start(
    batch: int = 5,
    shape: Sequence[int] = (3, 5, 7),
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
    batch_samples: int = 3,
    **changes,
) -> Step:
    """A run over jobs that mix centers, image ids, batches, slots and radii; x holds none yet."""
    jobs = [[1, 70, 0, 4], [0, -8, 3, 1], [1, 70, 1, 0], [2, 2**62, 2**31 - 1, 5], [0, -8, 4, 1]]
    return Step(
        grads=None,
        x=points((batch, *shape), dtype, layout, 1),
        maxima=torch.zeros(6, dtype=torch.float64),
        cursor=torch.arange(batch),
        slots=torch.full((batch,), -1),
        centers=points((3, *shape), dtype, layout, 2),
        jobs=torch.tensor(jobs),
        radii=torch.tensor([0.5, 2.0, 0.25, 1e-3, 7.0], dtype=torch.float64),
        batch_samples=batch_samples,
        **changes,
    )


def sampled(backend, step: Step, number: int) -> Tensor:
    """Sample number `number` of a step's list of jobs, by sample_lp_ball."""
    center, image_id, batch, _ = step.jobs[number // step.batch_samples].tolist()
    point = step.centers[center].to(backend.device)
    out = torch.empty_strided(
        (1, *point.shape), (point.numel(), *point.stride()), dtype=point.dtype
    )
    out = out.to(backend.device)
    first = (batch << 32) + number % step.batch_samples
    radius = step.radii[number // step.batch_samples].item()
    backend.ops.sample_lp_ball(
        out, point, step.p, radius, step.seed, image_id, first, step.low, step.high
    )
    return out[0]


RUNS = [
    ({"p": 2.0, "q": 2.0}, "same"),
    ({"p": 1.0, "q": INF, "dtype": torch.float16}, "same"),
    ({"p": INF, "q": 1.0, "layout": "channels_last", "low": 0.0, "high": 1.0}, "same"),
    ({"p": 3.0, "q": 1.5, "dtype": torch.float64, "batch": 4}, "same"),
    ({"p": 1.5, "q": 3.0, "dtype": torch.bfloat16, "layout": "channels_last"}, "strided"),
    ({"p": 2.0, "q": 2.0, "batch": 7, "batch_samples": 2}, "float64"),
    ({"p": 10.0, "q": 10 / 9, "batch": 20, "shape": (11,)}, "float16"),
    ({"p": 2.0, "q": 2.0, "batch": 1, "batch_samples": 1}, "expanded"),
    ({"p": 2.0, "q": 2.0, "dtype": torch.float16}, "bfloat16"),
    ({"p": INF, "q": 1.0, "shape": (1, 1, 1), "batch": 3}, "same"),
]


def gradients_like(x: Tensor, kind: str, seed: int) -> Tensor:
    """Gradients at the points x, as x is laid out or otherwise; the same on every device."""
    names = ("float64", "float16", "bfloat16")
    dtype = getattr(torch, kind) if kind in names else x.dtype
    grads = randn(x.shape, dtype, seed).to(x.device)
    if kind == "strided":
        return grads.transpose(1, -1).contiguous().transpose(1, -1)
    if kind == "expanded":
        return grads[:, :1].expand(x.shape)
    return torch.empty_like(x, dtype=dtype).copy_(grads)


@pytest.mark.parametrize(("changes", "kind"), RUNS, ids=str)
def test_steps_against_the_reference(backend, changes, kind):
    expected = start(**changes)
    got = expected.copy(backend.device)
    n_samples, batch = len(expected.jobs) * expected.batch_samples, len(expected.x)
    for first in range(0, n_samples + 2 * batch, batch):
        before = got.x.clone()
        if first:
            expected.grads = gradients_like(expected.x, kind, first)
            got.grads = gradients_like(got.x, kind, first)
            # The same norms, to the bit, as by the op that does only that.
            folded = got.maxima.clone()[None]
            backend.ops.grad_norm_max(got.grads[None], [got.q], folded, got.slots.clone()[None])
        reference.reduce_and_resample(*expected.arguments())
        got.run(backend.ops)
        assert torch.equal(got.cursor.cpu(), expected.cursor)
        assert torch.equal(got.slots.cpu(), expected.slots)
        torch.testing.assert_close(got.maxima.cpu(), expected.maxima, rtol=RTOL_FLOAT32, atol=0)
        if first:
            assert torch.equal(got.maxima, folded[0])
        for row in range(batch):
            if first + row < n_samples:
                # The reference's samples are compared in test_sampling; these are the same bits.
                assert torch.equal(got.x[row], sampled(backend, got, first + row))
                torch.testing.assert_close(
                    got.x[row].cpu(), expected.x[row], rtol=1e-2, atol=1e-3, check_stride=True
                )
            else:
                assert torch.equal(got.x[row], before[row])
                assert got.slots[row] == -1
    assert (expected.maxima[[2, 3]] == 0).all()
    assert (expected.maxima[[0, 1, 4, 5]] > 0).all()


def test_the_number_of_rows_changes_nothing(backend):
    """Samples and maxima of a run are the same whatever the device batch."""
    results = []
    for batch in (1, 4, 15, 40):
        step = start(batch=batch, shape=(7,)).copy(backend.device)
        seen = {}
        for first in range(0, 15 + batch, batch):
            step.run(backend.ops)
            step.grads = torch.cos(3 * step.x)
            seen |= {first + row: step.x[row].clone() for row in range(min(batch, 15 - first))}
        results.append((step.maxima, torch.stack([seen[number] for number in range(15)])))
    for maxima, samples in results[1:]:
        assert torch.equal(maxima, results[0][0])
        assert torch.equal(samples, results[0][1])


def test_gradients_of_rows_without_a_sample_are_ignored(backend):
    step = start(batch=3).copy(backend.device)
    step.slots[:] = torch.tensor([2, -1, -1])
    step.grads = torch.ones_like(step.x)
    step.grads[1:] = NAN
    step.run(backend.ops)
    assert step.maxima[2].item() == pytest.approx(math.sqrt(105))
    assert (step.maxima[[0, 1, 3, 4, 5]] == 0).all()


def test_a_nan_or_infinite_gradient_is_kept(backend):
    for bad in (NAN, INF, -INF):
        step = start(batch=3).copy(backend.device)
        step.run(backend.ops)
        step.grads = torch.zeros_like(step.x)
        step.grads[1, 2, 4, 6] = bad
        step.run(backend.ops)
        found = step.maxima[4].item()
        assert math.isnan(found) if math.isnan(bad) else found == INF


def test_no_gradients_leave_the_maxima(backend):
    step = start().copy(backend.device)
    step.slots[:] = 2
    step.maxima[:] = 0.5
    step.run(backend.ops)
    assert (step.maxima == 0.5).all()


def test_rows_of_a_larger_buffer(backend):
    """The last batch of a run is a slice of the buffers; what is behind it is left alone."""
    step = start(batch=5).copy(backend.device)
    whole = step.copy(backend.device)
    step.x, step.cursor, step.slots = whole.x[1:3], whole.cursor[1:3], whole.slots[1:3]
    untouched = whole.x[[0, 3, 4]].clone()
    step.run(backend.ops)
    assert torch.equal(whole.x[[0, 3, 4]], untouched)
    assert whole.cursor.tolist() == [0, 3, 4, 3, 4]
    assert whole.slots.tolist() == [-1, 4, 4, -1, -1]
    assert torch.equal(step.x[0], sampled(backend, step, 1))
    gaps = whole.x[:, :, :4]  # rows may lie apart, but not their elements
    step.x, step.centers = gaps[1:3], step.centers[:, :, :4]
    with pytest.raises(RuntimeError, match="must be contiguous or channels_last"):
        step.run(backend.ops)


@pytest.mark.parametrize("change", ["no rows", "no jobs"])
def test_nothing_to_do(backend, change):
    step = start(batch=0 if change == "no rows" else 4).copy(backend.device)
    if change == "no jobs":
        step.jobs, step.radii = step.jobs[:0], step.radii[:0]
    before = step.copy(backend.device)
    for grads in (None, torch.ones_like(step.x)):
        step.grads = grads
        step.run(backend.ops)
    assert torch.equal(step.x, before.x)
    assert torch.equal(step.maxima, before.maxima)
    assert (step.slots == -1).all()
    assert torch.equal(step.cursor, before.cursor + 2 * len(step.x))


def test_points_without_elements(backend):
    step = start(shape=(2, 0)).copy(backend.device)
    step.run(backend.ops)
    step.grads = torch.ones_like(step.x)
    step.run(backend.ops)
    assert (step.maxima == 0).all()
    assert step.cursor.tolist() == [10, 11, 12, 13, 14]


# --- How the ops are registered ----------------------------------------------------------------


def test_opcheck_sample_lp_ball():
    for dtype in DTYPES:
        center = points((3, 4, 5), dtype, "contiguous")
        out = torch.zeros(2, 3, 4, 5, dtype=dtype)
        arguments = (out, center, 2.5, 0.5, -1, 2, 3, 0.0, 1.0)
        torch.library.opcheck(torch.ops.clever_ext.sample_lp_ball.default, arguments)


def test_opcheck_grad_norm_max():
    grads, maxima = randn((2, 3, 4, 5)), torch.zeros(2, 2, dtype=torch.float64)
    op = torch.ops.clever_ext.grad_norm_max.default
    torch.library.opcheck(op, (grads, [2.0, INF], maxima))
    torch.library.opcheck(op, (grads.transpose(2, 3), [1.5], maxima[:1]))
    slots = torch.tensor([[0, -1, 1], [1, 1, 0]])
    torch.library.opcheck(op, (grads, [2.0, 1.0], maxima, slots))


def test_opcheck_reduce_and_resample():
    op = torch.ops.clever_ext.reduce_and_resample.default
    step = start()
    torch.library.opcheck(op, tuple(step.arguments()))
    step.grads = randn(step.x.shape)
    step.slots[:] = 1
    torch.library.opcheck(op, tuple(step.arguments()))


# --- Bad arguments -----------------------------------------------------------------------------


def refuses(op, arguments: Sequence, message: str) -> None:
    """Check that bad arguments are refused with this message, and that nothing is written."""
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    before = [t.clone() for t in tensors]
    with pytest.raises(RuntimeError, match=re.escape(message)):
        op(*arguments)
    assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def uncontiguous(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]


def nine_dims(*shape: int) -> Tensor:
    """[*shape, 2, 2, ...]: nine dimensions that no two of which merge."""
    return torch.zeros(*shape, *[3] * 9)[(..., *[slice(2)] * 9)]


LAYOUT = "must be contiguous or channels_last; call .contiguous() first"
FLOATS = "must be float64, float32, float16 or bfloat16, got scalar type"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "p must be at least 1 (or inf), got 0.5"),
        ({"p": -INF}, "p must be at least 1 (or inf), got -inf"),
        ({"p": NAN}, "p must be at least 1 (or inf), got nan"),
        ({"radius": 0.0}, "radius must be positive and finite, got 0"),
        ({"radius": -1.0}, "radius must be positive and finite, got -1"),
        ({"radius": INF}, "radius must be positive and finite, got inf"),
        ({"radius": NAN}, "radius must be positive and finite, got nan"),
        ({"first": -1}, "first must not be negative, got -1"),
        ({"low": 1.0, "high": 0.0}, "clip must have low < high, got 1 and 0"),
        ({"low": 1.0, "high": 1.0}, "clip must have low < high, got 1 and 1"),
        ({"low": NAN}, "clip must have low < high, got nan and 1"),
        ({"out": zeros()}, "out must be [n, *center.shape], got a scalar"),
        (
            {"out": zeros(2, 3, 4, 4)},
            "out of shape [2, 3, 4, 4] does not hold points of the shape in [3, 4, 5]",
        ),
        (
            {"out": zeros(3, 4, 5)},
            "out of shape [3, 4, 5] does not hold points of the shape in [3, 4, 5]",
        ),
        ({"center": zeros(3, 4, 5).double()}, "out and center must have the same dtype"),
        ({"out": zeros(2, 3, 4, 5).int(), "center": zeros(3, 4, 5).int()}, "out " + FLOATS),
        ({"out": zeros(2, 3, 5, 4).transpose(2, 3)}, "the points of out " + LAYOUT),
        ({"center": zeros(3, 5, 4).transpose(1, 2)}, "the points of center " + LAYOUT),
        ({"out": uncontiguous(2, 3, 4, 5, dtype=torch.float32)}, "the points of out " + LAYOUT),
        (
            {"center": zeros(4, 5, 3).permute(2, 0, 1)},
            "center must have the memory format of the buffer that is written",
        ),
    ],
    ids=str,
)
def test_sample_lp_ball_refuses(backend, change, message):
    arguments = {
        "out": zeros(2, 3, 4, 5), "center": zeros(3, 4, 5), "p": 2.0, "radius": 1.0, "seed": 0,
        "image_id": 0, "first": 0, "low": 0.0, "high": 1.0,
    } | change  # fmt: skip
    refuses_on(backend, "sample_lp_ball", arguments, message)


def refuses_on(backend, op: str, arguments: dict, message: str) -> None:
    values = []
    for value in arguments.values():
        if isinstance(value, Tensor):  # moved with its strides, which may be what is wrong
            moved = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=backend.device
            )
            value = moved.copy_(value)
        values.append(value)
    refuses(getattr(backend.ops, op), values, f"{op}: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grads": zeros(2, 3)}, "grads must be [G, B, *shape], got [2, 3]"),
        ({"grads": zeros()}, "grads must be [G, B, *shape], got []"),
        ({"q": []}, "from 1 to 4 norms in one call, got 0"),
        ({"q": [2.0] * 5}, "from 1 to 4 norms in one call, got 5"),
        ({"q": [0.99]}, "q must be at least 1 (or inf), got 0.99"),
        ({"q": [2.0, NAN]}, "q must be at least 1 (or inf), got nan"),
        ({"grads": zeros(2, 3, 4).long()}, "grads " + FLOATS),
        ({"grads": zeros(2, 3, 4).bool()}, "grads " + FLOATS),
        (
            {"grads": nine_dims(2, 3)},
            "gradients of more than 8 separate dimensions are not supported; call .contiguous()",
        ),
        ({"q": [2.0, 1.0]}, "maxima must have shape [2, 2], got [1, 2]"),
        ({"maxima": zeros(2).double()}, "maxima must have shape [1, 2], got [2]"),
        ({"maxima": zeros(1, 3).double()}, "maxima must have shape [1, 2], got [1, 3]"),
        ({"maxima": zeros(1, 2)}, "maxima must be float64, got scalar type"),
        ({"maxima": uncontiguous(1, 2)}, "maxima must be contiguous"),
        ({"slots": zeros(3, 2).long()}, "slots must have shape [2, 3], got [3, 2]"),
        ({"slots": zeros(6).long()}, "slots must have shape [2, 3], got [6]"),
        ({"slots": zeros(2, 3).int()}, "slots must be int64, got scalar type"),
        ({"slots": uncontiguous(2, 3, dtype=torch.int64)}, "slots must be contiguous"),
        (
            {"slots": zeros(2, 3).long(), "maxima": zeros(2, 5).double()},
            "maxima must have shape [1, 5], got [2, 5]",
        ),
    ],
    ids=str,
)
def test_grad_norm_max_refuses(backend, change, message):
    arguments = {
        "grads": zeros(2, 3, 4), "q": [2.0], "maxima": zeros(1, 2).double(), "slots": None,
    } | change  # fmt: skip
    refuses_on(backend, "grad_norm_max", arguments, message)


LONG = torch.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.0}, "p must be at least 1 (or inf), got 0"),
        ({"p": NAN}, "p must be at least 1 (or inf), got nan"),
        ({"q": 0.5}, "q must be at least 1 (or inf), got 0.5"),
        ({"q": NAN}, "q must be at least 1 (or inf), got nan"),
        ({"low": 2.0, "high": 1.0}, "clip must have low < high, got 2 and 1"),
        ({"high": NAN}, "clip must have low < high, got -inf and nan"),
        ({"batch_samples": 0}, "batch_samples must be positive, got 0"),
        ({"batch_samples": -3}, "batch_samples must be positive, got -3"),
        ({"x": zeros(5)}, "x must be [B, *shape], got [5]"),
        ({"jobs": zeros(20, dtype=LONG)}, "jobs must be [J, 4], got [20]"),
        ({"jobs": zeros(5, 3, dtype=LONG)}, "jobs must have shape [5, 4], got [5, 3]"),
        ({"jobs": zeros(5, 4)}, "jobs must be int64, got scalar type"),
        ({"jobs": uncontiguous(5, 4, dtype=LONG)}, "jobs must be contiguous"),
        ({"radii": torch.ones(4).double()}, "radii must have shape [5], got [4]"),
        ({"radii": torch.ones(5)}, "radii must be float64, got scalar type"),
        ({"radii": uncontiguous(5)}, "radii must be contiguous"),
        ({"cursor": zeros(4, dtype=LONG)}, "cursor must have shape [5], got [4]"),
        ({"cursor": zeros(5, dtype=torch.int32)}, "cursor must be int64, got scalar type"),
        ({"cursor": uncontiguous(5, dtype=LONG)}, "cursor must be contiguous"),
        ({"slots": zeros(5, 1, dtype=LONG)}, "slots must have shape [5], got [5, 1]"),
        ({"slots": zeros(5)}, "slots must be int64, got scalar type"),
        ({"slots": uncontiguous(5, dtype=LONG)}, "slots must be contiguous"),
        ({"maxima": zeros(1, 6).double()}, "maxima must be [slots], got [1, 6]"),
        ({"maxima": zeros(6)}, "maxima must be float64, got scalar type"),
        ({"maxima": uncontiguous(6)}, "maxima must be contiguous"),
        ({"centers": zeros(5, 7)}, "centers must be [I, *shape], got [5, 7]"),
        (
            {"centers": zeros(2, 3, 7, 5)},
            "centers of shape [2, 3, 7, 5] does not hold points of the shape in [5, 3, 5, 7]",
        ),
        ({"centers": zeros(2, 3, 5, 7).half()}, "x and centers must have the same dtype"),
        ({"x": zeros(5, 3, 5, 7).int(), "centers": zeros(2, 3, 5, 7).int()}, "x " + FLOATS),
        ({"x": zeros(5, 3, 7, 5).transpose(2, 3)}, "the points of x " + LAYOUT),
        ({"centers": zeros(2, 3, 7, 5).transpose(2, 3)}, "the points of centers " + LAYOUT),
        (
            {"centers": zeros(2, 5, 7, 3).permute(0, 3, 1, 2)},
            "centers must have the memory format of the buffer that is written",
        ),
        (
            {"grads": zeros(4, 3, 5, 7)},
            "grads of shape [4, 3, 5, 7] does not hold points of the shape in [5, 3, 5, 7]",
        ),
        (
            {"grads": zeros(5, 105)},
            "grads of shape [5, 105] does not hold points of the shape in [5, 3, 5, 7]",
        ),
        ({"grads": zeros(5, 3, 5, 7).long()}, "grads " + FLOATS),
        (
            {
                "x": zeros(5, *[2] * 9),
                "centers": zeros(2, *[2] * 9),
                "grads": nine_dims(5),
            },
            "gradients of more than 8 separate dimensions are not supported; call .contiguous()",
        ),
    ],
    ids=str,
)
def test_reduce_and_resample_refuses(backend, change, message):
    step = start()
    step.centers = step.centers[:2].clone()
    arguments = {field.name: getattr(step, field.name) for field in fields(step)} | change
    refuses_on(backend, "reduce_and_resample", arguments, message)


# Numbers that are found in tensors. On a GPU they stop the kernel, and with it the process.


@pytest.mark.parametrize("slot", [2, 2**62])
def test_a_slot_that_is_not_there(slot):
    slots = torch.tensor([[0, 1], [-1, slot]])
    maxima = torch.zeros(1, 2, dtype=torch.float64)
    message = r"grad_norm_max: slots names a slot that maxima does not have \(2 slots\)"
    with pytest.raises(RuntimeError, match=message):
        ops.grad_norm_max(torch.ones(2, 2, 3), [2.0], maxima, slots)
    step = start()
    step.slots[3], step.grads = 6, torch.ones_like(step.x)
    message = r"reduce_and_resample: slots names a slot that maxima does not have \(6 slots\)"
    with pytest.raises(RuntimeError, match=message):
        step.run(torch.ops.clever_ext)


@pytest.mark.parametrize("center", [3, -1, 2**62])
def test_a_center_that_is_not_there(center):
    step = start()
    step.jobs[1, 0] = center
    message = r"reduce_and_resample: jobs names a center that centers does not have \(3 centers\)"
    with pytest.raises(RuntimeError, match=message):
        step.run(torch.ops.clever_ext)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (torch.zeros(2, 3),),
            "grads is torch.float32 of shape [2, 3]. Expected: a floating point tensor "
            "[G, B, *shape]. Fix: give single vectors as grads[None, :, :].",
        ),
        (
            (torch.zeros(2, 3, 4, dtype=torch.int32),),
            "grads is torch.int32 of shape [2, 3, 4]. Expected: a floating point tensor "
            "[G, B, *shape]. Fix: give single vectors as grads[None, :, :].",
        ),
        (
            ([[[1.0]]],),
            "grads is list. Expected: a floating point tensor [G, B, *shape]. "
            "Fix: give single vectors as grads[None, :, :].",
        ),
        (
            (torch.zeros(2, 0, 4),),
            "grads of shape [2, 0, 4] has empty groups. Expected: at least one gradient of one "
            "element in each group. Fix: leave the empty groups out.",
        ),
        (
            (torch.zeros(2, 3, 4), 0.5),
            "norm=0.5 is no p-norm. Expected: a number p with 1 <= p <= inf, or one of l1, l2, "
            "linf. Fix: choose 1, 2, inf or another p of at least 1.",
        ),
    ],
)  # fmt: skip
def test_public_function_refuses(arguments, message):
    with pytest.raises(CleverError) as raised:
        grad_norm_max(*arguments)
    assert str(raised.value) == message


def test_public_function_of_no_groups():
    assert grad_norm_max(torch.zeros(0, 3, 4)).shape == (0,)
    assert not grad_norm_max(torch.ones(1, 2, 3, requires_grad=True)).requires_grad
