"""The bracket's rounds, and what its rows share."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from known_classifiers import small_convolution

import clever_ext as cx
from clever_ext.estimators import in_step
from clever_ext.estimators.bracket import estimator, search

IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def bracket(model=None, images=IMAGES, **settings):
    model = model or small_convolution()
    return cx.clever_score(model, images, estimator="steepest", prepare="none", **settings)


@pytest.mark.parametrize("most", [16, 100, 115, 116, 399, 400, 5000])
def test_rounds_double_what_was_spent_and_none_is_too_short(most):
    steps = list(search.rounds(1, most))
    assert steps[0][0] == 1
    assert steps[-1][1] == most
    assert all(a[1] == b[0] for a, b in pairwise(steps))
    assert all(end - begin >= 15 for begin, end in steps)
    assert all(end <= max(100, 2 * begin + 15) or begin == 1 for begin, end in steps)


@pytest.mark.parametrize("gradients", [15, 16, 24, 56, 99, 100, 200, 1000, 50_000])
def test_a_schedule_spends_its_gradients(gradients):
    schedule = search._Schedule.of(gradients)
    climbs = schedule.climb * len(search._CLIMB_STEPS)
    assert schedule.walk + schedule.far * schedule.starts + climbs == gradients
    assert schedule.walk >= gradients / 5
    assert schedule.climb % 2 == 1 or schedule.climb == 0


@pytest.mark.parametrize("clip", [None, (0, 1)])
def test_more_gradients_later_are_those_at_once(clip):
    model, more = small_convolution(), {"norm": [2, math.inf], "clip": clip, "keep_witness": True}
    at_once = bracket(model, max_gradients=400, **more).table
    first = bracket(model, **more)
    later = cx.refine(first, model, IMAGES, max_gradients=400, prepare="none")
    assert later.metadata["settings"]["max_gradients"] == 400
    going = at_once["n_gradients"] > 200  # rows that have stopped go on when they are refined
    assert going.any()
    for name in ("score", "nearest_flip", "n_gradients", "max_norm", "radius"):
        assert (at_once[name][going] == later.table[name][going]).all()
    for name in ("curve", "curve_gradients", "witness", "steepest"):
        pairs = zip(at_once[name][going], later.table[name][going], strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert (later.table["score"] <= first.table["score"]).all()
    assert (later.table["nearest_flip"] <= first.table["nearest_flip"]).all()


def test_without_points_the_ends_still_only_fall():
    model = small_convolution()
    first = bracket(model, norm=[1, 2])
    later = cx.refine(first, model, IMAGES, max_gradients=130).table
    assert (later["score"] <= first.table["score"] * (1 + 1e-12)).all()
    assert (later["nearest_flip"] <= first.table["nearest_flip"] * (1 + 1e-12)).all()
    assert (later["nearest_flip"] >= later["score"] * (1 - 1e-9)).all()


def test_a_flip_that_was_not_kept_is_not_taken_for_the_image():
    model = small_convolution()
    first = bracket(model, norm=2, keep_witness=True)
    table = first.table.assign(
        witness=[x[:0] for x in first.table["witness"]],
        steepest=[x[:0] for x in first.table["steepest"]],
    )
    dropped = cx.CleverResult(table, first.metadata)
    later = cx.refine(dropped, model, IMAGES, max_gradients=120).table
    for row in later.itertuples():
        if len(row.witness):
            x = torch.from_numpy(row.witness).float().view(3, 6, 6)
            logits = model(x[None])[0]
            assert logits[row.target] >= logits[row.predicted]
            away = torch.linalg.vector_norm(x - IMAGES[row.image_id])
            assert float(away) == pytest.approx(row.nearest_flip, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"max_gradients": 110}, "at least 116"),
        ({"n_batches": 20}, "max_gradients alone"),
        ({"tolerance": 0.1}, "max_gradients alone"),
        ({}, "max_gradients alone"),
    ],
)
def test_what_brings_no_bracket_on_is_refused(changes, match):
    model = small_convolution()
    with pytest.raises(cx.CleverError, match=match):
        cx.refine(bracket(model), model, IMAGES, **changes)


@pytest.mark.parametrize("seed", range(4))
def test_a_look_serves_all_targets_of_its_image(monkeypatch, seed):
    """One gradient of one row's margin, and all rows of the image know the flip."""
    model, point = small_convolution(), torch.randn(1, 3, 6, 6, generator=torch.manual_seed(seed))
    monkeypatch.setattr(estimator, "search", lambda ends, *_: ends.lanes(ends.row[:1], point))
    rows = bracket(model, IMAGES[:1], norm=2).table
    logits = model(point)[0]
    away = float(torch.linalg.vector_norm(point - IMAGES[0]))
    for row in rows[rows["status"] == "ok"].itertuples():
        flipped = bool(logits[row.target] >= logits[row.predicted])
        assert row.nearest_flip == (pytest.approx(away, rel=1e-5) if flipped else math.inf)
    assert rows["n_gradients"].sum() == 1 + len(rows)


