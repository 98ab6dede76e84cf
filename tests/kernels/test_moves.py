"""Moves in a p-ball and distances, on every backend against plain torch."""

import math

import numpy as np
import pytest
import torch
from op_arguments import DTYPES, INF, LONG, NAN, ROWS, Move, dtypes, few, moves, random
from scipy import optimize
from torch import Tensor

from clever_ext.kernels import reference

EXPONENTS = [1.0, 1.5, 2.0, 3.0, INF]

exponents = pytest.mark.parametrize("p", EXPONENTS)


def norm(x: Tensor, p: float) -> float:
    return torch.linalg.vector_norm(x.double().flatten(), p).item()


def one(
    p: float, base: Tensor, center: Tensor, radius: float, along=0.0, g=None, **changes
) -> Move:
    """One row without noise, around one center."""
    return Move(
        out=torch.full_like(base[None], 7.0), bases=base[None], centers=center[None],
        directions=None if g is None else g[None],
        rows=torch.tensor([[0, -1 if g is None else 0, 0, 0, 0]]),
        scales=torch.tensor([[along, 0.0, radius, 0.0]], dtype=torch.float64), p=p, **changes,
    )  # fmt: skip


NOTHING = [[0.0] * 4] * 7


def mixed_scales(move: Move) -> Tensor:
    """Scales of ROWS: inside and outside of the ball, by steps and noise of either kind."""
    n = norm((move.bases[0].double() - move.centers[0].double()), move.p)
    factors = [
        [0.5, 0, 1], [3, 0, 0.7], [1, 1, 1], [-2, 1, 0.6], [0.1, 0.1, 9], [0, 2, 0.05], [0, 0, 1e4],
    ]  # fmt: skip
    lengths = n * torch.tensor(factors, dtype=torch.float64)
    shares = torch.tensor([0.5, 0.5, 0, 0.1, 0.7, 1, 1], dtype=torch.float64)
    return torch.cat([lengths, shares[:, None]], dim=1)


SHAPES = [((5,), "contiguous"), ((3, 5, 7), "channels_last"), ((2, 2, 113), "contiguous")]


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@dtypes
@exponents
def test_against_the_reference(backend, p, dtype, shape, layout):
    move = moves(ROWS, NOTHING, shape, dtype, layout, p=p, low=-0.9, high=0.95)
    move.scales = mixed_scales(move)
    got, expected = move.run(backend), move.expected()
    assert got.stride() == expected.stride()
    # An ulp of numbers below 1, and what float32 sums and powers leave of offsets of some 0.1.
    allowed = max(torch.finfo(dtype).eps, 2.0**-22)
    torch.testing.assert_close(got, expected, rtol=0, atol=allowed)
    assert (got[2] == 7).all(), "a row without a base is left as it is"


