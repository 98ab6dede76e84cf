"""The public function that samples: what comes back, defaults, and bad input."""

import math

import numpy as np
import pytest
import torch
from op_arguments import DTYPES, INF

from clever_ext.errors import CleverError
from clever_ext.kernels.balls import (
    AUTO,
    as_points,
    check_clip,
    check_integer,
    check_norm,
    check_radii,
    check_radius,
    dual_exponent,
    sample_lp_ball,
    trial_radius,
)


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


def test_trial_radii():
    radii = [trial_radius(p) for p in (1, 2, INF)]
    assert radii == pytest.approx([40.0, 2.0, 0.01])
    # log R is linear in 1/p: p = 4 is halfway between 2 and inf, p = 4/3 between 1 and 2.
    assert trial_radius(4) == pytest.approx(math.sqrt(2.0 * 0.01))
    assert trial_radius(4 / 3) == pytest.approx(math.sqrt(40.0 * 2.0))
    radii = [trial_radius(p) for p in (1, 1.01, 1.5, 2, 3, 10, 1e6, INF)]
    assert radii == sorted(radii, reverse=True)


def test_dual_exponents():
    assert (dual_exponent(1), dual_exponent(2), dual_exponent(INF)) == (INF, 2.0, 1.0)
    for p in (1.25, 1.5, 3.0, 10.0):
        assert 1 / p + 1 / dual_exponent(p) == pytest.approx(1)


def test_radius_by_norm():
    assert check_radius({1: 3, INF: 0.1}, 1.0) == 3.0
    assert check_radius({1: 3, INF: 0.1}, INF) == 0.1
    assert check_radii(None, 2.0) == check_radii({2.0: None}, 2.0) == check_radii("auto", 2.0)
    assert check_radii(None, 2.0) == AUTO
    assert check_radius(torch.tensor(0.5), 2.0) == 0.5
    assert check_clip(None) == (-INF, INF)
    assert check_clip([0, 1]) == (0.0, 1.0)
    assert check_norm("linf") == INF
    assert check_integer("n", np.int64(3), 0, 9) == 3


@pytest.mark.parametrize(
    ("names", "p"),
    [
        (("L1", "l1", "l_1", "l-1", 1, "1"), 1.0),
        (("L2", "l2", "L_2", " l2 ", 2, "2.0", np.float32(2)), 2.0),
        (("Linf", "LINF", "l_inf", "L-inf", "inf", "Infinity", INF), INF),
    ],
)
def test_a_norm_has_many_names(names, p):
    assert [check_norm(name) for name in names] == [p] * len(names)


@pytest.mark.parametrize("name", ["l", "", "lp", "l3", "-inf", "_2_", "two", "2l", "linf2"])
def test_other_names_are_no_norm(name):
    with pytest.raises(CleverError, match="is no p-norm"):
        check_norm(name)


NO_NORM = (
    "norm={} is no p-norm. Expected: a number p with 1 <= p <= inf, or one of l1, l2, linf. "
    "Fix: choose 1, 2, inf or another p of at least 1."
)
NO_RADIUS = (
    "radius={} is no radius. Expected: a positive number up to 1e+30, in the units of the images. "
    "Fix: give such a number, or leave it out."
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
