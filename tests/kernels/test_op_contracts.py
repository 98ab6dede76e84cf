"""The ops' contracts: how they are registered, and what they refuse without writing anything."""

import re
from dataclasses import fields

import pytest
import torch
from op_arguments import DTYPES, INF, LONG, NAN, ROWS, moves, points, randn, random, refuses, start
from torch import Tensor

from clever_ext.errors import CleverError
from clever_ext.kernels import ops
from clever_ext.kernels.norms import grad_norm_max


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


def test_opcheck_moves_and_distances():
    op = torch.ops.clever_ext.move_in_lp_ball.default
    for dtype in DTYPES:
        move = moves(ROWS, [[0.1, 0.1, 0.1, 0.5]] * 7, dtype=dtype, p=1.5)
        torch.library.opcheck(op, tuple(move.arguments()))
    move.directions, move.rows = None, move.rows * torch.tensor([1, 0, 1, 1, 1])
    move.rows[:, 1] = -1
    torch.library.opcheck(op, tuple(move.arguments()))
    args = (random((2, 5)), random((3, 5)), torch.tensor([2, -1]), 3.0, torch.zeros(2).double())
    torch.library.opcheck(torch.ops.clever_ext.lp_distances.default, args)


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def uncontiguous(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]


def nine_dims(*shape: int) -> Tensor:
    """[*shape, 2, 2, ...]: nine dimensions that no two of which merge."""
    return torch.zeros(*shape, *[3] * 9)[(..., *[slice(2)] * 9)]


LAYOUT = "must be contiguous or channels_last; call .contiguous() first"
FLOATS = "must be float64, float32, float16 or bfloat16, got scalar type"
TRANSPOSED = torch.zeros(3, 3, 7, 5).transpose(2, 3)
LAST = torch.zeros(3, 5, 7, 3).permute(0, 3, 1, 2)


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
    refuses(backend, "sample_lp_ball", arguments, message)


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
    refuses(backend, "grad_norm_max", arguments, message)


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
    refuses(backend, "reduce_and_resample", arguments, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "p must be at least 1 (or inf), got 0.5"),
        ({"sharpness": -1.0}, "sharpness must be finite and not negative, got -1"),
        ({"sharpness": NAN}, "sharpness must be finite and not negative, got nan"),
        ({"sharpness": INF}, "sharpness must be finite and not negative, got inf"),
        ({"low": 1.0, "high": 1.0}, "clip must have low < high, got 1 and 1"),
        ({"out": torch.zeros(1)}, "out must be [B, *shape], got [1]"),
        ({"rows": torch.zeros(1, 4, dtype=LONG)}, "rows must have shape [1, 5], got [1, 4]"),
        ({"rows": torch.zeros(1, 5)}, "rows must be int64, got scalar type"),
        ({"scales": torch.zeros(1, 4)}, "scales must be float64, got scalar type"),
        ({"scales": torch.zeros(3).double()}, "scales must have shape [1, 4], got [3]"),
        ({"rows": torch.zeros(1, 10, dtype=LONG)[:, ::2]}, "rows must be contiguous"),
        ({"bases": torch.zeros(4, 105)}, "bases must be [n, *shape], got [4, 105]"),
        (
            {"bases": torch.zeros(4, 3, 7, 5)},
            "bases of shape [4, 3, 7, 5] does not hold points of the shape in [1, 3, 5, 7]",
        ),
        ({"bases": torch.zeros(4, 3, 5, 7).half()}, "out, bases and centers must have"),
        ({"centers": torch.zeros(4, 3, 5, 7).double()}, "out, bases and centers must have"),
        ({"directions": torch.zeros(4, 3, 5, 7).long()}, "directions must be float64, float32,"),
        ({"directions": TRANSPOSED}, "the points of directions " + LAYOUT),
        ({"bases": LAST}, "bases must have the memory format of out"),
        ({"directions": LAST}, "directions must have the memory format of out"),
        ({"centers": LAST}, "centers must have the memory format of out"),
    ],
    ids=str,
)  # fmt: skip
def test_move_in_lp_ball_refuses(backend, change, message):
    move = moves(ROWS[:1], [[0.1, 0.0, 1.0, 0.0]])
    arguments = {field.name: getattr(move, field.name) for field in fields(move)} | change
    refuses(backend, "move_in_lp_ball", arguments, message)


