"""Scores that stop when they are exact enough, and the predictions that tell when."""

import math

import numpy as np
import pytest
import torch
from known_classifiers import linear
from known_classifiers import small_convolution as network

import clever_ext as cx
from clever_ext.evt.credible import predict_location

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def score(model, images=IMAGES, **settings):
    defaults = {"norm": [2, math.inf], "targets": "top-3", "batch_samples": 16, "radius": 0.5,
                "tolerance": 0.05, "max_gradients": 3200}  # fmt: skip
    return cx.clever_score(model, images, **(defaults | settings))


# --- predictions -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [4.0, 8.0, 14.0])
@pytest.mark.parametrize("n", [10, 40])
def test_predictions_cover_the_papers_number(shape, n):
    # Batches of 256; the number predicted is that of 500 batches of four times as many.
    rng = np.random.default_rng(int(shape) + n)
    maxima = 10 - rng.weibull(shape, size=(60, n))
    paper = 10 - rng.weibull(shape, size=(60, 500)) * 4 ** (-1 / shape)
    target = cx.fit_reverse_weibull(paper).location
    found = predict_location(maxima, 256)
    inside = (found.low <= target) & (target <= found.high)
    assert inside.mean() >= 0.9
    assert (found.low <= found.location).all()
    assert (found.location <= found.high).all()
    assert (found.low >= maxima.max(axis=1) * (1 - 1e-12)).all()


def test_predictions_follow_shift_and_scale_and_rows_are_independent():
    maxima = 5 - np.random.default_rng(1).weibull(7.0, size=(5, 30))
    found, moved = predict_location(maxima, 512), predict_location(3 * maxima + 7, 512)
    np.testing.assert_allclose(moved.location, 3 * found.location + 7, rtol=1e-9)
    alone = predict_location(maxima[2:3], 512)
    np.testing.assert_array_equal(alone.high, found.high[2:3])


# --- the loop ----------------------------------------------------------------------------------


def test_equal_maxima_stop_at_the_first_look():
    model = linear()
    table = score(model, torch.rand(2, 6, dtype=torch.float64), radius=1e3).table
    assert (table["n_batches"] == 8).all()
    assert (table["flags"] == "").all()
    assert (table["status"] == "degenerate").all()
    np.testing.assert_allclose(table["score"], table["margin"] / table["max_norm"], rtol=1e-12)


def test_rows_say_what_made_them_and_what_was_spent():
    result = score(network())
    table = result.table
    assert (table["estimator"] == "clever-adaptive").all()
    assert (table["n_gradients"] == table["n_batches"] * 16).all()
    assert (table["maxima"].map(len) == table["n_batches"]).all()
    limit = table["flags"].str.contains("stopped-at-limit")
    width = (table["score_high"] - table["score_low"]) / (2 * table["score"])
    assert (width[~limit] <= 0.05).all()
    assert (table["n_gradients"][limit] == 3200).all()
    assert (~limit).any()
    assert result.metadata["settings"]["tolerance"] == 0.05


def test_samples_are_those_of_a_run_with_a_fixed_number():
    fixed = cx.clever_score(
        network(), IMAGES, norm=[2, math.inf], targets="top-3", radius=0.5, n_batches=200,
        batch_samples=16,
    )  # fmt: skip
    for ours, theirs in zip(score(network()).table["maxima"], fixed.table["maxima"], strict=True):
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-5)


def test_a_limit_is_flagged_and_refining_goes_on_from_there():
    model = network()
    few = score(model, max_gradients=16 * 12)
    assert few.table["flags"].str.contains("stopped-at-limit").any()
    whole = score(model)
    seen = []
    more = cx.refine(
        few, model, IMAGES, tolerance=0.05, max_gradients=3200,
        progress=lambda done, _: seen.append(done),
    )  # fmt: skip
    added = whole.table["n_gradients"].sum() - few.table["n_gradients"].sum()
    assert seen[-1] == added
    for name in ("score", "score_low", "n_batches", "n_gradients"):
        np.testing.assert_allclose(more.table[name], whole.table[name], rtol=1e-4)
    assert (more.table["flags"] == whole.table["flags"]).all()


