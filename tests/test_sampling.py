"""Samples of p-balls: against the reference, their invariance, their law, and bad input."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from clever_ext import reference
from clever_ext.errors import CleverError
from clever_ext.sampling import (
    as_points,
    check_clip,
    check_integer,
    check_norm,
    check_radius,
    default_radius,
    dual_exponent,
    points_like,
    sample_lp_ball,
)

INF = math.inf
NORMS = [1.0, 1.5, 2.0, 3.0, 10.0, INF]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
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


def few(backend, many: int, emulated: int) -> int:
    """How many cases: the emulator runs 512 threads, one after another, for each row."""
    return emulated if backend.name == "emulated" else many


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
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
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
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
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
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
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


# --- The ball's law ----------------------------------------------------------------------------
#
# Seeds are fixed, so each of these tests either always passes or always fails. The bounds are such
# that a correct sampler would fail one of them, for a new seed, about once in some hundred runs of
# this file: p-values above 1e-4, z-scores below 4.5 (6 where there are 300,000 of them).

P_VALUE, Z_SCORE = 1e-4, 4.5
LAW = [
    *[(p, d, 20000) for p in NORMS for d in (1, 2, 3, 10)],
    *[(p, 784, 2000) for p in NORMS],
    *[(p, 150528, 240) for p in (1.0, 2.0, INF)],
    (3.0, 150528, 60),
]
# What float32 draws may add to a norm: each is within some 10 ulp of the one that its mass stands
# for, and on average they err to neither side. In 150,528 dimensions a uniform sample's norm is
# within 7e-6 of R on average, so that this bound is no formality there.
BEYOND = 2.0**-22

law = pytest.mark.parametrize(("p", "d", "n"), LAW)
law_below_1000 = pytest.mark.parametrize(("p", "d", "n"), [row for row in LAW if row[1] < 1000])


def norms_of(x: Tensor, p: float) -> Tensor:
    return torch.linalg.vector_norm(x.double(), p, dim=1)


def in_parts(p: float, d: int, n: int, dtype: torch.dtype):
    """Yield n samples of the unit ball, a few million numbers at a time."""
    step = max(1, 4_000_000 // d)
    for first in range(0, n, step):
        yield sample_lp_ball(
            torch.zeros(d, dtype=dtype), min(step, n - first), p, 1.0, 11, 5, first
        )


def mass_law(p: float, d: int):
    """The law of |x_i|^p (of |x_i| for p = inf) for x uniform in the unit ball.

    |x_i|^p = g_i / (g_1 + ... + g_d + Z), with g ~ Gamma(1/p) and Z ~ Gamma(1): a Beta variable.
    """
    return stats.uniform() if p == INF else stats.beta(1 / p, (d - 1) / p + 1)


def masses(x: Tensor, p: float) -> Tensor:
    return x.abs() if p == INF else x.abs() ** p


@law
def test_radius_is_that_of_a_uniform_sample(p, d, n):
    # Samples in float64 are not rounded after the draws, whose own errors average out in a norm:
    # (norm / R)^d multiplies what is left, below 1e-8, by d.
    radii = torch.cat([norms_of(x, p) for x in in_parts(p, d, n, torch.float64)])
    assert radii.max() <= 1 + BEYOND
    assert stats.kstest((d * radii.log()).exp(), "uniform").pvalue > P_VALUE


@law
def test_no_float32_point_is_outside(p, d, n):
    for x in in_parts(p, d, min(n, 20 if d > 1000 else 3000), torch.float32):
        assert norms_of(x, p).max() <= 1 + BEYOND


@law
def test_marginals_and_signs(p, d, n):
    # Some coordinates: first and last ones, and both sides of where blocks' draws 0..3 meet.
    quarter = (d + 3) // 4
    places = sorted({0, 1, quarter - 1, quarter, 2 * quarter, 3 * quarter, d - 1} & set(range(d)))
    parts, spread, positive, total = [], [], 0, 0
    for x in in_parts(p, d, n, torch.float64):
        parts.append(x[:, places])
        spread.append(masses(x[:, ::997], p))
        positive += int((x > 0).sum())
        total += x.numel()
    picked = torch.cat(parts)
    for place in range(len(places)):
        mass = masses(picked[:, place], p)
        assert stats.kstest(mass, mass_law(p, d).cdf).pvalue > P_VALUE, places[place]
        up = (picked[:, place] > 0).double().mean().item()
        assert abs(up - 0.5) <= Z_SCORE * 0.5 / math.sqrt(n), places[place]
    assert abs(positive / total - 0.5) <= Z_SCORE * 0.5 / math.sqrt(total)
    if d > 1000:
        # Few samples, but of coordinates so many that those far apart are as good as independent.
        pooled = torch.cat(spread).flatten()
        assert stats.kstest(pooled, mass_law(p, d).cdf).pvalue > P_VALUE


@norms
@pytest.mark.parametrize("d", [2, 3])
def test_sign_patterns_are_equally_frequent(p, d):
    x = sample_lp_ball(torch.zeros(d), 20000, p, 1.0, 12)
    pattern = ((x > 0).long() * 2 ** torch.arange(d)).sum(1)
    assert stats.chisquare(torch.bincount(pattern, minlength=2**d)).pvalue > P_VALUE


def z_scores(products: Tensor, expected: float, terms: int) -> Tensor:
    """How far the mean of products [n, ...] is off, in standard errors estimated from them."""
    return (products.mean(0) - expected) / (products.std(0) / math.sqrt(terms))


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """z-scores of all sample correlations of columns of a [n, i] and b [n, j]."""
    a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))
    return a.T @ b / math.sqrt(len(a))


def ranks(x: Tensor) -> Tensor:
    """Ranks of the sizes in each column.

    Correlations of the masses themselves, whose tails are long for large p, are far from normal.
    """
    order = x.abs().T.contiguous().argsort(1)
    places = torch.arange(len(x)).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).T.float()


def bound(d: int) -> float:
    return Z_SCORE if d <= 10 else 6.0


@law_below_1000
def test_mean_and_covariance(p, d, n):
    x = torch.cat(list(in_parts(p, d, n, torch.float64)))
    assert z_scores(x, 0.0, n).abs().max() <= bound(d)
    # E x_i^2 = E B^(2/p) of the Beta variable B above; 1/3 for p = inf.
    if p == INF:
        variance = 1 / 3
    else:
        a, b = 1 / p, (d - 1) / p + 1
        log_moment = math.lgamma(a + 2 / p) - math.lgamma(a)
        variance = math.exp(log_moment + math.lgamma(a + b) - math.lgamma(a + b + 2 / p))
    assert z_scores(x**2, variance, n).abs().max() <= bound(d)
    off_diagonal = ~torch.eye(d, dtype=torch.bool)
    if d > 1:
        assert correlations(x, x)[off_diagonal].abs().max() <= bound(d)
    # The masses and Z are Dirichlet with parameters 1/p (d times) and 1, so that sizes depend on
    # each other in one way only; draws that share words would show here, whatever their signs. In
    # 784 dimensions what is left of that dependence, -1/784, is a z-score below 0.1.
    if d > 10:
        sizes = ranks(x)
        assert correlations(sizes, sizes)[off_diagonal].abs().max() <= bound(d)
    elif d > 1 and p != INF:
        total = d / p + 1
        mass = masses(x, p) - 1 / p / total
        expected = -((1 / p) ** 2) / (total**2 * (total + 1))
        excess = mass.T @ mass / n - expected
        error = (mass**2).mean(0).sqrt()
        scores = excess / (error[:, None] * error) * math.sqrt(n)
        assert scores[off_diagonal].abs().max() <= bound(d)


@law_below_1000
def test_consecutive_samples_are_not_correlated(p, d, n):
    x = torch.cat(list(in_parts(p, d, n, torch.float64)))
    y = sample_lp_ball(torch.zeros(d, dtype=torch.float64), n, p, 1.0, 11, 5, 1 << 32)
    for a, b in [(x, y), (ranks(x), ranks(y))]:
        assert correlations(a[:-1], a[1:]).abs().max() <= bound(d)  # in k
        assert correlations(a, b).abs().max() <= bound(d)  # in b


# --- The public function -----------------------------------------------------------------------


def test_public_function_is_the_op():
    center = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(6))
    got = sample_lp_ball(center, 4, p=3, radius=0.5, seed=-3, image_id=9, first=2, clip=(0, 1))
    assert_agrees(got, center, 3.0, 0.5, -3, 9, 2, (0.0, 1.0))
    assert torch.equal(sample_lp_ball(center, 2), sample_lp_ball(center, 2, 2, 1.0, 0, 0, 0, None))
    assert torch.equal(sample_lp_ball(center, 2, "l1"), sample_lp_ball(center, 2, 1))


def test_what_comes_back():
    for dtype in DTYPES:
        center = torch.rand(3, 5, 7).to(dtype).requires_grad_()
        got = sample_lp_ball(center, 4)
        assert (got.shape, got.dtype, got.device) == ((4, 3, 5, 7), dtype, center.device)
        assert got.is_contiguous()
        assert not got.requires_grad
    batch = torch.rand(2, 3, 5, 7).contiguous(memory_format=torch.channels_last)
    assert sample_lp_ball(batch[0], 4).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 5), (1,)])
def test_small_shapes_and_no_samples(shape):
    assert sample_lp_ball(torch.zeros(shape), 3).shape == (3, *shape)
    assert sample_lp_ball(torch.zeros(shape), 0).shape == (0, *shape)


def test_other_strides_are_copied():
    base = torch.rand(7, 5, 3, generator=torch.Generator().manual_seed(7))
    expected = sample_lp_ball(base.permute(1, 0, 2).contiguous(), 2)
    assert torch.equal(sample_lp_ball(base.permute(1, 0, 2), 2), expected)
    expanded = torch.zeros(1).expand(4, 6)
    assert torch.equal(sample_lp_ball(expanded, 2), sample_lp_ball(torch.zeros(4, 6), 2))


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    sample_lp_ball(torch.zeros(9), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_as_points_copies_only_what_it_must():
    batch = torch.rand(2, 3, 5, 7)
    last = batch.contiguous(memory_format=torch.channels_last)
    for points, first_dim in [(batch, 1), (last, 1), (batch[0], 0), (last[1], 0), (batch[0, 0], 0)]:
        assert (
            as_points(points, first_dim) is points
            or as_points(points, first_dim).data_ptr() == points.data_ptr()
        )
    turned = batch.transpose(2, 3)
    assert as_points(turned, 1).is_contiguous()
    assert torch.equal(as_points(turned, 1), turned)


def test_default_radii():
    assert (default_radius(1), default_radius(2), default_radius(INF)) == (40.0, 2.0, 0.01)
    # log R is linear in 1/p: p = 4 is halfway between 2 and inf, p = 4/3 between 1 and 2.
    assert default_radius(4) == pytest.approx(math.sqrt(2.0 * 0.01))
    assert default_radius(4 / 3) == pytest.approx(math.sqrt(40.0 * 2.0))
    radii = [default_radius(p) for p in (1, 1.01, 1.5, 2, 3, 10, 1e6, INF)]
    assert radii == sorted(radii, reverse=True)


def test_dual_exponents():
    assert (dual_exponent(1), dual_exponent(2), dual_exponent(INF)) == (INF, 2.0, 1.0)
    for p in (1.25, 1.5, 3.0, 10.0):
        assert 1 / p + 1 / dual_exponent(p) == pytest.approx(1)


def test_radius_by_norm():
    assert check_radius({1: 3, INF: 0.1}, 1.0) == 3.0
    assert check_radius({1: 3, INF: 0.1}, INF) == 0.1
    assert check_radius(None, 2.0) == default_radius(2.0)
    assert check_radius(torch.tensor(0.5), 2.0) == 0.5
    assert check_clip(None) == (-INF, INF)
    assert check_clip([0, 1]) == (0.0, 1.0)
    assert check_norm("linf") == INF
    assert check_integer("n", np.int64(3), 0, 9) == 3


NO_NORM = (
    "norm={} is no p-norm. Expected: a number p with 1 <= p <= inf, or one of l1, l2, linf. "
    "Fix: choose 1, 2, inf or another p of at least 1."
)
NO_RADIUS = (
    "radius={} is no radius. Expected: a positive number up to 1e+30, in the units of the images. "
    "Fix: leave it out for the default of norm 2, 2."
)
NO_CLIP = "clip={} is no range. Expected: (low, high) with low < high. Fix: give e.g. (0, 1)."
NO_CENTER = (
    "center is {}. Expected: a tensor of float32, float64, float16 or bfloat16. "
    "Fix: convert it with torch.as_tensor(center, dtype=torch.float32)."
)
OUT_OF_RANGE = "{} is out of range. Expected: an integer from {} to {}. Fix: choose another {}."
NO_INTEGER = "{}={} is no integer. Expected: an integer. Fix: give {} as an int."
LOW, HIGH = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[
            ({"p": p}, NO_NORM.format(repr(p)))
            for p in (0, 0.999, -1, -INF, math.nan, "l3", None, [2])
        ],
        *[
            ({"radius": r}, NO_RADIUS.format(repr(r)))
            for r in (0, 0.0, -1, INF, math.nan, "wide", [1, 2])
        ],
        (
            {"radius": {1: 3.0}},
            "radius={1: 3.0} has no entry for norm 2. Expected: one radius for each norm. "
            "Fix: add 2 to it, or give one number for all norms.",
        ),
        ({"radius": {2: -1.0}}, NO_RADIUS.format("-1.0")),
        *[
            ({"clip": c}, NO_CLIP.format(repr(c)))
            for c in ((1, 0), (0, 0), (0, math.nan), (0,), (0, 1, 2), 1, "ab", (None, 1))
        ],
        ({"center": torch.zeros(3, dtype=torch.int64)}, NO_CENTER.format("torch.int64")),
        ({"center": torch.zeros(3, dtype=torch.complex64)}, NO_CENTER.format("torch.complex64")),
        ({"center": np.zeros(3)}, NO_CENTER.format("ndarray")),
        ({"center": [0.0]}, NO_CENTER.format("list")),
        ({"n": -1}, OUT_OF_RANGE.format("n=-1", 0, 2**31 - 1, "n")),
        ({"n": 2**31}, OUT_OF_RANGE.format(f"n={2**31}", 0, 2**31 - 1, "n")),
        ({"n": 2.0}, NO_INTEGER.format("n", "2.0", "n")),
        ({"n": True}, NO_INTEGER.format("n", "True", "n")),
        ({"seed": 2**63}, OUT_OF_RANGE.format(f"seed={2**63}", LOW, HIGH, "seed")),
        ({"seed": -(2**63) - 1}, OUT_OF_RANGE.format(f"seed={LOW - 1}", LOW, HIGH, "seed")),
        ({"seed": None}, NO_INTEGER.format("seed", "None", "seed")),
        ({"image_id": 2**63}, OUT_OF_RANGE.format(f"image_id={2**63}", LOW, HIGH, "image_id")),
        ({"image_id": "7"}, NO_INTEGER.format("image_id", "'7'", "image_id")),
        ({"first": -1}, OUT_OF_RANGE.format("first=-1", 0, HIGH - 4, "first")),
        ({"first": HIGH}, OUT_OF_RANGE.format(f"first={HIGH}", 0, HIGH - 4, "first")),
        ({"first": 0.5}, NO_INTEGER.format("first", "0.5", "first")),
    ],
)  # fmt: skip
def test_bad_input(arguments, message):
    with pytest.raises(CleverError) as raised:
        sample_lp_ball(**{"center": torch.zeros(3), "n": 4, **arguments})
    assert str(raised.value) == message
    parts = (raised.value.wrong, raised.value.expected, raised.value.fix)
    assert message == "{}. Expected: {}. Fix: {}.".format(*parts)
