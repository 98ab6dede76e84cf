"""The ops around the model, on every backend against the plain reference."""

import math

import pytest
import torch
from op_arguments import DTYPES, INF, LONG, NAN, NORMS, WritesLast, dtypes, few, refuses
from step_arguments import assigned, flips, seeds
from torch import Tensor

from clever_ext.kernels import ops


def check(backend, of: WritesLast, rtol: float = 0.0) -> list[Tensor]:
    got = of.run(backend)
    for mine, expected in zip(got, of.expected(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=rtol, atol=0, equal_nan=True)
    return got


# --- assign_targets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "n_targets"), [(1, 1), (7, 3), (300, 9), (5, 999), (4, 0), (0, 2)]
)
def test_rows_get_the_class_and_targets_of_their_image(backend, rows, n_targets):
    for seed in range(few(backend, 3, 1)):
        check(backend, assigned(rows, n_targets, seed=seed))


def test_a_row_without_a_sample_gets_image_0(backend):
    some = assigned(3, 2)
    some.slots[:] = torch.tensor([-1, 5, -(2**62)])
    some.center_of_slot[:] = 3
    image, of_class, to = check(backend, some)
    assert image.tolist() == [0, 3, 0]
    assert of_class.tolist() == some.classes[[0, 3, 0]].tolist()
    assert torch.equal(to, some.targets[[0, 3, 0]])


def test_slots_may_be_the_first_of_a_longer_buffer(backend):
    some, longer = assigned(6, 2), torch.full((9,), 99, device=backend.device)
    longer[:6] = some.slots
    on_device = some.copied(backend.device)
    on_device[0] = longer[:6]
    backend.ops.assign_targets(*on_device)
    for mine, expected in zip(on_device[-3:], some.expected(), strict=True):
        assert torch.equal(mine.cpu(), expected)


@pytest.mark.parametrize(("slot", "center"), [(11, 0), (2**62, 0), (10, 4), (10, -1)])
def test_a_slot_or_an_image_that_is_not_there(slot, center):
    some = assigned(3, 2)
    some.slots[1], some.center_of_slot[10] = slot, center
    message = r"assign_targets: row 1 names a slot that is not there, or its slot an image"
    with pytest.raises(RuntimeError, match=message):
        ops.assign_targets(*some.arguments())
    assert (some.row_image == 77).all()


# --- margin_seeds ------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize(
    ("rows", "n_logits", "n_seeds", "others"),
    [(1, 2, 1, 0), (64, 10, 1, 3), (3, 1000, 9, 0), (5, 33, 0, 2), (4, 7, 0, 0), (0, 5, 2, 1)],
)
def test_margins_and_seeds(backend, rows, n_logits, n_seeds, others, dtype):
    check(backend, seeds(rows, n_logits, n_seeds, others, dtype))


@dtypes
def test_the_seeds_are_the_slopes_of_the_margins(backend, dtype):
    some = seeds(6, 8, 3, 2, dtype)
    margins, got = check(backend, some)
    logits = some.logits.clone().requires_grad_()
    of = logits.gather(1, some.classes[:, None]) - logits.gather(1, some.targets)
    assert torch.equal(margins, of.detach())
    for t, seed in enumerate(got):
        (slope,) = torch.autograd.grad(of[:, t].sum(), logits, retain_graph=True)
        assert torch.equal(seed, slope)
    assert (got.sum(dim=2) == 0).all()


STRIDES = {
    "transposed": lambda t: t.T.contiguous().T,
    "every second": lambda t: t.repeat_interleave(2, dim=1)[:, ::2],
    "a part": lambda t: torch.cat([t, t], dim=1)[:, : t.shape[1]],
    "one row": lambda t: t[:1].expand_as(t),
}


