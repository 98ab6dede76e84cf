import numpy as np
import pytest

from clever_ext.errors import CleverError
from clever_ext.targets import parse_targets, resolve_targets

LOGITS = np.array([[0.1, 3.0, 2.0, -1.0], [5.0, 1.0, 4.0, 2.0]])
IDS = np.array([10, 11])
BOTH = np.array([True, True])


def resolve(targets, logits=LOGITS, seed=0, ids=IDS, scored=BOTH):
    return resolve_targets(targets, logits, seed, ids, scored).tolist()


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all", [[0, 2, 3], [1, 2, 3]]),
        ("top2", [[2], [2]]),
        ("top-2", [[2], [2]]),
        ("top-4", [[2, 0, 3], [2, 3, 1]]),
        ("least-likely", [[3], [1]]),
        (3, [[3], [3]]),
        ([2, 3], [[2, 3], [2, 3]]),
        (np.array([[0], [3]], dtype=np.int32), [[0], [3]]),
    ],
)
def test_choices(targets, expected):
    assert resolve(targets) == expected


def test_random_targets_depend_on_seed_and_id_alone():
    logits = np.random.default_rng(0).normal(size=(2000, 10))
    ids = np.arange(2000)
    scored = np.ones(2000, dtype=bool)
    drawn = resolve_targets("random", logits, 7, ids, scored)[:, 0]
    predicted = logits.argmax(axis=1)
    assert not (drawn == predicted).any()
    some = [1999, 3, 70]
    assert (
        resolve_targets("random", logits[some], 7, ids[some], scored[some])[:, 0] == drawn[some]
    ).all()
    assert (resolve_targets("random", logits, 8, ids, scored)[:, 0] != drawn).mean() > 0.7
    # The offsets from the predicted class are uniform on 1..9: chi-square, 8 degrees of freedom,
    # whose 99.9 % quantile is 26.1.
    counts = np.bincount((drawn - predicted) % 10, minlength=10)[1:]
    assert ((counts - 2000 / 9) ** 2 / (2000 / 9)).sum() < 26.1


def test_a_misclassified_image_may_be_aimed_at_its_predicted_class():
    assert resolve(1, scored=np.array([False, True])) == [[1], [1]]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("top-1", "unknown"),
        ("top-5", "K from 2 to 4"),
        ("nearest", "unknown"),
        (4, "target 4 is out of range"),
        (-1, "target -1 is out of range"),
        (1, "image 0 is the class predicted for it, 1"),
        ([[2, 3]], r"shape \[1, 2\] do not fit 2 images"),
        (1.5, "no class numbers"),
        ([], "no class numbers"),
    ],
)
def test_refusals(targets, message):
    with pytest.raises(CleverError, match=message):
        resolve(targets)


def test_parse():
    assert parse_targets("top-10") == "top-10"
    assert parse_targets("7") == [7]
    assert parse_targets("7,8") == [7, 8]
