"""The two ends of brackets, on every backend against the plain reference: to the bit."""

import math
from dataclasses import fields

import pytest
import torch
from op_arguments import INF, LONG, NAN, Ends, ends, few, refuses
from torch import Tensor

from clever_ext.kernels import ops


def check(backend, of: Ends) -> list[Tensor]:
    got = of.run(backend)
    for mine, expected in zip(got, of.expected(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0, equal_nan=True)
    return got


@pytest.mark.parametrize(("looks", "rows"), [(1, 1), (7, 3), (200, 20), (1100, 520), (5000, 1)])
def test_against_the_reference(backend, looks, rows):
    for seed in range(few(backend, 3, 1)):
        check(backend, ends(looks, rows, seed))


def test_what_the_ends_are(backend):
    """Numbers that anyone can follow: an image of margin 6, whose secants count above a rise of 1.

    Norms give ends of 6 / 2 and max(5, 6 / 3). Margins of 5.5 and 2 give no secant, and one of
    (6 - 2) / 1; one of -2 gives 8 / 4, and a flip.
    """
    cases = [(1, 2, 6, 3.0), (5, 3, 6, 5.0), (1, 2, 5.5, 3.0), (1, 0, 2, 1.5), (4, 1, -2, 4.0),
             (0, 0, 6, INF), (0, 0, -1, INF), (2, 0, 0, 2.0)]  # fmt: skip
    for distance, norm, margin, end in cases:
        one = ends(1, 1)
        one.distance[:], one.norm[:], one.margin[:] = distance, norm, margin
        one.margin_at_image[:], one.rise[:], one.lower[:], one.upper[:] = 6, 1, INF, INF
        lower, upper, nearest, steepest = check(backend, one)
        assert lower.item() == end
        assert upper.item() == (distance if margin <= 0 else INF)
        assert nearest.item() == (0 if margin <= 0 else -1)
        assert steepest.item() == (0 if end < INF else -1)


def test_the_first_of_several_looks_is_named(backend):
    for seed in range(few(backend, 10, 2)):
        check(backend, ends(300, 7, seed, steps=4))
    same = ends(1000, 1).looks(torch.full((1000,), 3))
    same.lower[:], same.upper[:], same.margin[:] = INF, INF, -0.1
    assert [int(look) for look in check(backend, same)[2:]] == [0, 0]
    last = same.looks(torch.arange(1000))
    last.distance[:-1] += 1
    assert [int(look) for look in check(backend, last)[2:]] == [999, 999]


def test_what_is_no_nearer_names_nothing(backend):
    some = ends(400, 9)
    some.lower, some.upper, *_ = some.expected()
    lower, upper, nearest, steepest = check(backend, some)
    assert torch.equal(lower, some.lower)
    assert torch.equal(upper, some.upper)
    assert (nearest == -1).all()
    assert (steepest == -1).all()


def test_neither_order_nor_calls_matter(backend):
    whole = ends(700, 11)
    lower, upper, nearest, steepest = check(backend, whole)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(1))
    mixed = check(backend, whole.looks(order))
    assert torch.equal(mixed[0], lower)
    assert torch.equal(mixed[1], upper)
    for theirs, ours in ((mixed[2], nearest), (mixed[3], steepest)):
        assert torch.equal(torch.where(theirs < 0, theirs, order[theirs]), ours)
    for part in torch.arange(700).split(300):
        piece = whole.looks(part)
        whole.lower, whole.upper, *_ = check(backend, piece)
    assert torch.equal(whole.lower, lower)
    assert torch.equal(whole.upper, upper)


ODD = [NAN, -NAN, INF, 0.0, 1e-320, 1e300]


@pytest.mark.parametrize(
    "name", ["distance", "norm", "margin", "margin_at_image", "rise", "lower", "upper"]
)
def test_what_is_not_finite(backend, name):
    """NaN stays and names nothing; infinities and denormal numbers are numbers."""
    values = ODD + [-INF, -1.0] * (name in ("margin", "margin_at_image"))
    for seed, value in enumerate(values):
        some = ends(60, 5, seed)
        some.margin[::2] = -0.25
        tensor = getattr(some, name)
        tensor[torch.rand(len(tensor), generator=torch.Generator().manual_seed(seed)) < 0.3] = value
        tensor[-1] = value
        check(backend, some)
    everything = ends(500, 12)
    generator = torch.Generator().manual_seed(3)
    for tensor in everything.arguments()[:3] + everything.arguments()[4:8]:
        for value in ODD:
            tensor[torch.rand(len(tensor), generator=generator) < 0.03] = value
    check(backend, everything)


