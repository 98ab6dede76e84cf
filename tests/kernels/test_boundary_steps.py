"""Steps to the boundary of a linear margin, on every backend against plain NumPy and optimisers."""

import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from op_arguments import (
    DTYPES,
    INF,
    LANES,
    LONG,
    NAN,
    BoundaryStep,
    boundary_steps,
    dtypes,
    few,
    random,
    refuses,
)
from scipy import optimize
from torch import Tensor

EXPONENTS = [1.0, 1.5, 2.0, 3.0, INF]

exponents = pytest.mark.parametrize("p", EXPONENTS)
#: Wide, of one side, tight about the centers, and tighter than they are.
BOXES = [(-INF, INF), (-1.0, INF), (-1.5, 1.5), (-0.6, 0.7)]

SHAPES = [((5,), "contiguous"), ((3, 5, 7), "channels_last"), ((2, 2, 113), "contiguous")]


def one(
    p: float, center: Tensor, g: Tensor, margin: float, low=-INF, high=INF, x=None,
    beyond=1.0, share=1.0,
) -> BoundaryStep:  # fmt: skip
    """One lane; from the center itself where no point is given."""
    x = center if x is None else x
    return BoundaryStep(
        out=torch.full_like(x[None], 7.0), points=x[None], gradients=g[None], centers=center[None],
        index=torch.tensor([0]),
        scales=torch.tensor([[margin, beyond, share]], dtype=torch.float64),
        p=p, low=low, high=high,
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@dtypes
@exponents
def test_against_the_reference(backend, p, dtype, shape, layout):
    for low, high in BOXES[few(backend, 0, 3) :]:
        step = boundary_steps(shape, dtype, layout, p=p, low=low, high=high)
        got, expected = step.run(backend), step.expected()
        assert got.stride() == expected.stride()
        # For p = 1 one element makes up for the rounding of all that are filled.
        ulps = 1e-13 if dtype == torch.float64 else (2.0**-18 if p == 1 else 2.0**-21)
        allowed = max(torch.finfo(dtype).eps, ulps)
        torch.testing.assert_close(got, expected, rtol=allowed, atol=allowed)
        assert (got[2] == 7).all(), "a lane without a center is left as it is"


@pytest.mark.parametrize("p", [1.2, 7.0, 30.0])
def test_other_exponents(backend, p):
    step = boundary_steps((500,), torch.float64, p=p, low=-1.2, high=1.2)
    torch.testing.assert_close(step.run(backend), step.expected(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradients_dtype", DTYPES, ids=str)
@exponents
def test_gradients_of_any_type_and_size(backend, p, gradients_dtype):
    sizes = {torch.float64: (1e-300, 1e300), torch.float32: (1e-30, 1e30)}
    for size in (1.0, *sizes.get(gradients_dtype, ()))[few(backend, 0, -1) :]:
        step = boundary_steps(
            (200,), gradients_dtype=gradients_dtype, size=size, p=p, low=-1.1, high=1.1,
        )  # fmt: skip
        step.gradients[:, ::3] = 0
        torch.testing.assert_close(step.run(backend), step.expected(), rtol=0, atol=2e-6)


@exponents
def test_ties(backend, p):
    for dtype in (torch.float32, torch.float64)[: few(backend, 2, 1)]:
        step = boundary_steps((200,), dtype, p=p, low=-1.1, high=1.1)
        step.gradients.copy_((step.gradients * 3).round() / 3)
        step.scales[:, 0] = torch.tensor([1.0, 3.0, 0.0, 10.0, 20.0, 40.0, 60.0])
        torch.testing.assert_close(step.run(backend), step.expected(), rtol=0, atol=1e-6)
    # Without a box: the largest alone, and both of them alike.
    g = torch.tensor([1.0, -2.0, 0.5, 2.0, 0.0])
    got = one(p, torch.zeros(5), g, 6.0).run(backend)[0]
    assert got[1] == -got[3] > 0
    if p == 1:
        assert got.tolist() == [0.0, 1.5, 0.0, -1.5, 0.0]


# --- Optimality --------------------------------------------------------------------------------


def problem(seed: int, n: int = 12):
    """A center, a gradient, a box, and falls that it can give: little, half and nearly all."""
    draw = np.random.default_rng(seed)
    center, g = draw.uniform(-0.8, 0.9, n), draw.normal(size=n)
    g[n // 2] = 0.0
    room = np.where(g > 0, center + 1, 1 - center)
    return center, g, [share * (np.abs(g) @ room) for share in (0.05, 0.5, 0.95)]


def taken(backend, p: float, center, g, fall: float):
    """The step d, of a lane at its center."""
    step = one(p, torch.from_numpy(center), torch.from_numpy(g), fall, -1.0, 1.0)
    return step.run(backend)[0].numpy() - center


@exponents
@pytest.mark.parametrize("seed", range(4))
def test_the_margin_vanishes_within_the_box(backend, p, seed):
    center, g, falls = problem(seed)
    for fall in falls:
        d = taken(backend, p, center, g, fall)
        assert g @ d == pytest.approx(-fall, rel=1e-12)
        assert (np.abs(center + d) <= 1).all()
        assert d[6] == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_least_sum_against_a_linear_program(backend, seed):
    center, g, falls = problem(seed)
    n = len(g)
    for fall in falls:
        # d = u - v with u and v at least 0.
        found = optimize.linprog(
            np.ones(2 * n), A_eq=np.concatenate([g, -g])[None], b_eq=[-fall],
            bounds=[(0, 1 - c) for c in center] + [(0, c + 1) for c in center],
        )  # fmt: skip
        assert np.abs(taken(backend, 1.0, center, g, fall)).sum() == pytest.approx(found.fun)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_largest_against_a_linear_program(backend, seed):
    center, g, falls = problem(seed)
    n = len(g)
    for fall in falls:
        # |d_i| <= t, for the least t.
        identity, ones = np.eye(n), np.ones((n, 1))
        found = optimize.linprog(
            np.eye(n + 1)[n], A_eq=np.append(g, 0.0)[None], b_eq=[-fall],
            A_ub=np.block([[identity, -ones], [-identity, -ones]]), b_ub=np.zeros(2 * n),
            bounds=[(-1 - c, 1 - c) for c in center] + [(0, None)],
        )  # fmt: skip
        assert np.abs(taken(backend, INF, center, g, fall)).max() == pytest.approx(found.fun)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("seed", range(2))
def test_the_least_norm_against_a_general_optimiser(backend, p, seed):
    center, g, falls = problem(seed, 6)
    for fall in falls:
        found = optimize.minimize(
            lambda d: np.sum(np.abs(d) ** p), -0.1 * np.sign(g), method="SLSQP",
            jac=lambda d: p * np.sign(d) * np.abs(d) ** (p - 1),
            constraints={"type": "eq", "fun": lambda d, fall=fall: g @ d + fall},
            bounds=[(-1 - c, 1 - c) for c in center], options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        d = taken(backend, p, center, g, fall)
        np.testing.assert_allclose(d, found.x, atol=1e-4)
        # It ends short of the boundary by some 1e-9: as far as it had to go.
        reached = found.x * (fall / -(g @ found.x))
        assert np.sum(np.abs(d) ** p) <= np.sum(np.abs(reached) ** p) * (1 + 1e-9)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_karush_kuhn_and_tucker(backend, p):
    """Free elements share a multiplier, |d|^(p-1) / |g|; those at the box's ends want more."""
    center, g = random([3000], torch.float64), random([3000], torch.float64, seed=1)
    for fall in (20.0, 500.0):
        d = one(p, center, g, fall, -1.0, 1.0).run(backend)[0] - center
        end = torch.where(g > 0, -1.0, 1.0)
        ratio = d.abs() ** (p - 1) / g.abs()
        free = (center + d - end).abs() > 1e-9
        torch.testing.assert_close(
            ratio[free], ratio[free].mean().expand(int(free.sum())), rtol=1e-9, atol=0
        )
        assert (ratio[~free] <= ratio[free].mean() * (1 + 1e-9)).all()
        assert torch.dot(g, d).item() == pytest.approx(-fall)


@exponents
def test_elements_whose_rooms_are_of_all_sizes(backend, p):
    """Many rounds, each of which fills few."""
    n = 400
    g = torch.ones(n, dtype=torch.float64) if p > 1 else random([n], torch.float64)
    center = -1 + torch.logspace(-12, 0, n, dtype=torch.float64)
    center = torch.where(g > 0, center, -center)
    room = 1 - center.abs()
    for share in (1e-9, 1e-3, 0.5, 1 - 1e-9):
        fall = share * torch.dot(room, g.abs()).item()
        step = one(p, center, g, fall, -1.0, 1.0)
        got = step.run(backend)
        # For p = 1 one element makes up for the rounding of all that are filled.
        torch.testing.assert_close(got, step.expected(), rtol=0, atol=1e-11 if p == 1 else 1e-14)
        assert torch.dot(g, got[0] - center).item() == pytest.approx(-fall, rel=1e-6)


# --- From where, and how far -------------------------------------------------------------------


@exponents
def test_it_is_nearest_to_the_center_and_not_to_the_point(backend, p):
    """Where a margin is linear, every point of a lane leads to the same one."""
    center, g = random([50], torch.float64), random([50], torch.float64, seed=1)
    ends = []
    for seed in (2, 3):
        x = random([50], torch.float64, seed=seed)
        margin = 0.7 + torch.dot(g, x - center).item()
        ends.append(one(p, center, g, margin, -2.0, 2.0, x).run(backend)[0])
        assert torch.dot(g, ends[-1] - x).item() == pytest.approx(-margin)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-12)


@exponents
def test_beyond_and_share(backend, p):
    center, g = random([50], torch.float64), random([50], torch.float64, seed=1)
    x = center + 0.01 * random([50], torch.float64, seed=2)
    whole = one(p, center, g, 0.4, x=x).run(backend)[0]
    half = one(p, center, g, 0.4, x=x, share=0.5).run(backend)[0]
    torch.testing.assert_close(half, (x + whole) / 2, rtol=0, atol=1e-15)
    assert torch.equal(one(p, center, g, 0.4, x=x, share=0.0).run(backend)[0], x)
    farther = one(p, center, g, 0.4, x=x, beyond=2.0).run(backend)[0]
    fall = torch.dot(g, center - whole)
    assert torch.dot(g, center - farther).item() == pytest.approx(2 * fall.item())


@exponents
def test_where_the_center_is_beyond_the_boundary_it_is_the_end(backend, p):
    center, g = random([50]), random([50], seed=1)
    x = random([50], seed=2)
    for margin in (-3.0, -1e30):
        margin += torch.dot(g, x - center).item()
        assert torch.equal(one(p, center, g, margin, -2.0, 2.0, x).run(backend)[0], center)


@exponents
@dtypes
def test_where_the_box_is_too_small_all_of_it_is_used(backend, p, dtype):
    center, g = random([50], dtype), random([50], dtype, seed=1)
    g[7] = 0
    got = one(p, center, g, 1e6, -1.0, 1.0).run(backend)[0]
    assert torch.equal(got, torch.where(g == 0, center, -g.sign()))


@exponents
def test_a_center_outside_the_box_does_not_go_on_outwards(backend, p):
    center = torch.tensor([-1.5, 1.5, -1.5, 1.5, 0.0], dtype=torch.float64)
    g = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    for margin in (0.1, 1.0, 3.0, 100.0):
        step = one(p, center, g, margin, -1.0, 1.0, share=0.5)
        torch.testing.assert_close(step.run(backend), step.expected(), rtol=0, atol=1e-15)
        # The first and the fourth have no room; x is the center, and only clipped.
        assert step.run(backend)[0, [0, 3]].tolist() == [-1.0, 1.0]


@exponents
def test_an_open_side_takes_it_all(backend, p):
    """Elements that have a bound fill up, and one that has none brings the rest."""
    center, g = torch.zeros(40, dtype=torch.float64), torch.ones(40, dtype=torch.float64)
    g[5] = -1e-3
    step = one(p, center, g, 1000.0, -1.0, INF)
    got = step.run(backend)[0]
    assert got[5].item() == pytest.approx(961e3)
    assert (torch.cat([got[:5], got[6:]]) == -1).all()


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -INF])
@exponents
def test_no_way_down(backend, p, bad):
    """Without a gradient, and with numbers that are not finite, a lane stays at its point."""
    x, center = random([40]), random([40], seed=1)
    g = torch.zeros(40) if bad == 0 else random([40], seed=2)
    g[7] = bad
    assert torch.equal(one(p, center, g, 0.5, -2.0, 2.0, x).run(backend)[0], x)
    good = random([40], seed=2)
    if bad != 0:
        assert torch.equal(one(p, center, good, bad, -2.0, 2.0, x).run(backend)[0], x)
        assert torch.equal(one(p, center, good, 0.5, x=x, beyond=bad).run(backend)[0], x)
        odd = x.clone()
        odd[3] = bad
        for arguments in ((center, odd), (odd, x)):
            got = one(p, arguments[0], good, 0.5, x=arguments[1]).run(backend)[0]
            torch.testing.assert_close(got, arguments[1], rtol=0, atol=0, equal_nan=True)


# --- Rows and buffers --------------------------------------------------------------------------


def test_sentinels_around_what_is_written(backend):
    step = boundary_steps(low=-1.0, high=1.0)
    expected = step.run(backend)
    whole = torch.full((9, 2, 3, 5, 7), 3.0, device=backend.device)
    args = [a.to(backend.device) if isinstance(a, Tensor) else a for a in step.arguments()]
    backend.ops.step_to_boundary(whole[1:8, 0], *args[1:])
    assert torch.equal(whole[[1, 2, 4, 5, 6, 7], 0].cpu(), expected[[0, 1, 3, 4, 5, 6]])
    assert (whole[:, 1] == 3).all()
    assert (whole[[0, 3, 8], 0] == 3).all()


@exponents
def test_the_same_bits_for_any_number_of_lanes_and_threads(backend, p):
    step = boundary_steps((2100,), p=p, low=-1.1, high=1.1)
    threads, runs = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3)[: few(backend, 3, 1)]:
            torch.set_num_threads(count)
            runs.append(step.run(backend))
            parts = []
            for lane in range(len(LANES)):
                part = slice(lane, lane + 1)
                of_lane = [
                    getattr(step, name)[part]
                    for name in ("out", "points", "gradients", "index", "scales")
                ]
                alone = BoundaryStep(
                    *of_lane[:3], step.centers, *of_lane[3:], p, step.low, step.high
                )
                parts.append(alone.run(backend))
            runs.append(torch.cat(parts))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(run, runs[0]) for run in runs)


