"""Samples of p-balls against the reference, and what they do and do not depend on."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from op_arguments import INF, NORMS, dtypes, few
from torch import Tensor

from clever_ext.kernels import reference
from clever_ext.kernels.balls import points_like, sample_lp_ball

# Half an ulp relative to 1: what the last rounding costs.
HALF_ULP = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}
SHAPES = [
    (), (1,), (2,), (3,), (5,), (7, 9), (1, 4, 4), (4, 1, 1), (3, 1, 5), (3, 5, 7), (5, 2, 1, 3),
    (2, 3, 5, 4), (3, 16, 16), (1021,), (3, 31, 33),
]  # fmt: skip

norms = pytest.mark.parametrize("p", NORMS)


def draw(
    backend,
    center: Tensor,
    n: int,
    p: float,
    radius: float = 1.0,
    seed: int = 0,
    image_id: int = 0,
    first: int = 0,
    clip: tuple[float, float] = (-INF, INF),
    out: Tensor | None = None,
) -> Tensor:
    """Draw by the backend's op, into a NaN-filled buffer unless one is given."""
    center = center.to(backend.device)
    if out is None:
        out = points_like(center, n).fill_(math.nan)
    backend.ops.sample_lp_ball(out, center, p, radius, seed, image_id, first, *clip)
    return out


def assert_agrees(
    got: Tensor,
    center: Tensor,
    p: float,
    radius: float,
    seed: int,
    image_id: int,
    first: int,
    clip: tuple[float, float] = (-INF, INF),
) -> None:
    """Compare samples with the float64 reference."""
    plain = center.double().cpu().contiguous()
    free, expected = (torch.empty(got.shape, dtype=torch.float64) for _ in range(2))
    reference.sample_lp_ball(free, plain, p, radius, seed, image_id, first, -INF, INF)
    reference.sample_lp_ball(expected, plain, p, radius, seed, image_id, first, *clip)
    if not expected.numel():
        return
    # The draws are float32. Their words, as fractions, are rounded to 2^-25 near 1, and their
    # logarithms, roots and angles to 3 ulp: a part in 3e-6 of the largest coordinate covers the
    # scale and all of that, with two exceptions. A normal's radius is the root of an exponential
    # of absolute error 2^-25: at worst 2e-4 of a draw, where the radius is below 0.005 (one draw in
    # 40,000). And the gamma sampler's rejection may decide otherwise in float32 than in float64
    # (about one draw in 1e6), which gives another draw altogether: none of the seeds here has one.
    unit = (free - plain).abs().reshape(len(got), -1).amax(1).reshape(-1, *[1] * plain.dim())
    rounding = expected.abs() * HALF_ULP[got.dtype] * 1.001 + torch.finfo(got.dtype).tiny * 2**-10
    # The move, and the center plus the move, are float32 for the small types.
    if got.dtype != torch.float64:
        rounding = rounding + (expected.abs() + (free - plain).abs()) * 2.0**-23
    error = (got.double().cpu() - expected).abs() - rounding
    assert not got.isnan().any()
    assert (error <= 1e-3 * unit).all(), (p, (error / unit).max())
    loose = (error > 3e-6 * unit).double().mean().item()
    assert loose <= 1e-3, (p, loose)