def test_rows_that_overlap_are_refused(backend):
    move = moves(ROWS[:2], [[0.1, 0.0, 1.0, 0.0]] * 2)
    args = [a.to(backend.device) if isinstance(a, Tensor) else a for a in move.arguments()]
    with pytest.raises(RuntimeError, match="the rows of out must not overlap"):
        backend.ops.move_in_lp_ball(args[0][:1].expand(2, 3, 5, 7), *args[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": NAN}, "p must be at least 1 (or inf), got nan"),
        ({"x": torch.zeros(5)}, "x must be [B, *shape], got [5]"),
        ({"x": torch.ones(1, 4).long(), "centers": torch.ones(1, 4).long()}, "x must be float64,"),
        ({"centers": torch.zeros(3, 4).half()}, "x and centers must have the same dtype"),
        ({"centers": torch.zeros(3, 5)}, "centers of shape [3, 5] does not hold points of the"),
        ({"centers": torch.zeros(3, 8)[:, ::2]}, "the points of centers " + LAYOUT),
        ({"x": torch.zeros(1, 3, 5, 7), "centers": LAST}, "centers must have the memory format"),
        ({"index": torch.zeros(2, dtype=LONG)}, "index must have shape [1], got [2]"),
        ({"index": torch.zeros(1)}, "index must be int64, got scalar type"),
        ({"distances": torch.zeros(1)}, "distances must be float64, got scalar type"),
        ({"distances": torch.zeros(1, 1).double()}, "distances must have shape [1], got [1, 1]"),
    ],
    ids=str,
)  # fmt: skip
def test_lp_distances_refuses(backend, change, message):
    arguments = {
        "x": torch.zeros(1, 4), "centers": torch.zeros(3, 4), "index": torch.zeros(1, dtype=LONG),
        "p": 2.0, "distances": torch.zeros(1).double(),
    } | change  # fmt: skip
    refuses(backend, "lp_distances", arguments, message)


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


BAD_ROWS = [(0, 4), (0, -2), (0, 2**62), (1, 3), (1, -2), (2, 3), (2, -1)]


@pytest.mark.parametrize(("column", "value"), BAD_ROWS)
def test_a_point_that_is_not_there(column, value):
    move = moves(ROWS[:2], [[0.1, 0.0, 1.0, 0.0]] * 2)
    move.rows[1, column] = value
    message = "move_in_lp_ball: row 1 names a base, direction or center that is not there (of 4, 3"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        ops.move_in_lp_ball(*move.arguments())
    assert (move.out == 7).all()


@pytest.mark.parametrize(
    ("radius", "share"), [(-1.0, 0), (NAN, 0), (1.0, -1e-9), (1.0, 1.001), (1.0, NAN)]
)
def test_scales_that_are_none(radius, share):
    move = moves(ROWS[:1], [[0.1, 0.0, radius, share]])
    with pytest.raises(RuntimeError, match="or its radius is negative, or its share not within"):
        ops.move_in_lp_ball(*move.arguments())


def test_a_direction_without_directions():
    move = moves(ROWS[:1], [[0.1, 0.0, 1.0, 0.0]], directions=None)
    with pytest.raises(RuntimeError, match=re.escape("that is not there (of 4, 0 and 3)")):
        ops.move_in_lp_ball(*move.arguments())


@pytest.mark.parametrize("index", [3, -2, 2**62])
def test_a_distance_to_a_center_that_is_not_there(index):
    args = (torch.zeros(2, 5), torch.zeros(3, 5), torch.tensor([0, index]), 2.0)
    found = torch.ones(2, dtype=torch.float64)
    message = r"lp_distances: index names a center that centers does not have \(3 centers\)"
    with pytest.raises(RuntimeError, match=message):
        ops.lp_distances(*args, found)
    assert (found == 1).all()


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
