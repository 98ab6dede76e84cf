import numpy as np
import pytest
import torch

from clever_ext.errors import CleverError
from clever_ext.inputs.targets import parse_targets, resolve_targets

LOGITS = np.array([[0.1, 3.0, 2.0, -1.0], [5.0, 1.0, 4.0, 2.0]])
IDS = np.array([10, 11])


def resolve(targets, logits=LOGITS, seed=0, ids=IDS):
    return resolve_targets(targets, logits, seed, ids).tolist()


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all", [[0, 2, 3], [1, 2, 3]]),
        ("top2", [[2], [2]]),
        ("top-2", [[2], [2]]),
        ("top-4", [[2, 0, 3], [2, 3, 1]]),
        (None, [[0, 2, 3], [1, 2, 3]]),
        ("near-2", [[2, 0], [2, 3]]),  # by margin, until gradients are known
        ("near3", [[2, 0, 3], [2, 3, 1]]),
        ("least-likely", [[3], [1]]),
        (3, [[3], [3]]),
        ([2], [[2], [2]]),
        ([1, 2, 3], [[1, 2, 3], [1, 2, 3]]),
        ([[2, 3]], [[2, 3], [2, 3]]),
        (np.array([[2, 3]]), [[2, 3], [2, 3]]),
        (torch.tensor([[2], [3]]), [[2], [3]]),
        (torch.tensor(3), [[3], [3]]),
        (range(1, 4), [[1, 2, 3], [1, 2, 3]]),
        (np.array([[0], [3]], dtype=np.int32), [[0], [3]]),
    ],
)
def test_choices(targets, expected):
    assert resolve(targets) == expected


def test_random_targets_depend_on_seed_and_id_alone():
    logits = np.random.default_rng(0).normal(size=(2000, 10))
    ids = np.arange(2000)
    drawn = resolve_targets("random", logits, 7, ids)[:, 0]
    predicted = logits.argmax(axis=1)
    assert not (drawn == predicted).any()
    some = [1999, 3, 70]
    assert (resolve_targets("random", logits[some], 7, ids[some])[:, 0] == drawn[some]).all()
    assert (resolve_targets("random", logits, 8, ids)[:, 0] != drawn).mean() > 0.7
    # The offsets from the predicted class are uniform on 1..9: chi-square, 8 degrees of freedom,
    # whose 99.9 % quantile is 26.1.
    counts = np.bincount((drawn - predicted) % 10, minlength=10)[1:]
    assert ((counts - 2000 / 9) ** 2 / (2000 / 9)).sum() < 26.1


def test_a_target_may_be_the_class_of_some_images():
    assert resolve(1) == [[1], [1]]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_as_many_targets_as_images_have_two_meanings(kind):
    with pytest.raises(CleverError, match=r"2 targets for 2 images.*\[2, 1\], or \[1, 2\]"):
        resolve(kind([2, 3]))
    one = resolve_targets(kind([2]), LOGITS[:1], 0, IDS[:1])  # of one image they are the same
    assert one.tolist() == [[2]]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("top-1", "unknown"),
        ("top-5", "K from 2 to 4"),
        ("nearest", "unknown"),
        ("near-0", "unknown"),
        ("near-4", '"near-K" with K up to 3'),
        (4, "target 4 is out of range"),
        (-1, "target -1 is out of range"),
        ([[2, 3]] * 3, r"shape \[3, 2\] do not fit 2 images"),
        ([[[2, 3]]], r"shape \[1, 1, 2\] do not fit 2 images"),
        (True, "no class numbers"),
        (torch.tensor([1.0]), "no class numbers"),
        (1.5, "no class numbers"),
        ([], "no class numbers"),
    ],
)
def test_refusals(targets, message):
    with pytest.raises(CleverError, match=message):
        resolve(targets)


def test_parse():
    assert parse_targets("top-10") == "top-10"
    assert parse_targets("7") == [[7]]
    assert parse_targets("7,8") == [[7, 8]]  # of all images, of two as well
