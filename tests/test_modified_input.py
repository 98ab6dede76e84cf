"""Models that write to the points that they are given."""

import pytest
import torch
from torch import nn

import clever_ext as cx

IMAGES = torch.rand(2, 3, 4, 4)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).eval()


def shifted(x):
    x -= 0.5
    return x.flatten(1)[:, :3] ** 2


def shifted_data(x):
    x.data.sub_(0.5)
    return x.flatten(1)[:, :3] ** 2


def shifted_in_numpy(x):
    x.detach().numpy()[:] -= 0.5
    return x.flatten(1)[:, :3] ** 2


def shifted_where_differentiated(x):
    return shifted(x) if x.requires_grad else shifted(x.clone())


@pytest.mark.parametrize(
    "model",
    [
        shifted, shifted_data, shifted_in_numpy, shifted_where_differentiated,
        nn.Sequential(nn.ReLU(inplace=True), network()).eval(),
        nn.Sequential(nn.Hardtanh(inplace=True), network()).eval(),
    ],
)  # fmt: skip
def test_a_model_that_modifies_its_input_is_scored_and_images_stay_as_they_are(model):
    images = IMAGES * 4 - 1
    before = images.clone()
    found = cx.clever_score(model, images, n_batches=4, batch_samples=8)
    assert torch.equal(images, before)
    expected = cx.clever_score(lambda x: model(x.clone()), images, n_batches=4, batch_samples=8)
    assert found.scores[2].tolist() == expected.scores[2].tolist()
