"""Pairs of image and target without anything to reach: they are rows, and lower no score."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx

FEW = {"n_batches": 16, "batch_samples": 8, "radius": 5.0}
IMAGES = torch.rand(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(n_classes=4):
    torch.manual_seed(2)
    return nn.Linear(5, n_classes).double().eval()


def exact(model, image, target, radius=5.0):
    """The score of a linear classifier, p = 2."""
    logits = model(image).detach()
    c = int(logits.argmax())
    slope = (model.weight[c] - model.weight[target]).norm()
    return min(float((logits[c] - logits[target]) / slope), radius)


def predicted_of(model):
    return model(IMAGES).argmax(1).numpy()


#: A class that some images are predicted as, and others are not.
def shared(model):
    classes, counts = np.unique(predicted_of(model), return_counts=True)
    assert len(classes) > 1
    return int(classes[np.argmin(counts)])


WAYS = {
    "batches": {},
    "tolerance": {"tolerance": 0.1},
    "race": {"race": True},
    "steepest": {"estimator": "steepest", "max_gradients": 200},
    "radius": {"radius": "auto"},
    "targets together": {"norm": [1, 2]},
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_is_its_target_already_costs_itself_alone(way):
    model = linear()
    target, predicted = shared(model), predicted_of(model)
    result = cx.clever_score(model, IMAGES, targets=target, **FEW | WAYS[way])
    table = result.table[result.table["norm"] == 2]
    own = predicted == target
    assert ((table["status"] == "no-target").to_numpy() == own).all()
    assert (table["n_gradients"][own] == 0).all()
    assert np.isnan(result.scores[2][own]).all()
    for n in np.flatnonzero(~own):
        expected = exact(model, IMAGES[n], target, radius=math.inf if way == "radius" else 5.0)
        assert result.scores[2][n] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_among_several_targets_its_own_class_lowers_no_score(way):
    model = linear(6)
    targets, predicted = [[0, 1, 2, 3, 4, 5]], predicted_of(model)
    result = cx.clever_score(model, IMAGES, targets=targets, **FEW | WAYS[way])
    others = cx.clever_score(model, IMAGES, targets="all", **FEW | WAYS[way])
    np.testing.assert_allclose(result.scores[2], others.scores[2], rtol=1e-6)
    table = result.table
    own = table["target"] == predicted[table["image_id"]]
    assert ((table["status"] == "no-target") == own).all()
    assert table["score"][own].isna().all()
    assert np.isinf(table["margin"][own]).all()
    assert np.isinf(table["nearest_flip"][own]).all()
    assert (table["flags"][own].str.contains("masking|gradient|contradicted") == False).all()  # noqa: E712
    if way == "race":
        deciding = result.decisive()
        assert (deciding["status"] != "no-target").all()
        assert (table["p_lowest"][own] < 1e-9).all()


class Masked(nn.Module):
    def __init__(self, fill=-math.inf, n_classes=4):
        super().__init__()
        self.inner, self.fill = linear(n_classes), fill

    def forward(self, x):
        column = torch.full((len(x), 1), self.fill, dtype=x.dtype)
        return torch.cat([self.inner(x), column], dim=1)


@pytest.mark.filterwarnings("ignore::clever_ext.findings.CleverWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_class_that_a_mask_rules_out_leaves_the_others_their_scores(way):
    masked = Masked().eval()
    result = cx.clever_score(masked, IMAGES, targets="all", **FEW | WAYS[way])
    plain = cx.clever_score(masked.inner, IMAGES, targets="all", **FEW | WAYS[way])
    np.testing.assert_allclose(result.scores[2], plain.scores[2], rtol=1e-6)
    ruled_out = result.table["target"] == 4
    assert ((result.table["status"] == "no-target") == ruled_out).all()
    assert "class 4 is -inf" in result.metadata["warnings"][0]["said"]


@pytest.mark.filterwarnings("ignore::clever_ext.findings.CleverWarning")
def test_a_mask_by_a_logarithm_of_zero_whose_gradient_is_no_number():
    model = linear()

    def masked(x):
        share = torch.cat([model(x).softmax(1), torch.zeros(len(x), 1, dtype=x.dtype)], dim=1)
        return (share * (share > 0)).log()

    result = cx.clever_score(masked, IMAGES, targets="all", **FEW)
    finite = np.isfinite(result.scores[2])
    assert finite.all() or (result.table["status"] == "non-finite").any()


def test_many_targets_of_which_some_get_no_batches_in_a_race():
    model = linear(60)
    settings = FEW | {"race": True}
    result = cx.clever_score(model, IMAGES, targets=[list(range(60))], **settings)
    expected = [min(exact(model, x, t) for t in range(60) if t != int(model(x).argmax()))
                for x in IMAGES]  # fmt: skip
    np.testing.assert_allclose(result.scores[2], expected, rtol=1e-6)


def test_targets_that_no_image_can_reach_are_refused():
    model, image = linear(), IMAGES[:1]
    own = int(predicted_of(model)[0])
    with pytest.raises(cx.CleverError, match=r"the target of image 0.*class predicted for it"):
        cx.clever_score(model, image, targets=own, **FEW)
    with pytest.raises(cx.CleverError, match="of image 7, and of every other"):
        cx.clever_score(model, image, targets=[own], image_ids=[7], **FEW)


def test_misclassified_images_stay_what_they_are():
    model = linear()
    labels = (predicted_of(model) + 1) % 4
    labels[0] = predicted_of(model)[0]
    result = cx.clever_score(model, IMAGES, targets=int(labels[0]), labels=labels, **FEW)
    status = result.table["status"]
    assert status[0] == "no-target"
    assert (status[1:] == "misclassified").all()
    assert (result.scores[2][1:] == 0).all()


def test_results_with_such_rows_are_kept_refined_and_fitted_again(tmp_path):
    model = linear()
    targets = np.stack([(predicted_of(model) + k) % 4 for k in (0, 1)], axis=1)
    targets[0] = targets[0, 0]  # all of the first image's
    result = cx.clever_score(model, IMAGES, targets=targets, **FEW)
    result.save(tmp_path / "x.parquet")
    again = cx.CleverResult.load(tmp_path / "x.parquet")
    np.testing.assert_array_equal(again.scores[2], result.scores[2])
    assert np.isnan(result.scores[2]).tolist() == [True] + [False] * 5
    np.testing.assert_array_equal(cx.refit(result).scores[2], result.scores[2])
    more = cx.refine(result, model, IMAGES, n_batches=20)
    np.testing.assert_allclose(more.scores[2], result.scores[2], rtol=1e-6)
    assert (more.table["status"] == result.table["status"]).all()
    tolerant = cx.refine(result, model, IMAGES, tolerance=0.1)
    np.testing.assert_allclose(tolerant.scores[2], result.scores[2], rtol=1e-6)
