"""What a run will take, and what would be cheaper."""

import re

import pytest

from clever_ext.inputs import Settings
from clever_ext.runs.cost import Cost


def cost(images=20, n_targets=9, **changes):
    given = {"norm": 2, "radius": None, "targets": "top-10", "n_batches": 500}
    given |= {"batch_samples": 1024, "clip": (0, 1), "seed": 0, **changes}
    return Cost(images, n_targets, Settings.check(**given))


def test_counts():
    assert str(cost(norm=[2, "inf"])) == "20 pictures, 360 rows, 184,320,000 gradients"
    at_most = str(cost(estimator="steepest"))
    assert at_most == "20 pictures, 180 rows, at most 360,000 gradients"


def test_time():
    assert cost().time(50) == "About 21 d 8 h by one process, at 50 gradients/s."
    assert cost(tolerance=0.05).time(5e4).startswith("At most 31 min")


def test_of_a_long_run_it_is_said_what_would_be_cheaper():
    (found,) = cost(images=5000).findings(50)
    assert found.topic == "cost"
    assert "5333 d" in found.said
    for option, time in (
        ("targets top2", "592 d 14 h"),
        ("estimator steepest", "at most 20 d 20 h"),
    ):
        assert f"--{option} ({time})" in found.fix
    assert "--tolerance 0.05" in found.fix
    assert "--sample 1000 (1066 d" in found.fix


@pytest.mark.parametrize(
    "changes",
    [{"images": 1, "n_targets": 1, "n_batches": 20, "batch_samples": 8},
     {"images": 20, "n_targets": 1, "estimator": "steepest"},
     {"images": 500, "n_targets": 1, "race": True}, {"tolerance": 0.1}],
)  # fmt: skip
def test_what_is_offered_changes_something(changes):
    for found in cost(**changes).findings(1e-3):
        options = set(re.findall(r"--([a-z-]+)", found.fix))
        assert options
        if changes.get("n_targets") == 1:
            assert "targets" not in options
        if "estimator" in changes:
            assert not options & {"estimator", "tolerance"}
        if "tolerance" in changes or "race" in changes:
            assert "tolerance" not in options


def test_of_a_short_run_nothing_is_said():
    assert cost(images=1, n_targets=1, n_batches=10).findings(1e3) == []