@pytest.mark.parametrize("p", [1.1, 7.0, 30.0])
def test_other_exponents(backend, p):
    move = moves(ROWS, NOTHING, (500,), torch.float64, p=p)
    move.scales = mixed_scales(move)
    torch.testing.assert_close(move.run(backend), move.expected(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("directions_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sharpness", [0.0, 0.5, 1.0, 2.0, 50.0])
def test_directions(backend, sharpness, directions_dtype):
    for p in (1.0, 2.0, INF, 3.0)[: few(backend, 4, 2)]:
        move = moves(
            ROWS, [[0.3, 0, 1e3, 0]] * 7, (200,), p=p, sharpness=sharpness,
            directions_dtype=directions_dtype,
        )  # fmt: skip
        move.directions[0, ::3] = 0
        torch.testing.assert_close(move.run(backend), move.expected(), rtol=0, atol=1e-6)


@exponents
def test_directions_have_norm_one(backend, p):
    zero = torch.zeros(3, 5, 7, dtype=torch.float64)
    for sharpness in (0.0, 0.3, 1.0, 4.0):
        for size in (1e-300, 1e-30, 1.0, 1e300):
            g = size * random(zero.shape, torch.float64)
            u = one(p, zero, zero, 10.0, 2.0, g, sharpness=sharpness).run(backend)
            assert norm(u, p) == pytest.approx(2.0, rel=1e-6)
            assert torch.equal(u[0].sign(), g.sign())
            if sharpness == 1:
                torch.testing.assert_close(
                    u[0], 2 * g / size / norm(g / size, p), rtol=1e-6, atol=0
                )
            if sharpness == 0:
                assert u.abs().max() - u.abs().min() < 1e-12


def test_float32_steps_along_gradients_of_any_size(backend):
    zero = torch.zeros(64)
    for size in (1e-300, 1e300):
        g = size * random([64], torch.float64)
        u = one(1.0, zero, zero, 10.0, 1.0, g).run(backend)
        torch.testing.assert_close(u[0].double(), g / size / norm(g / size, 1.0), rtol=1e-6, atol=0)


def test_larger_sharpness_is_sparser(backend):
    zero, g = torch.zeros(100), random([100])
    largest = [
        one(1.0, zero, zero, 10.0, 1.0, g, sharpness=s).run(backend).abs().max().item()
        for s in (0.0, 0.5, 1.0, 2.0, 10.0, 1e6)
    ]
    assert largest == sorted(largest)
    assert largest[0] == pytest.approx(0.01)
    assert largest[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -INF])
@exponents
def test_no_direction(backend, p, bad):
    base = random([40])
    g = torch.zeros(40) if bad == 0 else random([40], seed=1)
    g[7] = bad
    for sharpness in (0.0, 1.0, 3.0):
        move = one(p, base, base, 1.0, 0.5, g, sharpness=sharpness)
        assert torch.equal(move.run(backend)[0], base)


# --- Noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@dtypes
@exponents
def test_noise_is_sample_lp_ball(backend, p, dtype, shape, layout):
    center = random((1, *shape), dtype, layout).to(backend.device)
    for first in (0, 2**32 - 2, 5 * 2**32 + 7):
        n = few(backend, 8, 2)
        samples = random((n, *shape), dtype, layout).to(backend.device)
        out = samples.clone()
        backend.ops.sample_lp_ball(samples, center[0], p, 0.25, 3, 8, first, -0.5, 0.75)
        rows = torch.tensor([[0, -1, 0, 8, first + k] for k in range(n)], device=backend.device)
        scales = torch.tensor([[0, 0.25, 0.25, 0]] * n, dtype=torch.float64, device=backend.device)
        backend.ops.move_in_lp_ball(
            out, center, None, center, rows, scales, p, 1.0, 3, -0.5, 0.75
        )  # fmt: skip
        assert torch.equal(out, samples)


def test_noise_of_many_elements_stays(backend):
    """In many dimensions nearly all of a ball lies at its surface: none of it is projected."""
    numel = few(backend, 150528, 20000)
    center = torch.zeros(1, numel, device=backend.device)
    for p in EXPONENTS:
        samples, out = (torch.zeros(2, numel, device=backend.device) for _ in range(2))
        backend.ops.sample_lp_ball(samples, center[0], p, 0.01, 3, 8, 0, -INF, INF)
        rows = torch.tensor([[0, -1, 0, 8, k] for k in range(2)], device=backend.device)
        scales = torch.tensor([[0, 0.01, 0.01, 0]] * 2, dtype=torch.float64, device=backend.device)
        backend.ops.move_in_lp_ball(out, center, None, center, rows, scales, p, 1.0, 3, -INF, INF)
        assert torch.equal(out, samples)


def signs(backend, p: float, numel: int, share: float, n: int) -> Tensor:
    """Move n rows of zeros by signs of p-norm 0.25 on average, in a ball that holds them all."""
    zero, out = (torch.zeros(k, numel, device=backend.device) for k in (1, n))
    rows = torch.tensor([[0, -1, 0, 8, k] for k in range(n)], device=backend.device)
    scales = torch.tensor([[0, 0.25, 1e3, share]] * n, dtype=torch.float64, device=backend.device)
    backend.ops.move_in_lp_ball(out, zero, None, zero, rows, scales, p, 1.0, 3, -INF, INF)
    return out.cpu()


@exponents
def test_signs_of_a_share(backend, p):
    """As many as were asked for, half of either sign, anywhere, apart from each other."""
    numel, n = 1001, few(backend, 200, 10)
    for share in (0.003, 0.1, 0.5, 1.0):
        got = signs(backend, p, numel, share, n)
        size = 0.25 if p == INF else 0.25 / (share * numel) ** (1 / p)
        there = got != 0
        torch.testing.assert_close(got[there].abs(), torch.full_like(got[there], size))
        deviation = math.sqrt(share * (1 - share) * numel * n)
        assert abs(there.sum().item() - share * numel * n) <= 4 * deviation
        signs_sum = got.sign().sum().item()
        assert abs(signs_sum) <= 4 * math.sqrt(share * numel * n)
        # Neighbours, and an element in two samples, are both there as often as chance has it.
        for one_, other in ((there[:, 1:], there[:, :-1]), (there[1:], there[:-1])):
            both, cases = (one_ & other).sum().item(), one_.numel()
            assert abs(both - share**2 * cases) <= 5 * math.sqrt(share**2 * cases) + 1


def test_an_element_is_there_for_larger_shares_too(backend):
    """The words of a sample do not depend on the share."""
    few_, more = (signs(backend, INF, 5000, share, 2) for share in (0.01, 0.2))
    there = few_ != 0
    assert torch.equal(few_[there], more[there])


# --- Projections -------------------------------------------------------------------------------


@dtypes
@exponents
def test_what_is_inside_stays(backend, p, dtype):
    center, base = random((3, 4, 5), dtype), random((3, 4, 5), dtype, seed=1)
    distance = norm(base.double() - center.double(), p)
    for factor in (1.0, 1.0 + 1e-5, 3.0, 1e30, INF):
        assert torch.equal(one(p, base, center, distance * factor).run(backend)[0], base)


@exponents
def test_results_lie_in_the_ball(backend, p):
    for seed in range(few(backend, 10, 2)):
        for radius in (1e-3, 0.1, 1.0, 4.0):
            base, zero = random([300], seed=seed), torch.zeros(300)
            distance = norm(base, p)
            got = one(p, base, zero, radius * distance).run(backend)
            assert norm(got, p) <= min(radius, 1) * distance * (1 + 2e-6)
            # Once there, a point is not moved again.
            again = one(p, got[0], zero, radius * distance).run(backend)
            torch.testing.assert_close(again, got, rtol=2e-6, atol=0)
            # Towards the center, in each coordinate.
            assert (got[0].abs() <= base.abs() * (1 + 1e-6)).all()
            assert (got[0] * base >= 0).all()


@exponents
@pytest.mark.parametrize("seed", range(3))
def test_no_point_of_the_ball_is_nearer(backend, p, seed):
    """The largest <v - s, z - s> over the z of the ball is R |v - s|_q - <v - s, s>: zero."""
    v, zero = random([50], torch.float64, seed=seed), torch.zeros(50, dtype=torch.float64)
    for factor in (0.9, 0.5, 0.05):
        radius = factor * norm(v, p)
        s = one(p, v, zero, radius).run(backend)[0]
        dual = 1.0 if p == INF else (INF if p == 1 else p / (p - 1))
        gap = radius * norm(v - s, dual) - torch.dot(v - s, s).item()
        assert abs(gap) <= 1e-5 * radius * norm(v - s, dual)


def test_against_a_general_optimiser(backend):
    v, p = random([6], torch.float64), 3.0
    radius = 0.4 * norm(v, p)
    found = optimize.minimize(
        lambda z: np.sum((z - v.numpy()) ** 2), np.full(6, 1e-3), method="SLSQP",
        constraints={"type": "ineq", "fun": lambda z: radius**p - np.sum(np.abs(z) ** p)},
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    got = one(p, v, torch.zeros(6, dtype=torch.float64), radius).run(backend)[0]
    torch.testing.assert_close(got, torch.from_numpy(found.x), rtol=1e-4, atol=1e-5)


@exponents
def test_extreme_offsets(backend, p):
    zero = torch.zeros(40)
    v = random([40])
    for size, radius in ((1e-30, 1e-31), (1e30, 1e29), (1.0, 0.0), (1.0, 1e-6)):
        got = one(p, v * size, zero, radius).run(backend)[0]
        expected = reference.project(v * size, p, radius)
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5 * radius)
    equal, one_large = torch.full((40,), 0.5), torch.zeros(40)
    one_large[3] = -8.0
    for odd in (equal, one_large):
        got = one(p, odd, zero, 1.0).run(backend)[0]
        torch.testing.assert_close(got.double(), reference.project(odd, p, 1.0), rtol=1e-5, atol=0)


@exponents
def test_a_nan_is_kept_and_moves_nothing_else(backend, p):
    base = random([40])
    base[3] = NAN
    got = one(p, base, torch.zeros(40), 1e-3).run(backend)[0]
    torch.testing.assert_close(got, base, rtol=0, atol=0, equal_nan=True)


# --- Rows and buffers --------------------------------------------------------------------------


def test_sentinels_around_what_is_written(backend):
    move = moves(ROWS, NOTHING)
    move.scales = mixed_scales(move)
    expected = move.run(backend)
    whole = torch.full((9, 2, 3, 5, 7), 3.0, device=backend.device)
    args = [a.to(backend.device) if isinstance(a, Tensor) else a for a in move.arguments()]
    backend.ops.move_in_lp_ball(whole[1:8, 0], *args[1:])
    assert torch.equal(whole[[1, 2, 4, 5, 6, 7], 0].cpu(), expected[[0, 1, 3, 4, 5, 6]])
    assert (whole[:, 1] == 3).all()
    assert (whole[[0, 3, 8], 0] == 3).all()


@exponents
def test_the_same_bits_for_any_number_of_rows_and_threads(backend, p):
    move = moves(ROWS, NOTHING, (2100,), p=p, sharpness=1.5)
    move.scales = mixed_scales(move)
    runs, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3)[: few(backend, 3, 1)]:
            torch.set_num_threads(count)
            runs.append(move.run(backend))
            out, rows, scales = move.out, move.rows, move.scales
            parts = []
            for row in range(7):
                part = slice(row, row + 1)
                move.out, move.rows, move.scales = out[part], rows[part], scales[part]
                parts.append(move.run(backend))
            move.out, move.rows, move.scales = out, rows, scales
            runs.append(torch.cat(parts))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(run, runs[0]) for run in runs)


