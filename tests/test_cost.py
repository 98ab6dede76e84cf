"""What scores will take, and what would be cheaper."""

import warnings
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from known_classifiers import small_convolution

import clever_ext as cx
from clever_ext import scoring
from clever_ext.cost import Passes, cost_of, measure_passes, of_cost
from clever_ext.engine.engine import Engine
from clever_ext.estimators.subjects import Subjects
from clever_ext.estimators.table import check_settings
from clever_ext.inputs.batch import check_batch

pytestmark = pytest.mark.usefixtures("one_thread")
SECOND = Passes(forward=0.25, backward=0.75)


def settings(**changes):
    given = {"norm": 2, "radius": 2, "targets": "all", "n_batches": 500, "batch_samples": 1024}
    return check_settings(**given | {"clip": None, "seed": 0} | changes)


def test_gradients_of_a_point_share_its_forward_pass():
    cost = cost_of(settings(n_batches=2, batch_samples=10), 3, 4, SECOND)
    assert (cost.rows, cost.gradients, cost.at_most) == (12, 240, False)
    assert cost.seconds == pytest.approx(60 * (0.25 + 4 * 0.75))


@pytest.mark.parametrize(
    ("changes", "rows", "gradients", "at_most"),
    [
        ({"norm": [1, 2]}, 24, 24 * 512_000, False),
        ({"radius": [1, 2]}, 24, 24 * 512_000, False),
        ({"radius": "auto"}, 12, 12 * 768_000, True),  # pilots take half as many more at most
        ({"race": True}, 12, 12 * 512_000, True),
        ({"radius": None, "race": True}, 12, 12 * 1_024_000, True),  # in two balls at most
        ({"radius": None, "tolerance": 0.05, "max_gradients": 10_000}, 12, 120_000, True),
        ({"radius": None, "estimator": "steepest"}, 12, 1200, True),
        ({"tolerance": 0.05, "max_gradients": 10_000}, 12, 120_000, True),
        ({"estimator": "steepest"}, 12, 24_000, False),
    ],
)
def test_what_each_way_to_spend_takes(changes, rows, gradients, at_most):
    cost = cost_of(settings(**changes), 3, 4, SECOND)
    assert (cost.rows, cost.gradients, cost.at_most) == (rows, gradients, at_most)


def test_nearest_targets_are_counted_with_the_search_for_them():
    paper = cost_of(settings(targets="near-10"), 3, 10, SECOND)
    assert (paper.rows, paper.gradients) == (30, 3 * (10 * 512_000 + 128))
    assert paper.at_most
    bracket = settings(estimator="steepest", radius="auto", targets="near-10", norm=[1, 2])
    # Of 300 gradients in each norm 50 look for the targets, whose ten rows share the others.
    assert cost_of(bracket, 3, 10, SECOND).gradients == 3 * (50 + 2 * 10 * 25)


def test_a_short_run_is_told_and_no_more():
    told = of_cost(settings(n_batches=2, batch_samples=10), 3, 4, SECOND)
    assert told.well
    assert told.said == "240 gradients for 12 rows: about 3 min"


def test_a_long_run_is_told_what_would_be_cheaper():
    told = of_cost(settings(), 20, 999, SECOND)
    assert "10,229,760,000 gradients" in told.said
    assert told.fix.startswith("targets top-10 (some ")
    assert "targets top-10 and estimator steepest (some " in told.fix
    assert told.fix.endswith(", 100 gradients a row, radius auto)")


@pytest.mark.parametrize("changes", [{}, {"race": True}, {"tolerance": 0.01}])
def test_the_bracket_is_named_with_its_time_wherever_it_is_cheaper(changes):
    told = of_cost(settings(radius=None, **changes), 20, 1, SECOND)
    assert "estimator steepest (some 33 min, 100 gradients a row)" in told.fix
    one_ball = of_cost(settings(estimator="steepest", radius=2), 1000, 1, SECOND)
    assert one_ball.fix == "radius auto (some 27 h 47 min, 100 gradients a row)"
    assert of_cost(settings(estimator="steepest", radius=None), 1000, 1, SECOND).fix == (
        "score fewer images"
    )


def test_nothing_is_suggested_that_is_no_cheaper():
    few = replace(settings(n_batches=10), targets="top2")
    told = of_cost(few, 20, 1, SECOND)
    assert told.fix.startswith("estimator steepest (some ")
    assert "tolerance" not in told.fix
    steepest = settings(estimator="steepest", radius=None)
    assert of_cost(steepest, 1000, 1, SECOND).fix == "score fewer images"


def test_passes_are_measured():
    model = small_convolution()
    engine = Engine(model, "none", 4)
    batch = check_batch(torch.rand(3, 3, 6, 6), None, None, model, None, None)
    engine.check(batch.images)
    passes = measure_passes(Subjects(engine, batch, "all", 0))
    assert passes.forward >= 0
    assert passes.backward >= 0
    assert passes.of(1) > 0


def test_a_long_run_is_told_before_its_first_gradient(monkeypatch):
    monkeypatch.setattr(scoring, "measure_passes", lambda _: SECOND)

    class Begun(Exception):
        pass

    def begin(done, _):
        if done:
            raise Begun

    images, given = torch.rand(3, 3, 6, 6), {"prepare": "none", "device_batch": 4}
    said = r"4,608,000 gradients.* d .*Fix: .*steepest"
    with pytest.warns(cx.CleverWarning, match=said), suppress(Begun):
        cx.clever_score(small_convolution(), images, radius=2, progress=begin, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = {"n_batches": 3, "batch_samples": 4}
        cx.clever_score(small_convolution(), images, **few, **given)
