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


def clamped_where_need_be(x):
    if (x > 2.5).any():
        x.clamp_(max=2.5)
    return x.flatten(1)[:, :3] ** 2


def some_rows(x):
    x.data[x.data.amax((1, 2, 3)) > 2.95] -= 0.4
    return x.flatten(1)[:, :3] ** 2


def clamped_data(x):
    x.data.clamp_(-0.5, 2)
    return x.flatten(1)[:, :3] ** 2


@pytest.mark.parametrize(
    "model",
    [
        shifted, shifted_data, shifted_in_numpy, shifted_where_differentiated,
        clamped_where_need_be, some_rows, clamped_data,
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


@pytest.mark.parametrize("as_given", [lambda x: x, lambda x: x.numpy(), list])
def test_scoring_does_not_share_the_memory_of_images(as_given):
    images = IMAGES.clone()
    given = as_given(images)

    def model(x):
        images.zero_()  # as somebody might who has them too
        return x.flatten(1)[:, :3] ** 2

    found = cx.clever_score(model, given, n_batches=4, batch_samples=8)
    expected = cx.clever_score(
        lambda x: x.flatten(1)[:, :3] ** 2, IMAGES, n_batches=4, batch_samples=8
    )
    assert found.scores[2].tolist() == expected.scores[2].tolist()


def test_logits_may_be_written_to_one_place_again_and_again():
    net, place = network(), torch.zeros(9, 5)

    def model(x):
        if torch.is_grad_enabled():
            return net(x)
        return place[: len(x)].copy_(net(x))

    images = torch.rand(5, 3, 4, 4)
    for size in (1, 2, 5):
        few = {"n_batches": 4, "batch_samples": 8, "device_batch": size}
        found = cx.clever_score(model, images, **few)
        assert found.scores[2].tolist() == cx.clever_score(net, images, **few).scores[2].tolist()
