import torch
from torch import nn

from clever_ext.gradients import (
    GradientOracle,
    TorchOracle,
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


def test_parameters_are_left_alone():
    model = network()
    model[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    list(
        TorchOracle(model).margin_gradients(IMAGES, torch.tensor([0, 1]), torch.tensor([[2], [3]]))
    )
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())


class Once(torch.autograd.Function):
    """A backward pass that can be made once for each forward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = [x * 2]
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return ctx.kept.pop() * gradient


def test_a_graph_that_serves_one_backward_pass_is_made_again_for_each_target():
    linear = torch.nn.Linear(4, 5)
    x, classes = torch.rand(2, 4), torch.tensor([0, 1])
    targets = torch.tensor([[1, 2, 3], [2, 3, 4]])
    once = TorchOracle(lambda x: linear(Once.apply(x)))
    plain = TorchOracle(lambda x: linear(x**2))
    for _ in range(2):
        pairs = zip(*(o.margin_gradients(x, classes, targets) for o in (once, plain)), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected)


def test_a_model_that_modifies_its_input_gets_a_copy():
    def model(x):
        x -= 0.5
        return x.flatten(1)[:, :3] ** 2

    oracle, before = TorchOracle(model), IMAGES.clone()
    (gradient,) = oracle.margin_gradients(IMAGES, torch.tensor([0, 0]), torch.tensor([[1], [1]]))
    expected = 2 * (IMAGES[:, 0, 0, 0] - 0.5)
    torch.testing.assert_close(gradient[:, 0, 0, 0], expected)
    torch.testing.assert_close(oracle.logits(IMAGES)[:, 0], expected**2 / 4)
    assert torch.equal(IMAGES, before)


def test_placement():
    assert model_placement(network().half()) == (torch.device("cpu"), torch.float16)
    assert model_placement(lambda x: x) == (None, None)
    assert model_placement(nn.Flatten()) == (None, None)
