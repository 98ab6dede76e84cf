"""Several radii, and the radius that is found."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from known_classifiers import Quadratic, linear
from torch import nn

import clever_ext as cx
from clever_ext.kernels.balls import dual_exponent

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = {"prepare": "none", "device_batch": 32}


def network(seed=0, n_inputs=12, n_classes=4):
    torch.manual_seed(seed)
    return (
        nn.Sequential(nn.Linear(n_inputs, 32), nn.Tanh(), nn.Linear(32, n_classes)).double().eval()
    )


def images(n=3, n_inputs=12):
    return torch.rand(n, n_inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def quadratic(margin, a=0.8):
    """Return the classifier, its image and the radius where margin / L(R) = R for p = 2."""
    b, x0 = torch.linspace(1, 2, 3, dtype=torch.float64), torch.full((1, 3), 0.3).double()
    model = Quadratic(b, a, margin - float(b @ x0[0] + a * (x0 * x0).sum() / 2)).eval()
    at_center = float((b + a * x0[0]).norm())  # L(R) = at_center + a R
    crossing = (-at_center + math.sqrt(at_center**2 + 4 * a * margin)) / (2 * a)
    return model, x0, crossing


# --- curves ------------------------------------------------------------------------------------


def test_a_curve_is_what_separate_calls_give():
    model, x = network(), images()
    radii = {2: [0.5, 0.1, 1.5], math.inf: 0.2}
    common = {"norm": [2, math.inf], "n_batches": 6, "batch_samples": 8, "clip": (0, 1), **EXACT}
    curve = cx.clever_score(model, x, radius=radii, **common).table
    assert len(curve) == 3 * 3 * 4
    for radius in radii[2]:
        alone = cx.clever_score(model, x, radius={2: radius, math.inf: 0.2}, **common).table
        of_curve = curve[(curve["radius"] == radius) | (curve["norm"] == math.inf)]
        maxima = [np.stack(list(table["maxima"])) for table in (of_curve, alone)]
        np.testing.assert_array_equal(*maxima)
        pd.testing.assert_frame_equal(
            of_curve.drop(columns="maxima").reset_index(drop=True), alone.drop(columns="maxima")
        )


def test_a_curves_rows_are_in_the_order_of_the_radii():
    result = cx.clever_score(
        network(), images(1), radius=[0.5, 0.1], targets="top2", n_batches=2, batch_samples=2
    )
    assert result.table["radius"].tolist() == [0.1, 0.5]


def test_the_score_is_that_of_the_best_radius(tmp_path):
    model, x = network(), images()
    result = cx.clever_score(model, x, radius=[0.01, 0.2, 5.0], n_batches=10, batch_samples=16)
    table = result.table
    best = table.groupby(["image_id", "target"])["score"].max().groupby("image_id").min()
    np.testing.assert_array_equal(result.scores[2], best.to_numpy())
    smallest = result.smallest()
    assert [row["score"] for row in smallest] == best.tolist()
    assert (result.scores[2] > 0.01).all()
    result.save(tmp_path / "x.parquet")
    again = cx.CleverResult.load(tmp_path / "x.parquet")
    np.testing.assert_array_equal(again.scores[2], result.scores[2])
    assert again.metadata == result.metadata
    assert again.metadata["settings"]["radii"] == [[0.01, 0.2, 5.0]]


def test_a_radius_whose_gradients_are_no_numbers_leaves_no_score():
    class Bad(nn.Module):
        def forward(self, x):
            far = (x * x).sum(dim=1, keepdim=True) > 4
            x = x * torch.where(far, math.nan, 1.0)
            return torch.cat([x.sum(dim=1, keepdim=True), x[:, :1] * 0], dim=1)

    x = torch.full((1, 3), 0.5)
    result = cx.clever_score(Bad().eval(), x, radius=[0.1, 100.0], n_batches=4, batch_samples=64)
    assert result.table["status"].tolist() == ["degenerate", "non-finite"]
    assert np.isnan(result.scores[2]).all()
    assert result.smallest()[0]["status"] == "non-finite"


def test_a_curve_can_be_refined():
    model, x = network(), images()
    given = {"radius": [0.1, 0.5], "norm": [1, 2], "batch_samples": 8}
    few, many = (cx.clever_score(model, x, n_batches=n, **given) for n in (4, 9))
    more = cx.refine(few, model, x, 9)
    np.testing.assert_allclose(more.table["score"], many.table["score"], rtol=1e-6)


# --- the radius that is found ------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, math.inf])
@pytest.mark.parametrize("n_batches", [2, 5, 40])
def test_a_linear_classifiers_radius_is_its_score(p, n_batches):
    model, x = linear(), torch.rand(3, 6, dtype=torch.float64)
    result = cx.clever_score(model, x, norm=p, radius="auto", n_batches=n_batches, batch_samples=4)
    logits, weight = model(x).detach(), model.weight.detach()
    for _, row in result.table.iterrows():
        i, c, j = row["image_id"], row["predicted"], row["target"]
        slope = torch.linalg.vector_norm(weight[c] - weight[j], dual_exponent(p))
        exact = float((logits[i, c] - logits[i, j]) / slope)
        assert row["score"] == pytest.approx(exact, rel=1e-12)
        assert row["radius"] == pytest.approx(exact, rel=1e-12)
        assert not row["capped"]
        assert row["n_gradients"] == 4 * n_batches  # the pilot's batches are the run's


@pytest.mark.parametrize("margin", [0.001, 1.0, 30.0])
def test_the_radius_of_a_quadratic_is_found(margin):
    model, x0, crossing = quadratic(margin)
    row = cx.clever_score(
        model, x0, radius="auto", targets=1, n_batches=100, batch_samples=128
    ).table.iloc[0]
    # Samples stay a little inside the ball: 3 % of the way from the norm at the image to L.
    assert row["score"] == pytest.approx(crossing, rel=0.03)
    assert row["score"] <= row["radius"] <= 1.1 * crossing
    assert row["n_gradients"] <= 1.5 * 100 * 128
    assert len(row["maxima"]) == row["n_batches"] == 100


def test_rows_at_a_found_radius_are_those_of_that_radius():
    model, x = network(), images(2)
    common = {"targets": "top-3", "batch_samples": 16, "n_batches": 40, **EXACT}
    found = cx.clever_score(model, x, radius="auto", **common).table
    for _, row in found.iterrows():
        i = row["image_id"]
        fixed = cx.clever_score(
            model, x[i : i + 1], radius=row["radius"], image_ids=[i], **common
        ).table
        (same,) = [r for _, r in fixed.iterrows() if r["target"] == row["target"]]
        np.testing.assert_allclose(row["maxima"], same["maxima"], rtol=1e-9)
        assert row["score"] == pytest.approx(same["score"], rel=1e-6)
        assert row["n_gradients"] <= 1.5 * same["n_gradients"]


def test_no_fixed_radius_is_much_better():
    model, x = network(), images(6)
    common = {"targets": "top2", "n_batches": 64, "batch_samples": 32, **EXACT}
    found = cx.clever_score(model, x, radius="auto", **common)
    middle = found.scores[2].mean()
    grid = cx.clever_score(model, x, radius=list(middle * np.geomspace(0.2, 5, 20)), **common)
    assert (found.scores[2] >= 0.98 * grid.scores[2]).all()


def test_found_and_given_radii_in_one_call():
    result = cx.clever_score(
        network(), images(2), norm=[2, math.inf], radius={2: "auto", math.inf: [0.1, 0.2]},
        targets="top2", n_batches=8, batch_samples=4,
    )  # fmt: skip
    assert result.table["norm"].tolist() == [2, math.inf, math.inf] * 2
    assert result.table["radius"].tolist()[1:3] == [0.1, 0.2]
    assert result.table["n_gradients"].tolist()[1:3] == [32, 32]
    assert result.metadata["settings"]["radii"] == ["auto", [0.1, 0.2]]


class Odd(nn.Module):
    """Margin c + s max(x - t, 0) over the first element: dead up to t."""

    def __init__(self, c, s, t=0.0):
        super().__init__()
        self.c, self.s, self.t = c, s, t

    def forward(self, x):
        first = self.c + self.s * torch.relu(x[:, 0] - self.t)
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_a_margin_of_0_scores_0():
    row = cx.clever_score(
        Odd(0.0, 1.0, -9.0).eval(),
        torch.full((1, 3), -9.0),
        radius="auto",
        n_batches=8,
        batch_samples=4,
    ).table.iloc[0]
    assert (row["score"], row["capped"]) == (0.0, False)
    assert row["radius"] > 0


@pytest.mark.parametrize(
    ("clip", "low", "high", "width"),
    [((0, 1), 0.2, 0.7, 0.8), (None, 0.2, 0.7, 0.5), ((-5, 300), 20.0, 90.0, 280.0)],
)
@pytest.mark.parametrize("more", [{}, {"tolerance": 0.1}, {"race": True}])
def test_where_no_gradient_is_seen_the_reach_of_the_data_caps(clip, low, high, width, more):
    x = torch.tensor([[low, high, high]])
    with pytest.warns(cx.CleverWarning, match="4 of 4 scores are but how far"):
        result = cx.clever_score(
            Odd(1.0, 1.0, 1e4).eval(), x, norm=[1, 2, 3, math.inf], n_batches=8, batch_samples=4,
            clip=clip, **more,
        )  # fmt: skip
    for row in result.table.itertuples():
        assert row.radius == pytest.approx(width * 3 ** (1 / row.norm))
        assert (row.score, row.capped) == (row.radius, True)
        assert "zero-gradient" in row.flags


def test_a_first_radius_that_overflows_is_left():
    class Overflowing(nn.Module):
        def forward(self, x):
            # Flat at the image, steep beside it, and no number far from it.
            first = 1 + 10 * torch.relu(x[:, 0] - 0.05) + x[:, 1] / 100
            far = (x * x).sum(dim=1) > 1
            return torch.stack([first * torch.where(far, math.nan, 1.0), first * 0], dim=1)

    row = cx.clever_score(
        Overflowing().eval(),
        torch.zeros(1, 2),
        radius="auto",
        targets=1,
        n_batches=64,
        batch_samples=16,
    ).table.iloc[0]
    assert row["margin"] / row["norm_at_image"] > 1  # where the search begins
    assert row["status"] != "non-finite"
    assert row["score"] == pytest.approx(0.1, rel=0.1)


def test_misclassified_images_among_found_radii():
    model, x = network(), images()
    labels = model(x).argmax(dim=1).numpy()
    labels[1] = (labels[1] + 1) % 4
    result = cx.clever_score(
        model, x, labels=labels, radius="auto", targets="top2", n_batches=4, batch_samples=4
    )
    row = result.table.iloc[1]
    assert (row["status"], row["score"], row["n_gradients"]) == ("misclassified", 0.0, 0)
    assert np.isnan(row["radius"])
    assert result.scores[2][1] == 0


def test_a_result_of_found_radii_is_saved_and_fitted_again(tmp_path):
    model, x = network(), images()
    result = cx.clever_score(model, x, radius="auto", targets="top2", n_batches=10, batch_samples=8)
    result.save(tmp_path / "x.parquet")
    loaded = cx.CleverResult.load(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(loaded.table, result.table)
    pd.testing.assert_frame_equal(cx.refit(loaded).table, result.table)


def test_without_a_radius_it_is_found():
    model, x = network(), images()
    common = {"targets": "top2", "n_batches": 10, "batch_samples": 8, "norm": [1, 2]}
    found = cx.clever_score(model, x, radius="auto", **common)
    for given in (None, {1: None, 2: "auto"}):
        pd.testing.assert_frame_equal(
            cx.clever_score(model, x, radius=given, **common).table, found.table
        )
    assert found.metadata["settings"]["radii"] == ["auto", "auto"]


@pytest.mark.parametrize("radius", [None, {1: None, 2: [0.1, 0.4]}])
def test_found_radii_are_refined_where_they_are(radius):
    model, x = network(), images()
    labels = model(x).argmax(dim=1).numpy()
    labels[1] = (labels[1] + 1) % 4
    common = {"norm": [1, 2], "batch_samples": 8, "labels": labels, **EXACT}
    few = cx.clever_score(model, x, n_batches=10, radius=radius, **common)
    counts = []
    more = cx.refine(few, model, x, 24, progress=lambda *done: counts.append(done))
    scored = few.table["status"] != "misclassified"
    pd.testing.assert_series_equal(more.table["radius"], few.table["radius"])
    added = more.table["n_gradients"] - few.table["n_gradients"]
    assert (added == np.where(scored, 14 * 8, 0)).all()
    assert counts[-1] == (added.sum(), added.sum())
    for before, after in zip(few.table["maxima"], more.table["maxima"], strict=True):
        np.testing.assert_array_equal(before, after[: len(before)])
    assert not more.table["capped"][scored & (more.table["norm"] == 1)].any()
    assert more.metadata["settings"] == few.metadata["settings"] | {"n_batches": 24}
    row = more.table[scored].iloc[0]
    same = cx.clever_score(
        model, x[:1], radius=row["radius"], n_batches=24, targets=int(row["target"]),
        **common | {"norm": row["norm"], "labels": None},
    ).table.iloc[0]  # fmt: skip
    np.testing.assert_allclose(row["maxima"], same["maxima"], rtol=1e-9)
    assert row["score"] == pytest.approx(same["score"], rel=1e-6)
    exact = cx.refine(few, model, x, tolerance=0.2, max_gradients=1600)
    pd.testing.assert_series_equal(exact.table["radius"], few.table["radius"])
    assert (exact.table["n_gradients"] >= few.table["n_gradients"]).all()
    assert (exact.table["n_gradients"] <= 1600).all()


def test_progress_ends_at_what_was_spent():
    counts = []
    result = cx.clever_score(
        network(), images(), radius="auto", n_batches=16, batch_samples=4,
        progress=lambda done, total: counts.append((done, total)),
    )  # fmt: skip
    spent = result.table["n_gradients"].sum()
    assert counts[-1] == (spent, spent)


def test_ctrl_c_keeps_the_finished_images():
    def stop(done, _):
        if done > 12000:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        result = cx.clever_score(
            network(), images(40), radius="auto", targets="top2", n_batches=20, batch_samples=16,
            progress=stop,
        )  # fmt: skip
    assert not result.metadata["complete"]
    assert 0 < len(result.table) < 40
    assert (result.table["n_batches"] == 20).all()


@pytest.mark.parametrize(
    "radius",
    [[], [1, 1], [1, 0], [1, "auto"], ["auto"], "wide", {2: []}, {2: [1, -1]}, [math.nan], [[1]]],
)
def test_bad_radii_are_refused(radius):
    with pytest.raises(cx.CleverError, match="radius"):
        cx.clever_score(network(), images(), radius=radius, n_batches=2, batch_samples=2)


# --- pictures ----------------------------------------------------------------------------------


def test_the_curve_is_drawn():
    result = cx.clever_score(
        network(), images(), norm=[1, 2], radius=[0.1, 0.5, 1], n_batches=4, batch_samples=4
    )
    ax = cx.plot.radius(result, norm=2, image_id=1)
    assert len(ax.lines) == 3 + 1
    with pytest.raises(cx.CleverError, match="norm"):
        cx.plot.radius(result)
