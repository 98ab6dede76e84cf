"""Models behind transformations that have no gradient of use."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import clever_ext as cx

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FEW = {"n_batches": 2, "batch_samples": 4, "clip": (0, 1), "targets": "top2"}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5)
    ).eval()


def levels(x):
    return (x * 3).round() / 3


class Median(nn.Module):
    """Of three pixels in a row."""

    def forward(self, x):
        return nn.functional.pad(x, (1, 1, 0, 0), "replicate").unfold(3, 3, 1).median(dim=-1).values


def jpeg(x):
    """By Pillow, outside torch."""
    made = []
    for pixels in (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        made.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(made).to(x) / 255


@pytest.mark.parametrize("estimator", ["clever", "steepest", "first-order"])
def test_the_identity_changes_no_bit(estimator):
    plain, behind = (
        cx.clever_score(model, IMAGES, norm=[2, np.inf], estimator=estimator, prepare="none", **FEW)
        for model in (network(), cx.BPDA(network(), lambda x: x))
    )
    columns = ["score", "margin", "max_norm", "nearest_flip", "n_gradients", "flags"]
    assert plain.table[columns].equals(behind.table[columns])


@pytest.mark.parametrize("transform", [levels, Median().eval(), jpeg])
def test_margins_and_flips_are_those_of_the_transformed_input(transform):
    net = network()
    table = cx.clever_score(
        cx.BPDA(net, transform), IMAGES, estimator="steepest", keep_witness=True, **FEW
    ).table
    logits = net(transform(IMAGES)).detach().double()
    best = logits.topk(2, dim=1).values
    np.testing.assert_allclose(table["margin"], best[:, 0] - best[:, 1], rtol=1e-4)
    assert (table["max_norm"] > 0).all()
    assert np.isfinite(table["nearest_flip"]).all()
    for row, x in zip(table.itertuples(), IMAGES, strict=True):
        flip = torch.from_numpy(row.witness).float().view(1, 3, 8, 8)
        found = net(transform(flip))[0]
        assert found[row.target] >= found[row.predicted] - 1e-5
        assert row.nearest_flip == pytest.approx(float((flip[0] - x).norm()), rel=1e-5)
        assert row.score <= row.nearest_flip


def test_flips_are_nearer_than_those_without_a_gradient():
    net = network()
    with pytest.warns(cx.CleverWarning, match="exactly zero"):
        without = cx.clever_score(lambda x: net(levels(x)), IMAGES, estimator="steepest", **FEW)
    behind = cx.clever_score(cx.BPDA(net, levels), IMAGES, estimator="steepest", **FEW)
    assert (without.table["flags"].str.contains("zero-gradient")).all()
    assert not behind.table["flags"].str.contains("zero-gradient").any()
    assert (behind.table["nearest_flip"] < 0.8 * without.table["nearest_flip"]).all()


def test_check_says_that_gradients_are_approximate():
    net = cx.BPDA(cx.Normalized(network(), [0.5] * 3, [0.5] * 3), jpeg)
    for model in (net, nn.Sequential(net).eval()):
        told = cx.check(model, IMAGES, labels=[0, 1, 2], **FEW)
        assert not told.refused
        assert "✓ model     gradients are approximate" in str(told)
    assert "approximate" not in str(cx.check(network(), IMAGES, **FEW))


def test_it_is_of_any_type_and_prepared_as_any_model():
    net = cx.BPDA(network().double(), levels)
    table = cx.clever_score(net, IMAGES, prepare="channels_last", **FEW).table
    assert (table["score"] > 0).all()
    assert net(IMAGES.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda x: x[..., ::2], "makes shape"),
        (lambda x: x.numpy(), "makes ndarray"),
        (lambda x: x + torch.rand_like(x), "two passes over the same batch gave different"),
        (lambda x: x - x.mean(), "rows of a batch influence"),
        (nn.Dropout(), "is in training mode"),
    ],
)
def test_transformations_that_do_not_suit_are_refused(transform, said):
    with pytest.raises(cx.CleverError, match=said):
        cx.clever_score(cx.BPDA(network(), transform), IMAGES, **FEW)


@pytest.mark.parametrize(
    ("model", "transform", "said"),
    [
        (cx.TorchOracle(network()), levels, "given a GradientOracle"),
        (network(), 3, "of type int cannot be called"),
        (None, levels, "cannot be called"),
    ],
)
def test_what_cannot_be_called_is_refused(model, transform, said):
    with pytest.raises(cx.CleverError, match=said):
        cx.BPDA(model, transform)
