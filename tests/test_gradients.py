import pytest
import torch
from torch import nn

from clever_ext.gradients import (
    GradientOracle,
    TorchOracle,
    frozen,
    model_placement,
)

IMAGES = torch.rand(2, 3, 4, 4)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).eval()


def test_margin_gradients_match_autograd_row_by_row():
    model, x = network(), torch.rand(6, 3, 4, 4)
    classes, targets = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([[1, 2]] * 6).clone()
    targets[1] = torch.tensor([3, 0])
    found = list(TorchOracle(model).margin_gradients(x, classes, targets))
    assert len(found) == 2
    for row in range(6):
        for t in range(2):
            point = x[row : row + 1].clone().requires_grad_()
            logits = model(point)[0]
            (expected,) = torch.autograd.grad(logits[classes[row]] - logits[targets[row, t]], point)
            # float32 rounding of another batch size's kernels
            torch.testing.assert_close(found[t][row], expected[0], rtol=1e-4, atol=1e-6)
    assert not x.requires_grad


def test_logits_have_no_graph():
    assert not TorchOracle(network()).logits(IMAGES).requires_grad


def test_an_oracle_is_recognised():
    assert isinstance(TorchOracle(network()), GradientOracle)
    assert not isinstance(network(), GradientOracle)


def test_frozen_gives_parameters_back_as_they_were():
    model = network()
    model[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]

    def run_and_fail() -> None:
        with frozen(model):
            assert not any(p.requires_grad for p in model.parameters())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run_and_fail()
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())


def test_placement():
    assert model_placement(network().half()) == (torch.device("cpu"), torch.float16)
    assert model_placement(lambda x: x) == (None, None)
    assert model_placement(nn.Flatten()) == (None, None)
