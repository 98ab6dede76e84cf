"""Races find the target that the full computation finds, for fewer gradients."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from known_classifiers import linear
from torch import nn

import clever_ext as cx
from clever_ext.estimators.race import ELIMINATED, Race

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = {"prepare": "none", "device_batch": 32}


def network(seed=0, n_classes=10):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, n_classes)).double().eval()


def images(n=4):
    return torch.rand(n, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def race(model, x, **changes):
    given = {"norm": [2, math.inf], "radius": {2: 3, math.inf: 1}, "n_batches": 40,
             "batch_samples": 8, "race": True, "targets": "all", **EXACT}  # fmt: skip
    return cx.clever_score(model, x, **(given | changes))


@pytest.mark.parametrize("seed", range(5))
def test_the_race_finds_what_all_targets_give(seed):
    model, x = network(seed), images()
    ours, full = race(model, x), race(model, x, race=False)
    for a, b in zip(ours.smallest(), full.smallest(), strict=True):
        assert a["target"] == b["target"]
        # The winner has all its batches, and they are those of the full computation.
        np.testing.assert_allclose(a["maxima"], b["maxima"], rtol=1e-9)
        assert a["score"] == pytest.approx(b["score"], rel=1e-6)
        assert a["flags"] == b["flags"]
    for p in (2, math.inf):
        np.testing.assert_allclose(ours.scores[p], full.scores[p], rtol=1e-6)
    assert 2.5 * ours.table["n_gradients"].sum() < full.table["n_gradients"].sum()
    assert list(ours.table[["image_id", "target", "norm"]].itertuples(index=False)) == list(
        full.table[["image_id", "target", "norm"]].itertuples(index=False)
    )


def test_rows_say_what_became_of_them():
    table = race(network(), images()).table
    out = table["flags"].str.contains(ELIMINATED)
    assert 0 < out.sum() < len(table)
    assert (table.loc[out, "n_batches"] < 40).all()
    assert (table.loc[~out, "n_batches"] == 40).all()
    assert (table["maxima"].map(len) == table["n_batches"]).all()
    for name in ("score", "score_low", "score_high", "lipschitz", "p_lowest", "max_norm"):
        assert table[name].notna().all()
    assert (table["score_low"] <= table["score"]).all()
    assert (table["score"] <= table["score_high"]).all()
    assert (table.loc[out, "status"] == "max-fallback").all()
    # The gradient at the image serves both norms: it is counted once.
    first = table["norm"] == 2
    assert (table["n_gradients"] == 8 * table["n_batches"] + first).all()
    sums = table.groupby(["image_id", "norm"])["p_lowest"].sum()
    np.testing.assert_allclose(sums, 1)
    best = table.loc[~out].groupby(["image_id", "norm"])["score"].min()
    all_rows = table.groupby(["image_id", "norm"])["score"].min()
    pd.testing.assert_series_equal(best, all_rows)


def test_progress_counts_what_the_rows_tell():
    counts = []
    result = race(network(), images(), progress=lambda done, total: counts.append((done, total)))
    spent = result.table["n_gradients"].sum()
    assert counts[-1] == (spent, spent)


def test_a_linear_classifiers_race_is_exact():
    model, x = linear(n_classes=30), torch.rand(3, 6, dtype=torch.float64)
    result = race(model, x, radius=100)
    full = race(model, x, radius=100, race=False)
    np.testing.assert_allclose(result.table["score"], full.table["score"], rtol=1e-12)
    assert [row["p_lowest"] for row in result.smallest()] == [1.0] * 6
    # 29 targets: those that did not get batches were told by the gradients at the image.
    assert (result.table["n_batches"] == 0).any()


def test_many_targets_are_screened_at_the_image():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, 300)).double().eval()
    x = images(3)
    ours, full = (race(model, x, norm=2, race=given) for given in (True, False))
    assert [row["target"] for row in ours.smallest()] == [row["target"] for row in full.smallest()]
    # The gradients at the image are 299 of 299 * 320.
    assert 40 * ours.table["n_gradients"].sum() < full.table["n_gradients"].sum()


def test_where_all_scores_are_capped_the_steepest_decides():
    model, x = network(), images(2)
    ours = race(model, x, norm=2, radius=1e-4)
    table = ours.table
    assert (table["score"] == 1e-4).all()
    for row in ours.smallest():
        assert row["p_lowest"] == table.loc[table["image_id"] == row["image_id"], "p_lowest"].max()
        assert row["n_batches"] == 40


def test_one_target_is_scored_as_without_a_race():
    model, x = network(), images()
    ours, alone = (race(model, x, targets="top2", race=given).table for given in (True, False))
    names = ["image_id", "target", "norm", "score", "status", "flags", "n_batches"]
    pd.testing.assert_frame_equal(ours[names], alone[names])
    assert (ours["p_lowest"] == 1).all()


def test_misclassified_images_take_no_part():
    model, x = network(), images()
    labels = model(x).argmax(dim=1).numpy()
    labels[2] = (labels[2] + 1) % 10
    result = race(model, x, labels=labels)
    rows = result.table[result.table["image_id"] == 2]
    assert (rows["score"] == 0).all()
    assert (rows["n_gradients"] == 0).all()
    assert result.scores[2][2] == 0


def test_a_target_whose_gradients_are_no_numbers_decides():
    class Bad(nn.Module):
        def forward(self, x):
            logits = torch.cat([x[:, :1] + 5, x[:, 1:5]], dim=1)
            bad = torch.where((x[:, 0] > x[:, 0].detach() * 0 + 0.5), math.nan, 1.0)
            return logits * torch.stack([torch.ones_like(bad)] * 4 + [bad], dim=1)

    x = torch.full((1, 12), 0.4)
    result = race(Bad().eval(), x, norm=2, radius=2)
    assert np.isnan(result.scores[2]).all()
    assert result.smallest()[0]["status"] == "non-finite"


def test_a_race_is_saved_fitted_again_and_not_refined(tmp_path):
    model, x = network(), images()
    result = race(model, x)
    result.save(tmp_path / "x.parquet")
    loaded = cx.CleverResult.load(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(loaded.table, result.table)
    assert loaded.metadata == result.metadata
    assert loaded.metadata["settings"]["race"]
    pd.testing.assert_frame_equal(cx.refit(loaded).table, result.table)
    assert [r["target"] for r in loaded.smallest()] == [r["target"] for r in result.smallest()]
    with pytest.raises(cx.CleverError, match="race"):
        cx.refine(result, model, x, 80)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [None, {2: "auto", math.inf: 0.5}])
@pytest.mark.parametrize("n_classes", [3, 10])
def test_a_race_at_radii_that_are_found_gives_what_all_targets_give(seed, radius, n_classes):
    model, x = network(seed, n_classes), images()
    ours, full = race(model, x, radius=radius), race(model, x, radius=radius, race=False)
    for a, b in zip(ours.smallest(), full.smallest(), strict=True):
        assert a["target"] == b["target"]
        assert a["score"] == pytest.approx(b["score"], rel=5e-3)
        assert not a["capped"]
    of_ball = ours.table.groupby(["image_id", "norm"])
    assert (of_ball["radius"].nunique() == 1).all()  # all race in one ball
    n_targets = n_classes - 1
    assert (of_ball["n_gradients"].sum() <= n_targets * (2 * 40 * 8 + 1)).all()
    assert (ours.table["score"] <= ours.table["radius"]).all()
    if n_classes == 10:
        assert 2 * ours.table["n_gradients"].sum() < full.table["n_gradients"].sum()


def test_a_race_moves_to_the_ball_of_a_steeper_target():
    class Steep(nn.Module):
        """The nearest target at the image is linear; another one gets steep a little away."""

        def forward(self, x):
            first = x[:, 0]
            bend = 60 * torch.relu(first.abs() - 0.05)
            zero = torch.zeros_like(first)
            return torch.stack([1 + zero, first, bend - first], dim=1)

    x = torch.zeros(1, 3, dtype=torch.float64)
    given = {"radius": None, "n_batches": 60, "batch_samples": 64, "norm": 2}
    ours, full = (race(Steep().eval(), x, race=each, **given) for each in (True, False))
    (a,), (b,) = ours.smallest(), full.smallest()
    assert a["target"] == b["target"] == 2
    assert a["score"] == pytest.approx(b["score"], rel=0.02)
    assert ours.table["radius"].nunique() == 1
    assert ours.table["n_gradients"].sum() <= 2 * (2 * 60 * 64 + 1)


@pytest.mark.parametrize("radius", [[0.1, 0.2], {2: "auto", math.inf: [0.1, 0.2]}])
def test_a_race_takes_one_radius(radius):
    progress = []
    with pytest.raises(cx.CleverError, match="one radius"):
        race(network(), images(), radius=radius, progress=lambda *_: progress.append(1))
    assert not progress


def test_a_margin_of_0_wins_at_once():
    values = Race(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]), 16)
    while wanted := values.next():
        for target, size in wanted:
            values.maxima[target] = np.linspace(1, 1.1, 16)[:size]
    assert values.drawn.argmax() == 0
    assert values.drawn[0] == 16
    assert values.probabilities().tolist() == [1, 0, 0]
    location, high = values.estimates()
    assert np.isfinite(location).all()
    assert (high >= location).all()
