"""Whether an oracle's gradients are those of its logits."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx

NUMBERS = torch.Generator().manual_seed(3)
IMAGES = torch.rand(3, 3, 8, 8, generator=NUMBERS)
FEW = {"n_batches": 2, "batch_samples": 4}
SAID = "the gradients are not those of the logits"


def network(activation, depth=2, width=64):
    torch.manual_seed(1)
    sizes = [192, *[width] * depth]
    layers = [
        each for a, b in itertools.pairwise(sizes) for each in (nn.Linear(a, b), activation())
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 5)).eval()


NET = network(nn.ReLU)


class Changed:
    """The oracle of a network, with something done to what it answers."""

    def __init__(self, to_logits=lambda x: x, to_gradients=lambda x: x):
        self.own = cx.TorchOracle(NET)
        self.to_logits, self.to_gradients, self.rows = to_logits, to_gradients, []

    def logits(self, x):
        self.rows.append(len(x))
        return self.to_logits(self.own.logits(x))

    def margin_gradients(self, x, classes, targets):
        return map(self.to_gradients, self.own.margin_gradients(x, classes, targets))


def said(oracle, images=IMAGES, **how):
    """What is said of an oracle's gradients, by warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = cx.clever_score(oracle, images, **FEW | how)
    texts = [str(each.message) for each in caught]
    told = [text for text in texts if SAID in text]
    kept = [each for each in found.metadata["warnings"] if SAID in each["said"]]
    assert len(told) == len(kept)
    return told


def one_hot(logits):
    return nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits)


@pytest.mark.parametrize(
    ("oracle", "times"),
    [
        (Changed(to_gradients=lambda x: -x), "change -1 times"),
        (Changed(to_gradients=lambda x: x / 2), "change 2 times"),
        (Changed(to_logits=lambda x: x / 2), "change 0.5 times"),
        (Changed(to_logits=lambda x: (10 * x).softmax(dim=1)), "of 8 points these change"),
        (Changed(to_logits=lambda x: (x * 20).round() / 20), "change 0 times"),
    ],
)
def test_gradients_of_something_else_are_said(oracle, times):
    (text,) = said(oracle, norm=np.inf, radius=1e-2)
    assert times in text
    assert "docs/guide/other-frameworks.md" in text


def test_one_hot_answers_with_gradients_are_refused():
    with pytest.raises(cx.CleverError, match=r"logits are one-hot.*at all 72 points"):
        cx.clever_score(Changed(one_hot), IMAGES, **FEW, radius=1e-2)
    # Without gradients there is nothing that is of something else.
    assert not said(Changed(one_hot, torch.zeros_like), radius=1e-2)


class Clamped(nn.Module):
    def forward(self, x):
        return NET(x.clamp(0, 1))


class Short(nn.Module):
    """A network that computes in bfloat16 and does not show it."""

    def __init__(self):
        super().__init__()
        self.net = network(nn.ReLU).bfloat16()

    def forward(self, x):
        return self.net(x.bfloat16()).float()


class Waves(nn.Module):
    """Of a wave length far below the sampled balls."""

    def forward(self, x):
        return torch.sin(50 * NET(x) * 100)


class Offset(nn.Module):
    """Of which little is left in float32."""

    def forward(self, x):
        return NET(x) + 1000


RIGHT = {
    "relu": NET, "deep": network(nn.ReLU, 6), "tanh": network(nn.Tanh), "gelu": network(nn.GELU),
    "clamped": Clamped(), "short": Short(), "waves": Waves().eval(), "offset": Offset().eval(),
    "softmax": nn.Sequential(NET, nn.Softmax(dim=1)).eval(),
}  # fmt: skip
BALLS = [{}, {"radius": 1e-3, "norm": np.inf}, {"radius": 5, "norm": [1, 2]}]


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_are_not(name):
    oracle = cx.TorchOracle(RIGHT[name].eval())
    sparse = (IMAGES * (IMAGES > 0.7)).clamp(0, 1)
    for images in (IMAGES, IMAGES[:1], sparse, torch.zeros(1, 3, 8, 8)):
        for ball in BALLS:
            for clip in (None, (0, 1)):
                assert not said(oracle, images, clip=clip, **ball)
    if name not in ("clamped", "waves"):
        assert not said(oracle, 255 * IMAGES)


def test_kinks_at_a_minority_of_points_do_not_decide():
    """At the image itself the gradient is another; the points around it are right."""

    def at_image(gradients):
        return torch.where(torch.arange(len(gradients))[:, None, None, None] < 2, 1, -1) * gradients

    assert not said(Changed(to_gradients=lambda x: -at_image(x)), radius=1e-2)
    assert said(Changed(to_gradients=at_image), radius=1e-2)


def test_points_fit_through_the_oracle():
    oracle = Changed()
    cx.clever_score(oracle, IMAGES, **FEW, device_batch=3)
    assert max(oracle.rows) == 3


def test_points_stay_within_valid_data():
    class Noting(Changed):
        low, high = np.inf, -np.inf

        def logits(self, x):
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
            return super().logits(x)

    oracle = Noting()
    cx.clever_score(oracle, IMAGES.round(), **FEW, clip=(0, 1), norm=np.inf, radius=0.3)
    assert (oracle.low, oracle.high) == (0, 1)
