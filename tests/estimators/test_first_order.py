"""First-order scores, and the column of them in the rows of all estimators."""

import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from known_classifiers import Quadratic, linear, relu_network, small_convolution
from torch import nn

import clever_ext as cx
from clever_ext.kernels.balls import dual_exponent
from clever_ext.results.result import SCALARS, first_order

NORMS = [1, 2, 3, math.inf]
IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def scored(model, images=IMAGES, **settings):
    return cx.clever_score(model, images, estimator="first-order", **settings)


def lenet(n_classes=10):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(392, 20), nn.ReLU(), nn.Linear(20, n_classes),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("p", NORMS)
def test_it_is_the_distance_of_linear_classifiers(p):
    model, x = linear(), torch.rand(3, 6, dtype=torch.float64)
    rows = scored(model, x, norm=p).table
    w = model.weight.detach().numpy()
    for row in rows.itertuples():
        q = dual_exponent(p)
        slope = w[row.predicted] - w[row.target]
        assert row.score == pytest.approx(row.margin / np.linalg.norm(slope, q), rel=1e-12)
        # The point of that distance along the steepest way has no margin left.
        way = np.sign(slope) * np.abs(slope) ** (q - 1) if p > 1 else slope * 0
        if p == 1:
            way[np.abs(slope).argmax()] = np.sign(slope[np.abs(slope).argmax()])
        there = x[row.image_id].numpy() - row.score * way / np.linalg.norm(way, p)
        logits = model(torch.from_numpy(there)).detach()
        assert float(logits[row.predicted] - logits[row.target]) == pytest.approx(0, abs=1e-12)
    assert (rows["radius"] == rows["score"]).all()
    assert not rows["capped"].any()


def test_it_is_what_autograd_makes_of_a_lenet():
    model, x = lenet(), torch.rand(3, 1, 28, 28)
    rows = scored(model, x, norm=NORMS).table
    assert len(rows) == 3 * 9 * 4
    for row in rows.itertuples():
        point = x[row.image_id][None].clone().requires_grad_()
        logits = model(point)[0]
        margin = logits[row.predicted] - logits[row.target]
        (gradient,) = torch.autograd.grad(margin, point)
        norm = float(gradient.double().flatten().norm(dual_exponent(row.norm)))
        assert row.margin == pytest.approx(float(margin), rel=1e-5)
        assert row.score == pytest.approx(float(margin) / norm, rel=1e-4)
        assert row.score == row.first_order
        assert row.n_gradients == 1
        assert (row.status, row.flags) == ("ok", "")
        assert math.isnan(row.score_low)