def test_a_fixed_result_can_be_refined_by_tolerance():
    model = network()
    fixed = cx.clever_score(model, IMAGES, radius=0.5, n_batches=10, batch_samples=16)
    more = cx.refine(fixed, model, IMAGES, tolerance=0.2, max_gradients=1600)
    for before, after in zip(fixed.table["maxima"], more.table["maxima"], strict=True):
        np.testing.assert_array_equal(before, after[:10])


@pytest.mark.parametrize("radius", [None, {2: "auto", math.inf: 0.1}])
def test_radii_are_found_within_the_budget(radius):
    model, seen = network(), []
    result = score(model, radius=radius, progress=lambda *done: seen.append(done))
    table = result.table
    found = (table["norm"] == 2) | (radius is None)
    assert (table["n_gradients"] <= 3200).all()
    assert seen[-1][0] == table["n_gradients"].sum()
    assert not table["capped"][found].any()
    np.testing.assert_allclose(table["score"][found], table["radius"][found], rtol=0.1)
    width = (table["score_high"] - table["score_low"]) / (2 * table["score"])
    exact = ~table["flags"].str.contains("stopped-at-limit")
    assert exact.any()
    assert (width[exact] <= 0.05).all()
    row = table.iloc[0]
    same = score(
        model, IMAGES[:1], norm=2, radius=row["radius"], targets=int(row["target"])
    ).table.iloc[0]
    both = min(len(row["maxima"]), len(same["maxima"]))
    np.testing.assert_allclose(row["maxima"][:both], same["maxima"][:both], rtol=1e-5)


@pytest.mark.parametrize("looks", [8, 9, 12, 20])
def test_a_small_budget_is_kept_with_radii_to_find(looks):
    table = score(network(), radius=None, tolerance=0.001, max_gradients=16 * looks).table
    assert (table["n_gradients"] <= 16 * looks).all()
    assert (table["n_batches"] >= looks // 2).all()
    assert (table["flags"].str.contains("stopped-at-limit")).all()


def test_refining_keeps_radii_that_were_found():
    model = network()
    few = score(model, radius=None, max_gradients=16 * 40)
    more = cx.refine(few, model, IMAGES, tolerance=0.02, max_gradients=3200)
    np.testing.assert_array_equal(more.table["radius"], few.table["radius"])
    assert (more.table["n_gradients"] >= few.table["n_gradients"]).all()
    assert (more.table["n_gradients"] <= 3200).all()
    for before, after in zip(few.table["maxima"], more.table["maxima"], strict=True):
        np.testing.assert_array_equal(before, after[: len(before)])


@pytest.mark.parametrize("radius", [0.5, None])
def test_it_survives_a_file_and_a_refit(tmp_path, radius):
    result = score(network(), radius=radius)
    result.save(tmp_path / "x.parquet")
    again = cx.refit(cx.CleverResult.load(tmp_path / "x.parquet"))
    for name in ("score", "score_low", "score_high"):
        np.testing.assert_array_equal(again.table[name], result.table[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0}, "tolerance=0 is no share"),
        ({"tolerance": "5%"}, "is no share"),
        ({"confidence": 95}, "confidence=95 is no share"),
        ({"max_gradients": 100}, "max_gradients=100 is out of range"),
        ({"race": True}, "another way to spend"),
        ({"estimator": "steepest"}, "another way to spend"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(cx.CleverError, match=message):
        score(network(), **change)


def test_refining_takes_one_of_batches_and_tolerance():
    model, result = network(), score(network())
    for given in ({}, {"n_batches": 50, "tolerance": 0.1}, {"n_batches": 5000}):
        with pytest.raises(cx.CleverError):
            cx.refine(result, model, IMAGES, **given)
