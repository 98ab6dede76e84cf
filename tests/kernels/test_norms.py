"""grad_norm_max on every backend: gradients of any layout, against plain torch."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_arguments import DTYPES, INF, NAN, dtypes, few, randn
from torch import Tensor

from clever_ext.kernels import ops, reference
from clever_ext.kernels.norms import grad_norm_max

EXPONENTS = [1.0, 1.5, 2.0, 3.0, 7.0, INF]

# Up to 64 float32 terms are added one to another before float64 takes over: at most 64 half ulps. A
# power in float32 is exp(q log x), whose exponent is rounded to 2^-24 of itself: the q-th root
# leaves |log x| of these, at most 60 for what is not rescaled. float64 has as many terms, and its
# powers are the machine's library's.
RTOL = {torch.float64: 130 * 2.0**-53}
RTOL_FLOAT32 = 130 * 2.0**-24

exponents = pytest.mark.parametrize("q", EXPONENTS)


def examples(many: int):
    """Hypothesis, on the same examples each time."""
    return settings(
        max_examples=many,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def rtol(dtype: torch.dtype) -> float:
    return RTOL.get(dtype, RTOL_FLOAT32)


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


@functools.cache
def photographs(rows: int, dtype: torch.dtype) -> tuple[Tensor, dict[float, Tensor]]:
    """Return gradients of that size, and their norms, which no layout changes."""
    grads = randn((2, rows, 3, 223, 225), dtype)
    return grads, {q: exact_norms(grads, q).amax(1) for q in EXPONENTS}


@dtypes
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "padded"])
def test_rows_of_the_size_of_a_photograph(backend, dtype, layout):
    grads, expected = photographs(few(backend, 3, 1), dtype)
    grads = grads.to(backend.device)
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
            torch.testing.assert_close(got[n], expected[q].to(backend.device), rtol=allowed, atol=0)


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
