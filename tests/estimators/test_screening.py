"""The nearest classes: exact where the network is linear, found by few gradients where not."""

import math

import numpy as np
import pytest
import torch
from known_classifiers import linear
from published import lenet_adversarial, lenet_clean, mnist
from torch import nn

import clever_ext as cx
from clever_ext import data
from clever_ext.engine.engine import Engine
from clever_ext.estimators import screening
from clever_ext.estimators.screening import screen
from clever_ext.estimators.subjects import Subjects
from clever_ext.estimators.table import check_settings, gradients_of_image, settled
from clever_ext.inputs.batch import check_batch
from clever_ext.kernels.balls import dual_exponent
from clever_ext.models.loading import load_model

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = [1, 2, math.inf]
IMAGES = torch.rand(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
FEW = {"n_batches": 3, "batch_samples": 2, "prepare": "none"}


class Rays(nn.Module):
    """Classes of a linear model, each with a gradient of its own length, as given.

    Class 0 wins at the origin. The margin of class j is m_j - s_j u_j . x with unit vectors u_j, so
    that its boundary is m_j / s_j away in l2.
    """

    def __init__(self, margins: torch.Tensor, slopes: torch.Tensor, n_inputs: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        rays = torch.randn(len(margins), n_inputs, dtype=torch.float64, generator=generator)
        rays *= (slopes / rays.norm(dim=1))[:, None]
        self.weight = nn.Parameter(torch.cat([torch.zeros_like(rays[:1]), rays]))
        self.bias = nn.Parameter(torch.cat([torch.zeros(1).double(), -margins]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T + self.bias


def screened(model, x, k, norms=(2.0,), most=128, device_batch=8, labels=None):
    """Screen, and return the subjects and the gradients that it took."""
    spent = []
    model = model.eval()
    engine = Engine(model, "none", device_batch)
    batch = check_batch(x, labels, None, model, None, None)
    with engine.running(batch.images.device):
        engine.check(batch.images)
        subjects = Subjects(engine, batch, f"near-{k}", 0)
        screen(subjects, k, list(norms), most, spent.append)
    return subjects, sum(spent)


def distances(model, x, p):
    """The exact distances [N, classes] of a linear model; infinite to the predicted class."""
    logits = model(x).detach()
    c = logits.argmax(1)
    slopes = (model.weight[c][:, None] - model.weight[None]).detach()
    found = (logits.max(1).values[:, None] - logits) / slopes.norm(dual_exponent(p), dim=2)
    found[torch.arange(len(x)), c] = math.inf
    return found.numpy()


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("k", [1, 3, 39])
def test_of_a_linear_model_they_are_the_nearest_in_order(p, k):
    model = linear(12, 40)
    subjects, _ = screened(model, IMAGES, k, [p])
    exact = distances(model, IMAGES, p)
    assert (subjects.targets == np.argsort(exact, axis=1)[:, :k]).all()
    norms = subjects.of_targets(subjects.scored, [p])[0]
    found = np.take_along_axis(exact, subjects.targets, axis=1)
    margins = subjects.margins(np.arange(5)[:, None], subjects.targets)
    np.testing.assert_allclose(margins / norms, found, rtol=1e-9)


def test_several_norms_take_turns():
    model = linear(12, 40)
    subjects, _ = screened(model, IMAGES, 6, NORMS)
    orders = np.stack([np.argsort(distances(model, IMAGES, p), axis=1) for p in NORMS])
    for n, targets in enumerate(subjects.targets.tolist()):
        turns = dict.fromkeys(orders[:, n].T.ravel().tolist())  # each class once, in turn
        assert targets == list(turns)[:6]


def test_the_rule_saves_most_of_a_thousand_classes_and_misses_none():
    generator = torch.Generator().manual_seed(5)
    margins = 1 + 9 * torch.rand(999, dtype=torch.float64, generator=generator)
    # No norm is as much larger than one that was seen as the rule allows for.
    slopes = 1 + 0.4 * torch.rand(999, dtype=torch.float64, generator=generator)
    model, x = Rays(margins, slopes), torch.zeros(1, 8, dtype=torch.float64)
    subjects, spent = screened(model, x, 5, most=999)
    assert subjects.targets[0].tolist() == (1 + (margins / slopes).argsort()[:5]).tolist()
    assert spent < 200
    assert subjects.screened.gradients_left_out.tolist() == [spent - 5]


def test_what_is_left_out_is_told():
    margins = torch.tensor([1.0, 2.0, 3.0, 9.0, 50.0], dtype=torch.float64)
    slopes = torch.tensor([1.0, 1.0, 6.0, 1.0, 1.0], dtype=torch.float64)
    model, x = Rays(margins, slopes), torch.zeros(1, 8, dtype=torch.float64)
    subjects, _ = screened(model, x, 2)  # distances 1, 2, 0.5, 9, 50
    assert subjects.targets.tolist() == [[3, 1]]
    assert subjects.left_out.tolist() == [3]
    assert subjects.screened.left_out_by[2.0] == pytest.approx([4.0])
    # Two were looked at: the third's distance is told by its margin and the largest norm seen.
    subjects, spent = screened(model, x, 2, most=2)
    assert (spent, subjects.targets.tolist()) == (2, [[1, 2]])
    assert subjects.screened.left_out_by[2.0] == pytest.approx([3.0])


@pytest.mark.parametrize("k", [1, 4, 20])
def test_the_limit_is_kept_but_for_the_classes_that_are_kept(k):
    model = Rays(torch.ones(300).double(), torch.ones(300).double())
    subjects, spent = screened(model, torch.zeros(1, 8).double(), k, most=max(k, 10))
    assert spent == max(k, 10)
    assert subjects.targets.shape == (1, k)


def test_equal_distances_go_by_margin_and_then_by_class():
    margins = torch.tensor([2.0, 1.0, 2.0, 1.0]).double()
    model = Rays(margins, margins)
    model.weight.data[1:] = torch.diag(margins) @ torch.eye(4, 8).double()
    subjects, _ = screened(model, torch.zeros(1, 8).double(), 4)
    assert subjects.targets.tolist() == [[2, 4, 1, 3]]
    nothing = torch.zeros(30).double()
    subjects, spent = screened(Rays(nothing, 1 + nothing), torch.zeros(1, 8).double(), 2)
    assert subjects.targets.tolist() == [[1, 2]]  # all at a distance of 0: no other is nearer
    assert spent == 16
    assert subjects.screened.left_out_by[2.0].tolist() == [1.0]


def test_without_gradients_all_are_infinitely_far_and_none_is_missed():
    margins, slopes = torch.arange(1, 41).double(), torch.zeros(40).double()
    slopes[30] = 1e-3
    subjects, spent = screened(Rays(margins, slopes), torch.zeros(1, 8).double(), 2)
    assert subjects.targets.tolist() == [[31, 1]]
    assert spent == 40
    assert np.isinf(subjects.screened.left_out_by[2.0]).all()


class Changed(nn.Module):
    """A linear model some of whose logits are no numbers, or infinite."""

    def __init__(self, model, added):
        super().__init__()
        self.model = model
        self.register_buffer("added", added.double())

    def forward(self, x):
        return self.model(x) + self.added


def test_masked_classes_come_last_and_are_not_counted():
    added = torch.zeros(40)
    added[5:] = -math.inf
    result = cx.clever_score(
        Changed(linear(12, 40), added).eval(), IMAGES, targets="near-6", radius=0.1, **FEW
    )
    assert (result.table["left_out"] == 0).all()
    assert result.table["left_out_by"].isna().all()
    status = result.table.groupby("image_id")["status"].agg(list)
    assert all(each[4:] == ["no-target"] * 2 and "no-target" not in each[:4] for each in status)


def test_logits_that_are_no_numbers_are_never_left_out():
    added = torch.zeros(40)
    added[7] = math.nan  # the predicted class of all, since it is no number
    subjects, _ = screened(Changed(linear(12, 40), added), IMAGES, 3)
    assert (subjects.predicted == 7).all()
    assert (subjects.targets == [0, 1, 2]).all()
    assert np.isnan(subjects.screened.left_out_by[2.0]).all()


class Kinked(nn.Module):
    """Three near classes, and a fourth whose gradient at the origin is not a number."""

    def forward(self, x):
        bad = x[:, 3] - 3
        if bad.requires_grad:
            bad.register_hook(lambda gradient: torch.where(gradient == 0, gradient, math.nan))
        return torch.stack([0 * x[:, 0], x[:, 0] - 1, x[:, 1] - 2, x[:, 2] - 2.5, bad], dim=1)


def test_a_gradient_that_is_not_a_number_comes_first():
    subjects, _ = screened(Kinked(), torch.zeros(1, 4).double(), 2)
    assert subjects.targets.tolist() == [[4, 1]]


def network(n_classes=200):
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, n_classes)).double().eval()


def test_targets_depend_on_the_image_alone(monkeypatch):
    model = network()
    monkeypatch.setattr(screening, "_IMAGES_AT_ONCE", 2)
    whole, spent = screened(model, IMAGES, 4, NORMS, device_batch=3)
    one_by_one = [screened(model, IMAGES[n : n + 1], 4, NORMS) for n in (4, 2, 0, 1, 3)]
    for n, (each, _) in zip((4, 2, 0, 1, 3), one_by_one, strict=True):
        assert each.targets[0].tolist() == whole.targets[n].tolist()
    assert spent == sum(own for _, own in one_by_one)


def test_images_that_are_not_scored_take_nothing():
    model = linear(12, 40)
    predicted = model(IMAGES).argmax(1).numpy()
    labels = np.where(np.arange(5) < 3, predicted, (predicted + 1) % 40)
    subjects, spent = screened(model, IMAGES, 3, labels=labels)
    assert len(subjects.scored) == 3
    assert spent == 3 * 3 + subjects.screened.gradients_left_out.sum()
    result = cx.clever_score(
        model, IMAGES, targets="near-3", labels=labels, radius=0.1, **FEW
    ).table
    wrong = result["status"] == "misclassified"
    assert (result["n_gradients"][wrong] == 0).all()
    assert wrong.sum() == 2 * 3


@pytest.mark.parametrize("network", [lenet_clean, lenet_adversarial])
@pytest.mark.parametrize("p", NORMS)
def test_of_real_digits_the_nearest_are_those_of_all_gradients(network, p):
    x, model = mnist()[0], network()
    subjects, _ = screened(model, x, 3, [p], device_batch=32)
    classes, margins = subjects.by_margin(subjects.scored)
    with subjects.engine.running(x.device):
        norms = subjects.norms_at(subjects.scored, classes, [p])[0]
    order = np.argsort(margins / norms, axis=1)
    assert (subjects.targets == np.take_along_axis(classes, order, axis=1)[:, :3]).all()
    if network is lenet_adversarial:
        assert (subjects.targets[:, 0] != classes[:, 0]).any()  # the runner-up is not the nearest


def test_of_a_photograph_the_nearest_class_is_not_the_runner_up():
    network = load_model("efficientnet-lite0")
    pixels = data.load(data.sample_pictures()[4], network.preprocessing)[None]
    subjects, spent = screened(network.model, pixels, 1, most=16)
    runner_up = subjects.by_margin(subjects.scored)[0][0, 0]
    # Of all 999 gradients: class 992 is .108 away, the runner-up, 927, .172.
    assert (int(runner_up), subjects.targets.tolist(), spent) == (927, [[992]], 16)
    distance = subjects.margins(np.array([0]), subjects.targets[0]) / subjects.of_targets(
        subjects.scored, [2.0]
    )
    assert distance.item() == pytest.approx(0.1081, rel=0.01)
    assert subjects.screened.left_out_by[2.0] > 1


@pytest.mark.parametrize(
    ("n_classes", "settings", "expected"),
    [
        (20, {}, "all"),
        (21, {}, "near-10"),
        (21, {"race": True}, "near-10"),
        (1000, {"targets": "all"}, "all"),
        (1000, {"targets": "all", "estimator": "steepest", "radius": 1}, "all"),
        (20, {"targets": "all", "estimator": "steepest", "radius": "auto"}, "all"),
        (21, {"targets": "all", "estimator": "steepest", "radius": "auto"}, "near-4"),
        (21, {"estimator": "steepest", "radius": "auto"}, "near-10"),
    ],
)
def test_what_a_choice_means_for_so_many_classes(n_classes, settings, expected):
    given = {"norm": 2, "radius": 1, "targets": None, "n_batches": 5, "batch_samples": 4}
    found = settled(check_settings(**given | {"clip": None, "seed": 0} | settings), n_classes)
    assert found.targets == expected
    assert settled(found, n_classes) == found


def test_a_call_without_targets_is_all_of_few_classes_and_near_10_of_many():
    few, many = linear(12, 20), linear(12, 21)
    default = cx.clever_score(few, IMAGES, radius=0.1, **FEW)
    named = cx.clever_score(few, IMAGES, radius=0.1, targets="all", **FEW)
    assert default.table.equals(named.table)
    assert default.metadata["settings"]["targets"] == "all"
    assert (default.table["left_out"] == 0).all()
    result = cx.clever_score(many, IMAGES, radius=0.1, **FEW)
    assert result.metadata["settings"]["targets"] == "near-10"
    assert (result.table.groupby("image_id").size() == 10).all()
    assert (result.table["left_out"] == 10).all()
    assert (result.table["left_out_by"] >= 1).all()


@pytest.mark.parametrize("most", [16, 40, 100])
@pytest.mark.parametrize("norm", [2, NORMS])
def test_a_bracket_of_all_classes_takes_three_times_the_gradients_of_one(most, norm):
    model, seen = network(), []
    result = cx.clever_score(
        model, IMAGES, norm=norm, targets="all", estimator="steepest", radius="auto",
        max_gradients=most, prepare="none", progress=lambda done, _: seen.append(done),
    )  # fmt: skip
    rows = result.table
    for _, own in rows.groupby(["image_id", "norm"]):
        assert most < own["n_gradients"].sum() <= 3 * most
    kept = int(result.metadata["settings"]["targets"].removeprefix("near-"))
    assert (rows["left_out"] == 199 - kept).all()
    assert (rows["left_out_by"] > 0).all()
    assert sorted(seen) == seen
    settings = settled(
        check_settings(
            norm, "auto", "all", 5, 4, None, 0, estimator="steepest", max_gradients=most
        ),
        200,
    )
    assert rows.groupby("image_id")["n_gradients"].sum().max() <= gradients_of_image(settings, kept)


def test_the_gradients_of_classes_left_out_are_paid_by_the_first_row():
    model = network()
    subjects, spent = screened(model, IMAGES, 3, NORMS)
    rows = cx.clever_score(model, IMAGES, norm=NORMS, targets="near-3", radius=0.1, **FEW).table
    first = ~rows["image_id"].duplicated()
    assert (rows["n_gradients"][~first] == 6).all()
    assert (
        rows["n_gradients"][first].tolist() == (6 + subjects.screened.gradients_left_out).tolist()
    )
    assert spent == (rows["n_gradients"] - 6).sum() + 5 * 3


def test_rows_of_the_nearest_are_refined_saved_and_fitted_again(tmp_path):
    model = network()
    result = cx.clever_score(model, IMAGES, targets="near-3", radius=0.1, **FEW)
    result.save(tmp_path / "a.parquet")
    loaded = cx.CleverResult.load(tmp_path / "a.parquet")
    assert loaded.table.equals(result.table)
    names = ["image_id", "target", "left_out", "left_out_by"]
    more = cx.refine(loaded, model, IMAGES, n_batches=6)
    whole = cx.clever_score(model, IMAGES, targets="near-3", radius=0.1, **FEW | {"n_batches": 6})
    assert more.table[names].equals(result.table[names])
    assert more.table["n_gradients"].equals(whole.table["n_gradients"])
    assert np.allclose(more.table["score"], whole.table["score"])
    exact = cx.refine(loaded, model, IMAGES, tolerance=0.5, max_gradients=64)
    assert exact.table[names].equals(result.table[names])
    assert more.metadata["settings"]["targets"] == "near-3"
    assert cx.refit(result).table[names].equals(result.table[names])