def test_norms_share_their_flips():
    rows = bracket(norm=[1, 2, math.inf], keep_witness=True, targets="top2").table
    for _, of_image in rows.groupby("image_id"):
        center = IMAGES[of_image["image_id"].iloc[0]].flatten().double().numpy()
        for row in of_image.itertuples():
            for other in of_image.itertuples():
                away = np.linalg.norm(other.witness - center, row.norm)
                assert row.nearest_flip <= away * (1 + 1e-6)


def test_a_row_stops_when_two_rounds_in_succession_move_neither_end():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 3)).eval()
    rows = bracket(model, norm=2, max_gradients=3200).table
    assert (rows["n_gradients"] <= 400).all()
    assert (rows["n_gradients"] > 200).all()


def test_targets_are_worked_on_in_groups_where_memory_is_short(monkeypatch):
    whole = bracket(norm=2).table
    image = IMAGES[0].numel() * IMAGES.element_size()
    monkeypatch.setattr(in_step, "_BYTES", 2 * estimator._BUFFERS * image)
    parts = bracket(norm=2).table
    assert (parts["target"] == whole["target"]).all()
    ratio = parts["nearest_flip"] / whole["nearest_flip"]
    assert ratio.between(0.9, 1.2).all()


def test_walks_in_l_inf_have_momentum_and_others_have_none():
    gradient, norm = torch.randn(3, 2, 2), torch.tensor([2.0, 0.0, 4.0], dtype=torch.float64)
    assert search._smoothed(None, gradient, norm) is gradient
    mean = torch.zeros_like(gradient)
    search._smoothed(mean, gradient, norm)
    expected = gradient * torch.tensor([0.5, 0.0, 0.25])[:, None, None]
    assert torch.allclose(mean, expected)
    found = search._smoothed(mean, -gradient, norm)
    assert torch.allclose(found, (search._MOMENTUM - 1) * expected)
    assert found is mean


class Saturating(torch.nn.Module):
    """A margin to which no pixel alone can add much: sum of w tanh(x / size)."""

    def __init__(self, weights, size, margin):
        super().__init__()
        self.register_buffer("weights", weights)
        self.size, self.margin = size, margin

    def forward(self, x):
        fall = self.size * ((x - 0.5) / self.size).tanh().flatten(1) @ self.weights
        return torch.stack([self.margin - fall, torch.zeros_like(fall)], dim=1)

    def nearest_in_l1(self):
        """The way where each pixel is as steep as the others, or is left: by bisection."""
        low, high = 0.0, float(self.weights.abs().max())
        for _ in range(60):
            steep = (low + high) / 2
            tanh = (1 - steep / self.weights.abs()).clamp(min=0).sqrt()
            enough = float(self.size * self.weights.abs() @ tanh) >= self.margin
            low, high = (steep, high) if enough else (low, steep)
        return float(self.size * tanh.atanh().sum())


@pytest.mark.parametrize("part", [0.3, 0.6])
def test_in_l1_many_pixels_move_by_little_where_single_ones_do_not_help(part):
    image = torch.full((1, 3, 24, 24), 0.5)
    weights = torch.randn(image.numel(), generator=torch.Generator().manual_seed(0))
    size = 0.01
    model = Saturating(weights, size, margin=part * size * float(weights.abs().sum())).eval()
    nearest = model.nearest_in_l1()
    found = bracket(model, image, norm=1, clip=(0, 1)).table
    assert nearest * (1 - 1e-5) <= found["nearest_flip"].item() <= 1.01 * nearest