def test_nothing_to_do(backend):
    step = boundary_steps()
    none = BoundaryStep(*(getattr(step, f.name)[:0] for f in fields(step)[:6]))
    assert none.run(backend).shape == (0, 3, 5, 7)
    boundary_steps((2, 0)).run(backend)
    step.index[:], step.scales[:] = -1, NAN
    assert (step.run(backend) == 7).all()


def test_opcheck():
    op = torch.ops.clever_ext.step_to_boundary.default
    for dtype, gradients_dtype in ((torch.float64, None), (torch.float16, torch.float32)):
        step = boundary_steps((5,), dtype, gradients_dtype=gradients_dtype, low=-1.0, high=1.0)
        torch.library.opcheck(op, tuple(step.arguments()))


LAYOUT = "must be contiguous or channels_last; call .contiguous() first"
LAST = torch.zeros(7, 5, 7, 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "p must be at least 1 (or inf), got 0.5"),
        ({"p": NAN}, "p must be at least 1 (or inf), got nan"),
        ({"low": 1.0, "high": 1.0}, "clip must have low < high, got 1 and 1"),
        ({"out": torch.zeros(1)}, "out must be [B, *shape], got [1]"),
        ({"index": torch.zeros(6, dtype=LONG)}, "index must have shape [7], got [6]"),
        ({"index": torch.zeros(7)}, "index must be int64, got scalar type"),
        ({"index": torch.zeros(14, dtype=LONG)[::2]}, "index must be contiguous"),
        ({"scales": torch.zeros(7, 3)}, "scales must be float64, got scalar type"),
        ({"scales": torch.zeros(7, 4).double()}, "scales must have shape [7, 3], got [7, 4]"),
        ({"points": torch.zeros(7, 105)}, "points must be [n, *shape], got [7, 105]"),
        (
            {"points": torch.zeros(7, 3, 7, 5)},
            "points of shape [7, 3, 7, 5] does not hold points of the shape in [7, 3, 5, 7]",
        ),
        (
            {"gradients": torch.zeros(7, 3, 7, 5)},
            "gradients of shape [7, 3, 7, 5] does not hold points of the shape in [7, 3, 5, 7]",
        ),
        (
            {"points": torch.zeros(6, 3, 5, 7)},
            "points and gradients must have a row for each of out (7), got 6 and 7",
        ),
        (
            {"gradients": torch.zeros(8, 3, 5, 7)},
            "points and gradients must have a row for each of out (7), got 7 and 8",
        ),
        ({"points": torch.zeros(7, 3, 5, 7).half()}, "out, points and centers must have the same"),
        ({"centers": torch.zeros(7, 3, 5, 7).half()}, "out, points and centers must have the same"),
        ({"gradients": torch.zeros(7, 3, 5, 7).long()}, "gradients must be float64, float32,"),
        (
            {"gradients": torch.zeros(7, 3, 7, 5).transpose(2, 3)},
            "the points of gradients " + LAYOUT,
        ),
        ({"points": LAST}, "points must have the memory format of out"),
        ({"gradients": LAST}, "gradients must have the memory format of out"),
        ({"centers": LAST}, "centers must have the memory format of out"),
    ],
    ids=str,
)
def test_refusals(backend, change, message):
    step = boundary_steps()
    arguments = {field.name: getattr(step, field.name) for field in fields(step)} | change
    refuses(backend, "step_to_boundary", arguments, message)


def test_lanes_that_overlap_are_refused(backend):
    step = boundary_steps()
    args = [a.to(backend.device) if isinstance(a, Tensor) else a for a in step.arguments()]
    with pytest.raises(RuntimeError, match="the rows of out must not overlap"):
        backend.ops.step_to_boundary(args[0][:1].expand(7, 3, 5, 7), *args[1:])


# On a GPU these stop the kernel, and with it the process.
@pytest.mark.parametrize(
    ("name", "value"),
    [("index", 3), ("index", -2), ("index", 2**62), ("share", -1e-9), ("share", 1.01),
     ("share", NAN)],
)  # fmt: skip
def test_a_center_or_a_share_that_is_none(name, value):
    step = boundary_steps()
    if name == "index":
        step.index[1] = value
    else:
        step.scales[1, 2] = value
    message = "step_to_boundary: lane 1 names a center that is not there (of 3), or its share is"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        torch.ops.clever_ext.step_to_boundary(*step.arguments())
    assert (step.out == 7).all()
