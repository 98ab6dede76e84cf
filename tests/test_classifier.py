import pytest
import torch
from torch import nn

from clever_ext.classifier import check_classifier
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