def test_a_nan_stays(backend):
    for name, end in (("norm", 0), ("distance", 1)):
        one = ends(3, 1)
        one.margin[:] = -1.0
        getattr(one, name)[1] = NAN
        got = check(backend, one)
        assert math.isnan(got[end])
        assert got[3 - end] == -1
        one.lower, one.upper = got[:2]
        again = check(backend, one.looks(torch.tensor([0, 2])))
        assert math.isnan(again[end])
        assert again[3 - end] == -1


def test_no_looks_and_no_rows(backend):
    for rows in (3, 0):
        none = ends(0, rows)
        lower, upper, nearest, steepest = check(backend, none)
        assert torch.equal(lower, none.lower)
        assert torch.equal(upper, none.upper)
        assert nearest.tolist() == steepest.tolist() == [-1] * rows
        assert nearest.dtype == steepest.dtype == LONG


def test_rows_without_looks_are_left_alone(backend):
    some = ends(50, 6)
    some.row[:] = torch.tensor([1, 4]).repeat(25)
    got = check(backend, some)
    for row in (0, 2, 3, 5):
        assert [float(tensor[row]) for tensor in got] == [some.lower[row], some.upper[row], -1, -1]


# --- What is refused ---------------------------------------------------------------------------


def test_opcheck_bracket_ends():
    for looks, rows in ((9, 3), (0, 0)):
        args = tuple(ends(looks, rows).arguments())
        torch.library.opcheck(torch.ops.clever_ext.bracket_ends.default, args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": torch.zeros(4, 1).double()}, "distance must be [looks], got [4, 1]"),
        ({"distance": torch.zeros(4)}, "distance must be float64, got scalar type"),
        ({"norm": torch.zeros(3).double()}, "norm must have shape [4], got [3]"),
        ({"norm": torch.zeros(8).double()[::2]}, "norm must be contiguous"),
        ({"margin": torch.zeros(5).double()}, "margin must have shape [4], got [5]"),
        ({"margin": torch.zeros(4).half()}, "margin must be float64, got scalar type"),
        ({"row": torch.zeros(4).int()}, "row must be int64, got scalar type"),
        ({"row": torch.zeros(2, 2, dtype=LONG)}, "row must have shape [4], got [2, 2]"),
        ({"margin_at_image": torch.zeros(3).double()}, "margin_at_image must have shape [2]"),
        ({"rise": torch.zeros(2)}, "rise must be float64, got scalar type"),
        ({"lower": torch.zeros(1, 2).double()}, "lower must be [rows], got [1, 2]"),
        ({"lower": torch.zeros(4).double()[::2]}, "lower must be contiguous"),
        ({"upper": torch.zeros(1).double()}, "upper must have shape [2], got [1]"),
        ({"upper": torch.zeros(2)}, "upper must be float64, got scalar type"),
        ({"nearest": torch.zeros(3, dtype=LONG)}, "nearest must have shape [2], got [3]"),
        ({"nearest": torch.zeros(2)}, "nearest must be int64, got scalar type"),
        ({"steepest": torch.zeros(2).int()}, "steepest must be int64, got scalar type"),
        ({"steepest": torch.zeros(4, dtype=LONG)[::2]}, "steepest must be contiguous"),
    ],
    ids=str,
)  # fmt: skip
def test_bracket_ends_refuses(backend, change, message):
    some = ends(4, 2)
    arguments = {field.name: getattr(some, field.name) for field in fields(some)} | change
    refuses(backend, "bracket_ends", arguments, message)


@pytest.mark.parametrize("row", [3, -1, 2**62])
def test_a_row_that_is_not_there(row):
    some = ends(9, 3)
    some.row[8] = row
    before = some.copied("cpu")
    message = r"bracket_ends: row names a row that is not there \(3 rows\)"
    with pytest.raises(RuntimeError, match=message):
        ops.bracket_ends(*some.arguments())
    assert all(torch.equal(a, b) for a, b in zip(some.arguments(), before, strict=True))
