"""Signs of gradient masking in rows: real networks have none, the same ones masked do."""

import math

import numpy as np
import pytest
import torch
from known_classifiers import linear
from published import lenet_adversarial, lenet_clean, mnist
from torch import nn

import clever_ext as cx
from clever_ext.estimators.tables import MASKING, PLATEAU, VANISHING, ZERO
from clever_ext.results.result import CleverResult

IMAGES, LABELS = (each[::2] for each in mnist())


class Applied(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def after(model, function):
    return nn.Sequential(model, Applied(function)).eval()


def before(model, function):
    return nn.Sequential(Applied(function), model).eval()


def flagged(model, radii, words, estimator):
    """Share of the correctly classified digits' rows that have one of some flags."""
    budget = {"n_batches": 4, "batch_samples": 6}
    if estimator == "steepest":
        budget = {"estimator": "steepest", "max_gradients": 24}
    table = cx.clever_score(
        model, IMAGES, norm=list(radii), radius=radii, targets="top2", labels=LABELS, clip=(0, 1),
        prepare="none", device_batch=128, **budget,
    ).table  # fmt: skip
    scored = table[table["status"] != "misclassified"]
    return scored["flags"].str.contains("|".join(words)).groupby(scored["norm"]).mean()


both = pytest.mark.parametrize("estimator", ["clever", "steepest"])


@both
@pytest.mark.parametrize("build", [lenet_clean, lenet_adversarial])
def test_honest_networks_have_no_signs(build, estimator):
    radii = {1: [2, 20], 2: [0.2, 2], math.inf: [0.001, 0.3]}
    assert (flagged(build(), radii, MASKING, estimator) == 0).all()


@both
@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (lambda net: after(net, lambda z: z.softmax(dim=1)), VANISHING),
        (lambda net: after(net, lambda z: (10 * z).softmax(dim=1)), VANISHING),
        (lambda net: after(net, lambda z: (100 * z).softmax(dim=1)), ZERO),
        (lambda net: before(net, lambda x: (8 * x).round() / 8), ZERO),
    ],
    ids=["softmax", "softmax at 1/10", "softmax at 1/100", "staircase"],
)
@pytest.mark.parametrize("build", [lenet_clean, lenet_adversarial])
def test_masked_networks_have_signs(build, mask, word, estimator):
    shares = flagged(mask(build()), {2: 0.2, math.inf: 0.01}, [word], estimator)
    # Of what is masked lightest, the softmax itself, half of the digits; else more.
    assert (shares >= (1 if word == ZERO else 0.5)).all()


@both
def test_an_image_on_a_plateau_has_a_sign(estimator):
    saturated = after(lenet_clean(), lambda z: (10 * z).softmax(dim=1))
    assert (flagged(saturated, {math.inf: 0.3}, [PLATEAU], estimator) >= 0.5).all()


def test_signs_survive_a_file_a_refit_and_more_batches(tmp_path):
    masked = after(lenet_clean(), lambda z: z.softmax(dim=1))
    few = {"radius": 0.5, "targets": "top2", "batch_samples": 4, "prepare": "none"}
    result = cx.clever_score(masked, IMAGES[:6], n_batches=4, **few)
    assert result.table["flags"].str.contains(VANISHING).any()
    result.save(tmp_path / "run.parquet")
    again = cx.refit(CleverResult.load(tmp_path / "run.parquet"))
    assert (again.table["flags"] == result.table["flags"]).all()
    more = cx.refine(result, masked, IMAGES[:6], n_batches=8)
    whole = cx.clever_score(masked, IMAGES[:6], n_batches=8, **few)
    assert (more.table["flags"] == whole.table["flags"]).all()


def test_a_margin_of_zero_and_a_gradient_that_is_no_number_have_no_sign():
    same = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
    with torch.no_grad():
        same[1].weight.zero_()
        same[1].bias.zero_()
    assert set(cx.clever_score(same, IMAGES[:2], n_batches=3).table["flags"]) == {""}
    broken = after(lenet_clean(), lambda z: z * torch.nan_to_num(z.sum() * 0) + (z - z).sqrt())
    table = cx.clever_score(broken, IMAGES[:2], n_batches=3, batch_samples=2, targets="top2").table
    assert (table["status"] == "non-finite").all()
    assert not table["flags"].str.contains("|".join(MASKING)).any()


def test_the_range_of_values_decides_not_their_unit():
    clean = lenet_clean()
    bytes_ = before(clean, lambda x: x / 255)
    scores = [
        cx.clever_score(model, images, radius=radius, n_batches=3, batch_samples=4, targets="top2")
        for model, images, radius in ((clean, IMAGES, 1.0), (bytes_, 255 * IMAGES, 255.0))
    ]
    for result in scores:
        assert set(result.table["flags"].str.contains("|".join(MASKING))) == {False}
    np.testing.assert_allclose(255 * scores[0].scores[2], scores[1].scores[2], rtol=1e-3)


@pytest.mark.parametrize(
    "how",
    [
        {"tolerance": 0.5, "max_gradients": 64},
        {"race": True},
        {"radius": "auto"},
        {"estimator": "steepest"},
        {"estimator": "steepest", "radius": "auto"},
    ],
)
def test_where_no_image_is_scored_rows_are_as_by_the_papers_estimator(how):
    model, images = linear(), torch.rand(3, 6, dtype=torch.float64)
    wrong = ((model(images).argmax(dim=1) + 1) % 4).numpy()
    given = {"labels": wrong, "n_batches": 4, "batch_samples": 4}
    plain = cx.clever_score(model, images, **given).table
    table = cx.clever_score(model, images, **given | how).table
    assert (table["status"] == "misclassified").all()
    assert (table["score"] == 0).all()
    assert (table.dtypes == plain.dtypes).all()
    names = ["image_id", "target", "score", "score_low", "score_high", "capped", "flags"]
    assert table[names].equals(plain[names])