@pytest.mark.parametrize("kind", STRIDES)
def test_any_strides(backend, kind):
    some = seeds(5, 9, 2, 1)
    some.logits, some.targets = (STRIDES[kind](t) for t in (some.logits, some.targets))
    arguments = []
    for tensor in some.arguments():  # moved with its strides, which a copy would lose
        base = tensor.as_strided((tensor.untyped_storage().size() // tensor.itemsize,), (1,), 0)
        moved = base.to(backend.device, copy=True)
        arguments.append(moved.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()))
    backend.ops.margin_seeds(*arguments)
    for mine, expected in zip(arguments[-2:], some.expected(), strict=True):
        assert torch.equal(mine.cpu(), expected)


@dtypes
def test_margins_of_what_is_not_finite(backend, dtype):
    values = [NAN, INF, -INF, 0.0, -0.0, 1.0, torch.finfo(dtype).max, torch.finfo(dtype).tiny / 4]
    some = seeds(64, 8, 1, dtype=dtype)
    some.logits[:] = torch.tensor(values, dtype=torch.float64).to(dtype)
    some.classes[:] = torch.arange(8).repeat_interleave(8)
    some.targets[:, 0] = torch.arange(8).repeat(8)
    check(backend, some)


@pytest.mark.parametrize("value", [-1, 6, 2**32, 2**62])
@pytest.mark.parametrize("name", ["classes", "targets"])
def test_a_logit_that_is_not_there(name, value):
    some = seeds(4, 6, 1, 1)
    getattr(some, name)[-1] = value
    message = r"margin_seeds: row 3 names a class or a target that logits does not have \(6 logits"
    with pytest.raises(RuntimeError, match=message):
        ops.margin_seeds(*some.arguments())
    assert (some.margins == 7).all()
    assert (some.seeds == 7).all()


# --- note_flips --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@dtypes
def test_the_nearest_flips(backend, dtype, layout, p):
    for seed in range(few(backend, 3, 1)):
        check(backend, flips(p=p, dtype=dtype, layout=layout, seed=seed), rtol=1e-5)


@pytest.mark.parametrize("p", NORMS)
def test_the_distances_are_those_of_lp_distances(backend, p):
    for dtype in DTYPES[: few(backend, 4, 2)]:
        some = flips(1, (3, 40, 30), 1, p=p, dtype=dtype)
        some.margins[:], some.nearest_flip[:] = -1, INF
        (nearest,) = some.run(backend)
        on_device = [t.to(backend.device) for t in (some.x, some.centers, some.row_image)]
        distance = torch.zeros(1, dtype=torch.float64, device=backend.device)
        backend.ops.lp_distances(*on_device, p, distance)
        # On a GPU the two add up in orders of their own.
        allowed = 0.0 if backend.name == "cpu" else 1e-6
        found = nearest[0, some.row_image].item()
        assert found > 0
        assert found == pytest.approx(distance.item(), rel=allowed, abs=0)


@dtypes
def test_margins_of_any_type_and_strides(backend, dtype):
    some = flips(6, (5,), 40, margins_dtype=dtype)
    check(backend, some, rtol=1e-5)
    some.margins = some.margins.T.contiguous().T
    check(backend, some, rtol=1e-5)


@pytest.mark.parametrize(
    ("margin", "flip"),
    [(0.0, True), (-0.0, True), (-INF, True), (-6e-8, True), (6e-8, False), (NAN, False),
     (-NAN, False), (INF, False)],
)  # fmt: skip
@dtypes
def test_what_a_flip_is(backend, dtype, margin, flip):
    some = flips(1, (5,), 2, images=1, margins_dtype=dtype)
    some.nearest_flip[:] = 1e3
    some.margins[:] = torch.tensor([[1.0, margin]])
    (nearest,) = check(backend, some, rtol=1e-5)
    assert nearest[0].item() == 1e3
    assert (nearest[1].item() < 1e3) == flip


def test_rows_that_hold_no_sample_are_none(backend):
    some = flips(4, (5,), 2)
    some.slots[:], some.margins[:], some.row_image[:] = -3, -1.0, 99
    (nearest,) = some.run(backend)
    assert torch.equal(nearest, some.nearest_flip)


@pytest.mark.parametrize("nan", [NAN, -NAN])
def test_a_distance_of_nan_stays(backend, nan):
    """It is the smallest of all, whatever comes before it, beside it and after it."""
    for row in range(few(backend, 6, 2)):
        some = flips(6, (5,), 1, images=1)
        some.slots[:], some.margins[:], some.nearest_flip[:] = 0, -1.0, 1e-3
        some.x[row, 2] = nan
        (nearest,) = check(backend, some)
        assert nearest.isnan().all()
    some = flips(6, (5,), 1, images=1)
    some.slots[:], some.margins[:], some.nearest_flip[:] = 0, -1.0, nan
    assert check(backend, some)[0].isnan().all()


def test_infinite_and_vanishing_distances(backend):
    some = flips(3, (5,), 1, images=3)
    some.slots[:], some.margins[:], some.row_image[:] = 0, -1.0, torch.arange(3)
    some.nearest_flip[:] = 5.0
    some.x[0], some.x[1, 1], some.x[2] = some.centers[0], INF, 1e-30
    some.centers[2] = 0
    assert check(backend, some, rtol=1e-5)[0][0, :2].tolist() == [0.0, 5.0]


@pytest.mark.parametrize(("rows", "n_targets"), [(0, 3), (3, 0)])
def test_no_rows_and_no_targets(backend, rows, n_targets):
    some = flips(rows, (5,), n_targets)
    assert torch.equal(some.run(backend)[0], some.nearest_flip)


@pytest.mark.parametrize("image", [3, -1, 2**62])
def test_an_image_that_is_not_there(image):
    some = flips(4, (5,), 2)
    some.row_image[3], some.slots[3] = image, 0
    before = some.nearest_flip.clone()
    message = r"note_flips: row_image names a center that centers does not have \(3 centers\)"
    with pytest.raises(RuntimeError, match=message):
        ops.note_flips(*some.arguments())
    assert torch.equal(some.nearest_flip, before)


# --- What is refused ---------------------------------------------------------------------------


def test_opcheck():
    cases = [assigned(5, 3), assigned(0, 0), seeds(4, 6, 2, 1), seeds(3, 5, 0), flips()]
    cases += [seeds(4, 6, 1, dtype=dtype) for dtype in DTYPES]
    for some in cases:
        op = getattr(torch.ops.clever_ext, some.OP).default
        torch.library.opcheck(op, tuple(some.arguments()))


def long(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=LONG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slots": long(4, 1)}, "slots must be [B], got [4, 1]"),
        ({"slots": long(8)[::2]}, "slots must be contiguous"),
        ({"slots": torch.zeros(4)}, "slots must be int64, got scalar type"),
        ({"center_of_slot": long(3, 1)}, "center_of_slot must be [slots], got [3, 1]"),
        ({"center_of_slot": torch.zeros(11)}, "center_of_slot must be int64, got scalar type"),
        ({"classes": long(5)}, "classes must have shape [4], got [5]"),
        ({"classes": long(4).int()}, "classes must be int64, got scalar type"),
        ({"targets": long(4)}, "targets must be [I, T], got [4]"),
        ({"targets": long(2, 4).T}, "targets must be contiguous"),
        ({"row_image": long(5)}, "row_image must have shape [4], got [5]"),
        ({"row_classes": torch.zeros(4)}, "row_classes must be int64, got scalar type"),
        ({"row_targets": long(4, 3)}, "row_targets must have shape [4, 2], got [4, 3]"),
        ({"row_targets": long(2, 4).T}, "row_targets must be contiguous"),
    ],
    ids=str,
)
def test_assign_targets_refuses(backend, change, message):
    refuses(backend, "assign_targets", assigned(4, 2).named() | change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(4)}, "logits must be [B, K], got [4]"),
        ({"logits": long(4, 6)}, "logits must be float64, float32, float16 or bfloat16, got"),
        ({"targets": long(4)}, "targets must be [B, T], got [4]"),
        ({"targets": long(3, 3)}, "targets must have shape [4, 3], got [3, 3]"),
        ({"targets": long(4, 3).int()}, "targets must be int64, got scalar type"),
        (
            {"targets": long(4, 1)},
            "seeds of shape [2, 4, 6] must not be of more than the 1 targets",
        ),
        ({"classes": long(3)}, "classes must have shape [4], got [3]"),
        ({"classes": torch.zeros(4)}, "classes must be int64, got scalar type"),
        ({"classes": long(8)[::2]}, "classes must be contiguous"),
        ({"margins": torch.zeros(4, 2)}, "margins must have shape [4, 3], got [4, 2]"),
        ({"margins": torch.zeros(4, 3).half()}, "margins must be float32, got scalar type"),
        ({"margins": torch.zeros(3, 4).T}, "margins must be contiguous"),
        ({"seeds": torch.zeros(4, 6)}, "seeds must be [T, B, K], got [4, 6]"),
        ({"seeds": torch.zeros(2, 4, 5)}, "seeds must have shape [2, 4, 6], got [2, 4, 5]"),
        ({"seeds": torch.zeros(2, 4, 6).double()}, "seeds must be float32, got scalar type"),
        ({"seeds": torch.zeros(2, 6, 4).mT}, "seeds must be contiguous"),
    ],
    ids=str,
)
def test_margin_seeds_refuses(backend, change, message):
    refuses(backend, "margin_seeds", seeds(4, 6, 2, 1).named() | change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "p must be at least 1 (or inf), got 0.5"),
        ({"p": math.nan}, "p must be at least 1 (or inf), got nan"),
        ({"margins": torch.ones(4)}, "margins must be [B, T], got [4]"),
        ({"margins": torch.ones(3, 2)}, "margins must have shape [4, 2], got [3, 2]"),
        ({"margins": torch.ones(4, 2).int()}, "margins must be float64, float32, float16"),
        ({"x": torch.zeros(4)}, "x must be [B, *shape], got [4]"),
        ({"x": torch.zeros(4, 5).half()}, "x and centers must have the same dtype"),
        ({"x": torch.zeros(4, 10)[:, ::2]}, "the points of x must be contiguous or channels_last"),
        ({"centers": torch.zeros(3, 6)}, "centers of shape [3, 6] does not hold points of the"),
        ({"centers": torch.zeros(5)}, "centers must be [n, *shape], got [5]"),
        ({"slots": long(3)}, "slots must have shape [4], got [3]"),
        ({"slots": torch.zeros(4)}, "slots must be int64, got scalar type"),
        ({"row_image": long(4, 1)}, "row_image must have shape [4], got [4, 1]"),
        ({"row_image": long(8)[::2]}, "row_image must be contiguous"),
        ({"nearest_flip": torch.ones(2, 3)}, "nearest_flip must be float64, got scalar type"),
        ({"nearest_flip": torch.ones(3, 3).double()}, "nearest_flip must have shape [2, 3], got"),
    ],
    ids=str,
)  # fmt: skip
def test_note_flips_refuses(backend, change, message):
    refuses(backend, "note_flips", flips(4, (5,), 2).named() | change, message)