def random_center(generator: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    center = torch.rand(shape, generator=generator).to(dtype)
    if len(shape) == 3 and torch.rand((), generator=generator) < 0.5:
        center = center[None].contiguous(memory_format=torch.channels_last)[0]
    return center


# --- Against the reference ---------------------------------------------------------------------


@norms
@dtypes
def test_agrees_with_the_reference(backend, p, dtype):
    generator, pick = torch.Generator().manual_seed(1), random.Random(f"{dtype} {p}")
    shapes = SHAPES if backend.name != "emulated" else pick.sample(SHAPES, 3)
    for shape in shapes:
        center = random_center(generator, shape, dtype)
        n = pick.randrange(1, few(backend, 7, 3))
        numbers = (pick.randrange(-(2**63), 2**63), pick.randrange(-(2**63), 2**63))
        first = pick.choice([0, 3, 2**32 - 2, 5 << 32])
        radius = pick.choice([0.01, 1.0, 30.0])
        clip = pick.choice([(-INF, INF), (0.0, 1.0), (0.25, INF)])
        got = draw(backend, center, n, p, radius, *numbers, first, clip)
        assert got.dtype == dtype
        assert got.stride()[1:] == center.stride()
        assert_agrees(got, center, p, radius, *numbers, first, clip)
        if clip != (-INF, INF):
            assert got.min() >= clip[0]
            assert got.max() <= clip[1]


@norms
def test_agrees_at_the_size_of_a_photograph(backend, p):
    # 150,531 elements: beyond every tile, stretch and stride of the kernels, and no multiple of 4.
    center = torch.full((3, 223, 225), 0.5)
    center = center[None].contiguous(memory_format=torch.channels_last)[0]
    assert_agrees(draw(backend, center, 1, p, 2.0, 5, 6, 7), center, p, 2.0, 5, 6, 7)


def test_integers_are_the_same_bits(backend):
    # For p = inf, around 0 and with radius 1, a float64 sample is the float32 that is nearest to
    # its word, scaled by a power of 2: the upper 24 bits of each word, without any tolerance.
    for seed, image_id, first, numel in [(0, 0, 0, 1000), (-1, 2**63 - 1, (9 << 32) + 4, 2053)]:
        got = draw(backend, torch.zeros(numel).double(), 2, INF, 1.0, seed, image_id, first)
        key, blocks = reference.stream_key(seed, image_id, INF), np.arange((numel + 3) // 4)
        for row in range(2):
            k, b = (first + row) % 2**32, (first + row) >> 32
            words = np.concatenate(reference.philox4x32_10((blocks, k, b, 0), key))[:numel]
            uniform = words.view(np.int32).astype(np.float32) + np.float32(0.5)
            expected = torch.from_numpy(uniform.astype(np.float64) * 2.0**-31)
            assert torch.equal(got[row].cpu(), expected)


@norms
@dtypes
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_writes_its_view_and_nothing_else(backend, p, dtype, layout):
    n, shape = 3, (3, 5, 7)
    strides = (35, 7, 1) if layout == "contiguous" else (1, 21, 3)
    row, offset = 105 + 11, 13  # a gap after each row
    buffer = torch.full((offset + n * row + 17,), math.nan, dtype=dtype, device=backend.device)
    out = buffer.as_strided((n, *shape), (row, *strides), offset)
    holder = torch.rand(200, generator=torch.Generator().manual_seed(2)).to(buffer)
    center = holder.as_strided(shape, strides, 19)
    draw(backend, center, n, p, 0.5, 3, 4, 5, out=out)
    assert_agrees(out, center, p, 0.5, 3, 4, 5)
    inside = torch.zeros(len(buffer), dtype=torch.bool, device=backend.device)
    inside.as_strided((n, *shape), (row, *strides), offset).fill_(True)
    assert torch.equal(buffer.isnan(), ~inside)


def test_strides_of_single_elements_say_nothing(backend):
    # A dimension of size 1 may have any stride, in out and in center, and not the same one.
    base = torch.rand(4, generator=torch.Generator().manual_seed(0)).to(backend.device)
    plain = draw(backend, base.reshape(4, 1, 1), 2, 2.0)
    out = torch.full((2, 4, 1, 1), math.nan, device=backend.device)
    out = out.as_strided((2, 4, 1, 1), (4, 1, 1000, 77))
    draw(backend, base.as_strided((4, 1, 1), (1, 5, 999)), 2, 2.0, out=out)
    assert torch.equal(out, plain)


@norms
@pytest.mark.parametrize(
    ("dtype", "radius"),
    [
        (torch.float32, 1e30),
        (torch.float32, 1e-30),
        (torch.float64, 1e200),
        (torch.float64, 1e-200),
        (torch.bfloat16, 1e30),
        (torch.float16, 3e4),
    ],
    ids=str,
)
def test_huge_and_tiny_radii(backend, p, dtype, radius):
    center = torch.zeros(37, dtype=dtype)
    assert_agrees(draw(backend, center, 3, p, radius), center, p, radius, 0, 0, 0)


@norms
def test_radius_far_below_the_center_leaves_the_center(backend, p):
    center = torch.rand(37, generator=torch.Generator().manual_seed(0)) + 0.5
    for radius in (1e-30, 5e-324):
        got = draw(backend, center, 2, p, radius).cpu()
        assert torch.equal(got, center.expand(2, -1))


@norms
def test_a_nan_in_the_center_stays_one(backend, p):
    center = torch.zeros(9)
    center[4] = math.nan
    got = draw(backend, center, 2, p, clip=(0.0, 1.0)).cpu()
    assert torch.equal(got.isnan(), center.isnan().expand(2, -1))


# --- What a sample does not depend on ----------------------------------------------------------


@norms
def test_first_is_only_an_offset(backend, p):
    center = torch.zeros(3, 5, 7)
    for start in (0, 2**32 - 4):  # across the end of a batch's numbers, too
        whole = draw(backend, center, 10, p, first=start)
        assert torch.equal(draw(backend, center, 3, p, first=start + 5), whole[5:8])


@norms
@dtypes
def test_memory_format_changes_nothing(backend, p, dtype):
    generator = torch.Generator().manual_seed(3)
    for shape in [(3, 5, 7), (2, 1, 9), (1, 4, 4), (5, 13, 3)]:
        plain = torch.rand(shape, generator=generator).to(dtype)
        last = plain[None].contiguous(memory_format=torch.channels_last)[0]
        a, b = (draw(backend, center, 2, p, 0.7, clip=(0.0, 1.0)) for center in (plain, last))
        assert torch.equal(a, b)
        flat = draw(backend, plain.flatten(), 2, p, 0.7, clip=(0.0, 1.0))
        assert torch.equal(a.flatten(1), flat)


@norms
def test_batch_and_order_change_nothing(backend, p):
    center = torch.zeros(67)
    whole = draw(backend, center, 12, p, seed=4)
    for number in random.Random(0).sample(range(12), few(backend, 12, 5)):
        assert torch.equal(draw(backend, center, 1, p, seed=4, first=number)[0], whole[number])


@norms
def test_other_images_change_nothing(backend, p):
    center = torch.zeros(67)
    alone = draw(backend, center, 2, p, image_id=7)
    for others in ([], [1], [7, 3, -9]):
        drawn = {i: draw(backend, center + i, 3, p, image_id=i) for i in others}
        assert torch.equal(draw(backend, center, 2, p, image_id=7), alone)
        assert all(not torch.equal(x[:2] - i, alone) for i, x in drawn.items() if i != 7)


@norms
def test_a_smaller_dtype_rounds(backend, p):
    for dtype in (torch.float16, torch.bfloat16):
        center = torch.rand(301, generator=torch.Generator().manual_seed(4)).to(dtype)
        small = draw(backend, center, 3, p, 0.8, clip=(0.1, 0.9))
        assert torch.equal(
            small, draw(backend, center.float(), 3, p, 0.8, clip=(0.1, 0.9)).to(dtype)
        )


@norms
def test_float64_is_the_float32_sample_before_its_rounding(backend, p):
    # Around zero only the product scale * t is rounded: once in float64, within an ulp in float32.
    center = torch.zeros(1003)
    single, double = (draw(backend, c, 3, p, 0.8) for c in (center, center.double()))
    assert ((single.double() - double).abs() <= double.abs() * 2.0**-23).all()


@norms
def test_doubling_the_radius_doubles_the_sample(backend, p):
    center = torch.zeros(203)
    a, b = (draw(backend, center, 3, p, radius) for radius in (0.3, 0.6))
    assert torch.equal(2 * a, b)


@norms
def test_threads_change_nothing(p):
    center = torch.zeros(3, 41, 43)
    threads = torch.get_num_threads()
    samples = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            samples.append(sample_lp_ball(center, 17, p))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(samples[0], other) for other in samples[1:])


# --- What it does depend on --------------------------------------------------------------------


@norms
def test_each_argument_gives_another_stream(backend, p):
    extremes = [0, 1, -1, 2**32, -(2**32), 2**63 - 1, -(2**63)]
    arguments = [
        *[{"seed": seed} for seed in extremes],
        *[{"image_id": image_id} for image_id in extremes[1:]],
        *[{"seed": s, "image_id": i} for s, i in itertools.permutations((1, 2, -1), 2)],
        *[{"first": first} for first in (1, 2, 1 << 32, (1 << 32) + 1, 2 << 32, 2**63 - 1)],
    ]
    center = torch.zeros(64)
    samples = [draw(backend, center, 1, p, **kwargs)[0].cpu() for kwargs in arguments]
    samples.append(draw(backend, center, 1, p + 1e-15 if p != INF else 1e300)[0].cpu())
    for a, b in itertools.combinations(samples, 2):
        # No element in common, either: not even a stretch of one stream is another's.
        assert (a != b).all()
        assert len(np.intersect1d(a.abs(), b.abs())) == 0


def test_public_function_is_the_op():
    center = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(6))
    got = sample_lp_ball(center, 4, p=3, radius=0.5, seed=-3, image_id=9, first=2, clip=(0, 1))
    assert_agrees(got, center, 3.0, 0.5, -3, 9, 2, (0.0, 1.0))
    assert torch.equal(sample_lp_ball(center, 2), sample_lp_ball(center, 2, 2, 1.0, 0, 0, 0, None))
    assert torch.equal(sample_lp_ball(center, 2, "l1"), sample_lp_ball(center, 2, 1))
