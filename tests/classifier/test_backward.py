"""Gradients that depend on chance, on the batch, or on earlier backward passes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import clever_ext as cx
from clever_ext.classifier.checks import check_classifier
from clever_ext.classifier.points import Region
from clever_ext.errors import CleverError

X = torch.rand(3, 12, generator=torch.Generator().manual_seed(1))
FEW = {"n_batches": 4, "batch_samples": 8, "prepare": "none"}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


class Changed(torch.autograd.Function):
    """Leaves its input alone, and changes the gradient by a rule."""

    @staticmethod
    def forward(context, x, rule):
        context.rule, context.share = rule, 2.0
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return context.rule(context, gradient), None


def model(rule):
    inner = network()
    return lambda x: inner(Changed.apply(x, rule))


def halved(context, gradient):
    context.share *= 0.5
    return gradient * context.share


OF_BATCH = {
    "clipped": lambda _, g: g * torch.clamp(0.5 / (g.norm() + 1e-9), max=1),
    "normed": lambda _, g: g / g.norm(),
    "mean": lambda _, g: g / len(g),
    "large batches": lambda _, g: g * (1.0 if len(g) < 9 else 0.5),
    "three": lambda _, g: g * (1.0 if len(g) != 3 else 0.5),
    "first row": lambda _, g: torch.cat([g[:1] * 2, g[1:]]),
    "last row": lambda _, g: torch.cat([g[:-1], g[-1:] * 2]),
}


@pytest.mark.parametrize("name", OF_BATCH)
def test_gradients_that_depend_on_the_batch_are_refused(name):
    with pytest.raises(CleverError, match="gradient depends on the batch"):
        cx.clever_score(model(OF_BATCH[name]), X, **FEW)


@pytest.mark.parametrize(
    "rule",
    [lambda _, g: g * (torch.rand_like(g) > 0.5), lambda _, g: g + 0.1 * torch.randn_like(g)],
)
def test_random_gradients_are_refused(rule):
    with pytest.raises(CleverError, match="gave different gradients"):
        cx.clever_score(model(rule), X, **FEW)


def test_a_graph_that_changes_with_each_backward_pass_is_used_once():
    assert not check_classifier(model(halved), X).one_forward
    assert check_classifier(network(), X).one_forward
    found = cx.clever_score(model(halved), X, **FEW)
    plain = cx.clever_score(network(), X, **FEW)
    np.testing.assert_allclose(found.scores[2], plain.scores[2], rtol=1e-4)


@pytest.mark.parametrize(
    "rule",
    [
        lambda _, g: g.clamp(-0.05, 0.05),
        lambda _, g: g.relu(),
        lambda _, g: F.normalize(g, dim=1),
    ],
)
def test_what_is_no_derivative_is_said(rule):
    (found,) = check_classifier(model(rule), X).findings
    assert "no derivative" in found.said


def test_nan_gradients_and_logits_have_their_own_words():
    (found,) = check_classifier(model(lambda _, g: g * float("nan")), X).findings
    assert "gradients to the input are NaN or infinite at 8 of 8" in found.said
    inner = network()
    (found,) = check_classifier(lambda x: inner(x) * float("nan"), X).findings
    assert "logits are NaN" in found.said
    above = torch.tensor([0, torch.inf, 0])
    (found,) = check_classifier(lambda x: inner(x) + above, X).findings
    assert "logits of class 1 are inf" in found.said


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_an_offset_hides_nothing_and_is_no_fault(offset):
    inner = network()
    assert check_classifier(lambda x: inner(x) + offset, X).findings == []
    with pytest.raises(CleverError, match="different logits"):
        check_classifier(lambda x: inner[2](F.dropout(inner[:2](x), 0.3)) + offset, X)


@pytest.mark.parametrize("n", [3, 5, 7, 13])
def test_batches_of_the_images_themselves_are_looked_at(n):
    inner, images = network(), torch.rand(n, 12)
    with pytest.raises(CleverError, match="influence each other"):
        check_classifier(lambda x: inner(x) * (2 if len(x) == n else 1), images, device_batch=64)
    rest = 13 % 8
    with pytest.raises(CleverError, match="influence each other"):
        check_classifier(
            lambda x: inner(x) * (2 if len(x) == rest else 1), torch.rand(13, 12), device_batch=8
        )


def test_models_of_one_batch_size_and_of_gradients_alone_are_told():
    inner = network()

    def one(x):
        if len(x) > 1:
            raise ValueError("one at a time")
        return inner(x)

    def hooked(x):
        inside = x * 1
        inside.retain_grad()
        return inner(inside)

    for given, message in (
        (one, "takes batches of 1, but not.*split"),
        (lambda x: inner(x.reshape(4, 12)), "takes batches of 4, but not.*dynamic"),
        (hooked, r"fails under torch.no_grad.*x\.requires_grad"),
        (lambda x: inner(x) * (1 + torch.is_grad_enabled()), "other logits under torch.no_grad"),
    ):
        with pytest.raises(CleverError, match=message):
            cx.clever_score(given, X, **FEW)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_real_layers_pass(dtype):
    torch.manual_seed(0)
    convolutions = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval().to(dtype)  # fmt: skip
    region = Region(clip=(0, 1))
    found = check_classifier(convolutions, torch.rand(3, 3, 32, 32).to(dtype), 16, region)
    assert found.one_forward
    assert all("computes in" in each.said for each in found.findings)
