"""Properties of verified networks, read from small ones of the two spellings."""

import numpy as np
import pytest
from truth.vnnlib import original, parse


def text(low, high, output):
    n = len(low)
    lines = [f"(declare-const X_{i} Real)" for i in range(n)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(3)]
    for i in reversed(range(n)):  # in any order
        lines += [f"(assert (<= X_{i} {high[i]}))", f"(assert (>= X_{i} {low[i]}))", ""]
    return "\n".join([*lines, "; Output constraints:", output])


LOW, HIGH = [-0.5, 0.0, 1e-05], [0.5, 0.25, 2.0]


@pytest.mark.parametrize(
    "output",
    [
        "(assert (or\n    (and (>= Y_0 Y_2))\n    (and (>= Y_1 Y_2))\n))",
        "(assert (or\n\t(and (<= Y_2 Y_0))\n\t(and (<= Y_2 Y_1))\n))\n",
    ],
)
def test_both_spellings_are_read(output):
    found = parse(text(LOW, HIGH, output))
    assert found.low.tolist() == LOW
    assert found.high.tolist() == HIGH
    assert (found.label, found.others) == (2, (0, 1))


@pytest.mark.parametrize(
    "output",
    [
        "(assert (or (and (>= Y_0 Y_2)) (and (>= Y_2 Y_1))))",  # two classes that may be reached
        "(assert (or (and (>= Y_0 Y_2) (>= Y_1 Y_2))))",  # both at once
        "(assert (>= Y_0 Y_2))\n(assert (>= Y_1 Y_2))",
        "",
    ],
)
def test_other_outputs_are_refused(output):
    with pytest.raises(ValueError, match="the output"):
        parse(text(LOW, HIGH, output))


def test_a_box_without_a_side_is_refused():
    whole = text(LOW, HIGH, "(assert (or (and (>= Y_0 Y_2))))")
    with pytest.raises(ValueError, match="3 elements"):
        parse(whole.replace("(assert (>= X_1 0.0))", ""))


@pytest.mark.parametrize("eps", [0.0007, 2 / 255, 0.05, 0.4])
def test_the_picture_and_the_radius_of_a_box_are_found(eps):
    pixels = np.random.default_rng(0).integers(0, 256, 3000) / 255
    low, high = ((pixels + s * eps).clip(0, 1).astype(np.float32) for s in (-1, 1))
    found, radius = original(low.astype(np.float64), high.astype(np.float64))
    assert (found == pixels).all()
    assert radius == pytest.approx(eps, abs=1e-7)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([0.0, 0.2], [1.0, 0.4]),  # a pixel that may be anything
        ([0.0, 0.9], [0.1, 1.0]),  # all are cut off
        ([0.2, 0.3], [0.4, 0.6]),  # of two radii
        ([0.2, 0.303], [0.4, 0.503]),  # not of 8 bits
    ],
)
def test_boxes_of_another_kind_are_refused(low, high):
    with pytest.raises(ValueError, match="the box"):
        original(np.array(low), np.array(high))
