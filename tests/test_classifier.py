import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier import check_classifier, modifies_input
from clever_ext.errors import CleverError

IMAGES = torch.rand(2, 3, 4, 4)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).eval()


def test_a_sound_model_passes_and_nothing_is_touched():
    model = network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.random.get_rng_state()
    check_classifier(model, IMAGES)
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


class Noisy(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] + torch.randn(3)


def mixing(x):
    return x.flatten(1)[:, :3] - x.flatten(1)[:, :3].mean(dim=0)


def mixing_without_gradient(x):
    return mixing(x.detach()) + x.flatten(1)[:, :3]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network().train(), "the model is in training mode"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval(), None),
        (mixing, "rows of a batch influence each other"),
        (mixing_without_gradient, "rows of a batch influence each other"),
        (Noisy().eval(), "two passes over the same batch gave different logits"),
        (lambda x: x.flatten(1).detach(), "do not depend on its input"),
        (lambda x: x, r"output for a batch of 3 is \[3, 3, 4, 4\]"),
        (lambda x: x.flatten(), "is \\[144\\]"),
        (lambda x: x.flatten(1)[:2], r"is \[2, 48\]"),
        (lambda x: {"logits": x.flatten(1)}, "is dict"),
        (lambda x: x.flatten(1)[:, :1], "one logit"),
        (nn.Linear(7, 3).eval(), "the model failed on a batch of shape"),
    ],
)
def test_refusals(model, message):
    if message is None:
        check_classifier(model, IMAGES)
        return
    with pytest.raises(CleverError, match=message):
        check_classifier(model, IMAGES)


def test_a_submodule_in_training_mode_is_named():
    model = network()
    model[1].train()
    with pytest.raises(CleverError, match="its submodule '1' is in training mode"):
        check_classifier(model, IMAGES)


def test_one_image_is_enough_to_find_rows_that_mix():
    with pytest.raises(CleverError, match="influence each other"):
        check_classifier(mixing, IMAGES[:1])


def test_nan_logits_are_no_sign_of_mixing_rows():
    check_classifier(lambda x: x.flatten(1)[:, :3] * float("nan"), IMAGES)


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
    assert modifies_input(model, images)
    found = cx.clever_score(model, images, n_batches=4, batch_samples=8)
    assert torch.equal(images, before)
    expected = cx.clever_score(lambda x: model(x.clone()), images, n_batches=4, batch_samples=8)
    assert found.scores[2].tolist() == expected.scores[2].tolist()


def test_other_models_get_their_points_without_a_copy():
    assert not modifies_input(network(), IMAGES)
    assert not modifies_input(lambda x: x.detach(), IMAGES)
    assert not modifies_input(nn.Linear(7, 3), IMAGES)  # which it does not take
