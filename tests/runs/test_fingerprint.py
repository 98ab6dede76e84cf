"""Whether two models compute the same, by what they say of fixed points."""

import math

import pytest
import torch

from clever_ext.engine.engine import Engine
from clever_ext.inputs.batch import check_batch
from clever_ext.runs.fingerprint import difference, fingerprint


def of(model, images):
    model.eval()
    return fingerprint(Engine(model, "none", 8), check_batch(images, None, None, model, None, None))


def net(seed=0, inner=None):
    torch.manual_seed(seed)
    first, last = torch.nn.Linear(12, 9), torch.nn.Linear(9, 4)
    return torch.nn.Sequential(torch.nn.Flatten(), first, inner or torch.nn.ReLU(), last)


def test_it_is_of_the_model_and_not_of_the_pictures():
    seen = [of(net(), torch.rand(3, 3, 2, 2)), of(net(), torch.zeros(1, 3, 2, 2))]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2
    assert seen[0][0] != seen[0][1]
    assert len(seen[0][0].split()) == 4


@pytest.mark.parametrize(
    "other",
    [net(inner=torch.nn.LeakyReLU(0.01)), net(1), torch.nn.Sequential(net(), torch.nn.Softmax(1))],
)
def test_other_functions_differ(other):
    images = torch.rand(1, 3, 2, 2)
    found = difference(of(net(), images), of(other, images), "cpu", "float32")
    assert found > 1e-3


def test_rounding_is_no_difference():
    images = torch.rand(1, 3, 2, 2)
    a, b = of(net(), images), of(net().double(), images.double())
    assert a != b
    assert difference(a, b, "cpu", "float32") is None
    assert difference(a, of(net().bfloat16(), images.bfloat16()), "cpu", "bfloat16") is None


def test_what_is_no_number_is_compared_too():
    assert difference(["inf nan 1"], ["inf nan 1"], "cpu", "float32") is None
    assert difference(["inf nan 1"], ["inf 2 1"], "cpu", "float32") is not None
    assert difference(["-inf 1"], ["inf 1"], "cpu", "float32") is not None
    assert difference(["0 0"], ["0 0"], "cpu", "float32") is None
    assert difference(["1 2"], ["1 2 3"], "cpu", "float32") == math.inf