def test_many_targets_are_asked_for_some_at_a_time():
    model, x = lenet(200), torch.rand(2, 1, 28, 28)
    done = []
    result = scored(model, x, targets="all", progress=lambda n, most: done.append((n, most)))
    few = scored(model, x, targets="top-5")
    assert len(result.table) == 2 * 199
    assert done[-1] == (2 * 199, 2 * 199)
    both = result.table.merge(few.table, on=["image_id", "target"], suffixes=("", "_few"))
    assert len(both) == len(few.table) == 8
    assert np.allclose(both["score"], both["score_few"], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_rows_depend_on_no_other_row_nor_on_the_batch(size):
    b = torch.linspace(-1, 1, 5, dtype=torch.float64)
    x = torch.rand(7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = Quadratic(b, 0.5, 1.0).eval()
    whole = scored(model, x, norm=NORMS, prepare="none", device_batch=7).table
    part = scored(
        model, x[[5, 2]], image_ids=[5, 2], norm=NORMS[::-1], prepare="none", device_batch=size
    ).table
    both = whole.merge(part, on=["image_id", "target", "norm"], suffixes=("", "_part"))
    assert len(both) == len(part)
    assert (both["score"] == both["score_part"]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_in_every_precision(dtype):
    exact = scored(small_convolution()).table
    rows = scored(small_convolution().to(dtype), IMAGES.to(dtype)).table
    both = exact.merge(rows, on=["image_id", "predicted", "target"], suffixes=("", "_own"))
    assert len(both) == 12
    near = {"rtol": 1e-5} if dtype == torch.float64 else {"rtol": 0.05, "atol": 0.02}
    assert np.allclose(both["score"], both["score_own"], equal_nan=True, **near)


@pytest.mark.parametrize("prepare", ["bfloat16", "channels_last"])
def test_by_a_prepared_model(prepare):
    plain = scored(small_convolution(), prepare="none").table
    rows = scored(small_convolution(), prepare=[prepare]).table
    assert np.allclose(plain["score"], rows["score"], rtol=0.05)


def test_a_number_as_radius_caps_the_score():
    rows = scored(small_convolution(), norm=[2, math.inf], radius={2: [0.05, 9], "inf": "auto"})
    table = rows.table
    assert (table["score"] == np.minimum(table["first_order"], table["radius"])).all()
    of_two = table[table["norm"] == 2]
    assert (of_two["capped"] == (of_two["first_order"] > of_two["radius"])).all()
    assert of_two["capped"].any()
    assert not of_two["capped"].all()
    assert (table["radius"] == table["score"])[table["norm"] == math.inf].all()


def test_without_a_gradient_a_radius_caps_the_score():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(dim=(1, 2, 3)) * 0 + 1, x.sum(dim=(1, 2, 3)) * 0], dim=1)

    with pytest.warns(UserWarning, match="the same at all"):
        rows = scored(Flat().eval(), norm=[1, 2]).table
    assert np.isposinf(rows["first_order"]).all()
    assert np.isfinite(rows["score"]).all()
    assert rows["capped"].all()
    assert (rows["flags"] == "zero-gradient").all()


def test_gradients_that_vanish_are_flagged():
    class Saturated(nn.Module):
        def forward(self, x):
            return torch.stack([1 + 1e-6 * x.sum(dim=(1, 2, 3)), 0 * x.sum(dim=(1, 2, 3))], dim=1)

    rows = scored(Saturated().eval()).table
    assert (rows["flags"] == "vanishing-gradients").all()
    assert (rows["score"] > 1e3).all()


def test_misclassified_images_and_targets_out_of_reach_are_rows():
    model = small_convolution()
    predicted = model(IMAGES).argmax(dim=1).numpy()
    labels = predicted.copy()
    labels[0] = (labels[0] + 1) % 4
    rows = scored(model, labels=labels, targets=[int(predicted[1]), (predicted[1] + 1) % 4]).table
    assert (rows["status"][:2] == "misclassified").all()
    for name in ("score", "score_low", "score_high", "first_order"):
        assert (rows[name][:2] == 0).all()
    assert rows["status"][2] == "no-target"
    assert math.isnan(rows["score"][2])
    assert math.isnan(rows["first_order"][2])
    assert (rows["status"][3:] != "misclassified").all()


def test_what_is_not_finite_has_no_score():
    class Broken(nn.Module):
        """The root's gradient at 0 is infinite."""

        def forward(self, x):
            flat = x.flatten(1)
            return torch.stack([1 + flat[:, 0].abs().sqrt(), flat[:, 1]], dim=1)

    x = torch.rand(2, 4) + 0.1
    x[1, 0] = 0
    rows = scored(Broken().eval(), x).table
    assert rows["status"].tolist() == ["ok", "non-finite"]
    assert np.isnan(rows[["score", "first_order"]].to_numpy()).tolist() == [[False] * 2, [True] * 2]


@pytest.mark.parametrize(
    "option",
    [
        {"race": True},
        {"tolerance": 0.1},
        {"max_gradients": 5},
        {"keep_witness": True},
        {"candidates": IMAGES[:, None]},
    ],
)
def test_what_does_not_go_with_it_is_refused(option):
    with pytest.raises(cx.CleverError, match="first-order"):
        scored(small_convolution(), **option)


def test_batches_do_not_matter():
    rows = scored(small_convolution(), n_batches=7, batch_samples=3)
    assert rows.table["score"].equals(scored(small_convolution()).table["score"])
    assert (rows.table["n_batches"] == 0).all()
    assert rows.metadata["settings"]["max_gradients"] == 1


def test_ctrl_c_keeps_the_images_that_are_finished(monkeypatch):
    from clever_ext.estimators import first_order as module

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return norms(*arguments)

    norms = module.norms_of_many
    monkeypatch.setattr(module, "norms_of_many", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        result = scored(small_convolution(), device_batch=1)
    assert not result.metadata["complete"]
    assert result.table["image_id"].unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    "how",
    [
        {"radius": 1.0, "n_batches": 4, "batch_samples": 4},
        {"radius": 1.0, "n_batches": 4, "batch_samples": 4, "race": True},
        {"radius": "auto", "n_batches": 8, "batch_samples": 4},
        {"radius": 1.0, "tolerance": 0.5, "batch_samples": 4, "max_gradients": 64},
        {"radius": 1.0, "estimator": "steepest", "max_gradients": 20},
        {"radius": "auto", "estimator": "steepest", "max_gradients": 20},
    ],
)
def test_the_column_of_every_estimator_is_its_score(how):
    model = small_convolution()
    labels = model(IMAGES).argmax(dim=1).numpy()
    labels[1] = (labels[1] + 1) % 4
    what = {"norm": [1, 2], "labels": labels, "targets": [int(labels[0]), int(labels[1])]}
    own = scored(model, prepare="none", **what).table
    rows = cx.clever_score(model, IMAGES, prepare="none", **what, **how).table
    assert np.allclose(rows["first_order"], own["score"], rtol=1e-6, equal_nan=True)
    assert np.allclose(rows["first_order"], own["first_order"], rtol=1e-6, equal_nan=True)


def test_files_of_before_the_column_was_written_have_it(tmp_path):
    result = cx.clever_score(relu_network(4, 8, 0), torch.rand(3, 4).double(), n_batches=4)
    result.save(tmp_path / "new.parquet")
    assert "first_order" in pq.read_schema(tmp_path / "new.parquet").names
    pq.write_table(
        pq.read_table(tmp_path / "new.parquet").drop(["first_order"]), tmp_path / "old.parquet"
    )
    files = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    for path in files:
        pd.testing.assert_frame_equal(cx.CleverResult.load(path).table, result.table)
    both = cx.CleverResult.load_parts(files, SCALARS).table
    expected = [*result.table["first_order"]] * 2
    assert both["first_order"].tolist() == expected
    assert not both["first_order"].isna().any()


def test_of_numbers():
    margin = [1.0, 0.0, -1.0, 1.0, 0.0, math.inf, math.nan, 1.0, 1.0]
    norm = [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 1.0, math.inf, math.nan]
    expected = [0.5, 0.0, 0.0, math.inf, 0.0, math.nan, math.nan, math.nan, math.nan]
    assert np.array_equal(first_order(margin, norm), expected, equal_nan=True)


def test_the_nearest_class_is_found_though_a_row_spends_one_gradient():
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(48, 16), torch.nn.ReLU(), torch.nn.Linear(16, 6))
    x = torch.rand(100, 48)
    how = {"norm": 1, "estimator": "first-order", "clip": (0, 1)}
    every = cx.clever_score(model.eval(), x, targets="all", **how)
    near = cx.clever_score(model, x, targets="near-1", **how)
    np.testing.assert_allclose(near.scores[1], every.scores[1])