def test_nothing_to_do(backend):
    none = moves([], [])
    assert none.run(backend).shape == (0, 3, 5, 7)
    moves(ROWS[:1], [[1.0] * 4], shape=(2, 0)).run(backend)
    skipped = moves([[-1, 5, 5, 0, 0]], [[NAN, NAN, -1.0, 2.0]])
    assert (skipped.run(backend) == 7).all()


# --- lp_distances ------------------------------------------------------------------------------


def distances(backend, x: Tensor, centers: Tensor, index, p: float) -> Tensor:
    out = torch.full((len(x),), -3.0, dtype=torch.float64, device=backend.device)
    where = torch.tensor(index, dtype=LONG, device=backend.device)
    backend.ops.lp_distances(x.to(backend.device), centers.to(backend.device), where, p, out)
    return out.cpu()


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@dtypes
@exponents
def test_distances(backend, p, dtype, shape, layout):
    x, centers = random((5, *shape), dtype, layout, 1), random((3, *shape), dtype, layout, 2)
    index = [2, 0, -1, 2, 1]
    expected = torch.full((5,), -3.0, dtype=torch.float64)
    reference.lp_distances(x, centers, torch.tensor(index), p, expected)
    got = distances(backend, x, centers, index, p)
    rtol = 1e-13 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(got, expected, rtol=rtol, atol=0)
    assert got[2] == -3


@exponents
def test_distances_are_norms_of_the_difference(backend, p):
    x, centers = random((2, 3001), seed=1).to(backend.device), random((1, 3001)).to(backend.device)
    for size in (1e-30, 1.0, 1e30):
        maxima = torch.zeros(1, 2, dtype=torch.float64, device=backend.device)
        difference = x * size - centers * size
        backend.ops.grad_norm_max(difference[:, None], [p], maxima)
        got = distances(backend, x * size, centers * size, [0, 0], p)
        torch.testing.assert_close(got, maxima[0].cpu(), rtol=1e-6, atol=0)
    x[1, 77] = NAN
    x[0, 5] = INF
    got = distances(backend, x, centers, [0, 0], p)
    assert got[0] == INF
    assert math.isnan(got[1])
    assert (distances(backend, centers, centers, [0], p) == 0).all()


def test_no_distances(backend):
    assert len(distances(backend, random((0, 5)), random((2, 5)), [], 2.0)) == 0
    assert distances(backend, random((1, 2, 0)), random((1, 2, 0)), [0], 2.0).tolist() == [0.0]
