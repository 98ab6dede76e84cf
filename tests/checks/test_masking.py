"""Whether `check` tells gradients that are of use from those that hide what the model does."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.checks.looked import look
from clever_ext.checks.masking import steps_of
from clever_ext.engine.engine import Engine
from clever_ext.estimators.table import check_settings
from clever_ext.inputs.batch import check_batch

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(8, 1, 14, 14, generator=torch.Generator().manual_seed(0)).round(decimals=1)
LITTLE, WELL = "gradients say little", "✓ model     gradients say how margins change"
BEATEN = "a search without gradients finds some"


def network(activation=nn.ReLU, seed=0, scale=1.0):
    torch.manual_seed(seed)
    sizes = [196, 64, 64]
    hidden = [
        each for a, b in itertools.pairwise(sizes) for each in (nn.Linear(a, b), activation())
    ]
    net = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 5)).eval()
    with torch.no_grad():
        for parameter in net[-1].parameters():
            parameter *= scale
    return net


class RandomGradient(torch.autograd.Function):
    """The identity, with gradients of something else, the same each time."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        signs = torch.rand(gradient[0].shape, generator=torch.Generator().manual_seed(5)) - 0.5
        return gradient.abs().mean(dim=(1, 2, 3), keepdim=True) * signs


def told(model, images=IMAGES, **how):
    how = {"clip": (0, 1), "targets": "top2", "n_batches": 2, "batch_samples": 4} | how
    return cx.check(model, images, labels=np.zeros(len(images), dtype=int), **how)


def of_model(checked):
    return [each for each in checked.concerns if each.topic == "model"]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_nothing_to_say_of_gradients_as_they_are(activation, scale):
    for seed in range(3):
        checked = told(network(activation, seed, scale))
        assert not [each for each in of_model(checked) if "gradients" in each.said], str(checked)
        assert WELL in str(checked)


@pytest.mark.parametrize("shape", [(3, 10), (3, 5), (3, 4, 6), (3, 2, 3, 9, 4), (1, 12)])
def test_any_shape_of_input(shape):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), 4)).eval()
    checked = told(model, torch.rand(shape), clip=None)
    assert not [each for each in of_model(checked) if "gradients" in each.said], str(checked)


def staircase(x):
    steps = 4 * x
    return (steps.floor() + torch.sigmoid(60 * (steps % 1 - 0.5))) / 4


@pytest.mark.parametrize(
    ("masked", "said"),
    [
        (lambda x: network()((8 * x).round() / 8), BEATEN),
        (lambda x: (network()(x) * 16).round() / 16, BEATEN),
        (lambda x: network()(staircase(x)), LITTLE),
        (lambda x: network()(RandomGradient.apply(x)), LITTLE),
        (lambda x: network()(0.99 * (x * 255).round() / 255 + 0.01 * x), LITTLE),
        (lambda x: network(scale=1e4)(x).softmax(dim=1), BEATEN),
    ],
    ids=["rounded", "rounded logits", "staircase", "other gradients", "a leak", "saturated"],
)
def test_masks_are_said(masked, said):
    checked = told(masked)
    assert not checked.refused
    assert any(said in each.said for each in of_model(checked)), str(checked)
    assert WELL not in str(checked)


def test_gradients_passed_around_a_mask_are_of_use():
    checked = told(cx.BPDA(network(), lambda x: (x * 255).round() / 255))
    assert WELL in str(checked), str(checked)


def test_what_is_seen_depends_on_the_seed_alone():
    def seen(seed, device_batch):
        settings = check_settings(2, None, "top2", 2, 4, (0, 1), seed)
        engine = Engine(network(), "none", device_batch)
        batch = check_batch(IMAGES, None, None, engine.model, None, None, settings)
        looked = look(engine, batch, settings, len(IMAGES))
        torch.manual_seed(seed + device_batch)  # of the process, which does not count
        with engine.running(IMAGES.device):
            return steps_of(looked)

    first = seen(0, 64)
    for again in (seen(0, 64), seen(0, 3)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3)
    assert not np.allclose(first.correlation, seen(1, 64).correlation, rtol=1e-3)


def test_an_oracle_is_looked_at_too():
    assert WELL in str(told(cx.TorchOracle(network())))


def test_few_flips_tell_nothing():
    checked = told(network(), IMAGES[:1])
    assert "too few to tell" in str(checked)
    assert not [each for each in of_model(checked) if "gradients" in each.said]
