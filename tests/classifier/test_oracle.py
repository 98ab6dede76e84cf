import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier.oracle import GradientOracle, TorchOracle, model_placement
from clever_ext.kernels import ops

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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batched", [False, True])
def test_margins_and_their_gradients_are_those_of_plain_torch(batched, dtype):
    """To the bit, for targets that lie apart in memory, one of which is the class itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10)).to(dtype)
    x, classes = torch.rand(13, 20, dtype=dtype), torch.randint(10, (26,))[::2]
    targets, others = torch.randint(10, (5, 13)).T, torch.randint(10, (13, 2))
    targets[0, 1] = classes[0]
    oracle = TorchOracle(model, batched_backward=batched)
    margins, gradients = oracle.margins_and_gradients(x, classes, targets, others)
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    to = torch.cat([targets, others], dim=1)
    expected = logits.gather(1, classes[:, None]) - logits.gather(1, to)
    assert margins.dtype == dtype
    assert not margins.requires_grad
    assert torch.equal(margins, expected.detach())
    one_hot = torch.eye(10, dtype=dtype)
    for t, gradient in enumerate(gradients):
        signs = one_hot[classes] - one_hot[targets[:, t]]
        assert torch.equal(gradient, torch.autograd.grad(logits, leaf, signs, retain_graph=True)[0])
    assert t == 4


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_the_seeds_of_many_targets_are_made_by_parts(monkeypatch, at_once):
    model, x = network(), torch.rand(6, 3, 4, 4)
    classes, targets = (
        torch.arange(6) % 5,
        torch.stack([torch.arange(6) + t for t in range(7)]).T % 5,
    )
    expected = list(TorchOracle(model).margin_gradients(x, classes, targets))
    made, margin_seeds = [], ops.margin_seeds

    def counted(*arguments):
        made.append(len(arguments[-1]))
        margin_seeds(*arguments)

    monkeypatch.setattr(ops, "margin_seeds", counted)
    monkeypatch.setattr("clever_ext.classifier.oracle._SEED_ELEMENTS", at_once * 6 * 5 + 1)
    found = list(TorchOracle(model).margin_gradients(x, classes, targets))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert max(made) == at_once
    assert sum(made) == 7


def test_logits_have_no_graph():
    assert not TorchOracle(network()).logits(IMAGES).requires_grad


def with_grad(x):
    torch.set_grad_enabled(True)
    torch.manual_seed(0)
    return network()(x)


def purified(x):
    with torch.enable_grad():
        x = x if x.requires_grad else x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((x**4).sum(), x, create_graph=True)
        return (x - 0.1 * gradient).flatten(1)[:, :3] ** 2


@pytest.mark.parametrize("model", [with_grad, purified])
def test_logits_of_a_model_that_enables_grad_have_no_graph(model):
    assert not TorchOracle(model).logits(IMAGES).requires_grad
    result = cx.clever_score(model, IMAGES, n_batches=4, batch_samples=8)
    assert (result.scores[2] > 0).all()


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


class Weighted(nn.Module):
    """A network [4] -> [3] with other tensors before its weights."""

    def __init__(self, *others, as_buffers=False):
        super().__init__()
        for n, other in enumerate(others):
            if as_buffers:
                self.register_buffer(f"other{n}", other)
            else:
                self.register_parameter(f"other{n}", nn.Parameter(other, requires_grad=False))
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize("as_buffers", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_type_is_that_of_most_weights(dtype, as_buffers):
    model = Weighted(torch.ones((), dtype=dtype), as_buffers=as_buffers).eval()
    assert model_placement(model) == (torch.device("cpu"), torch.float32)
    result = cx.clever_score(model, torch.rand(2, 4), n_batches=4, batch_samples=8)
    assert result.metadata["settings"]["dtype"] == "float32"
    large = Weighted(torch.ones(99, dtype=torch.float64), as_buffers=True)
    assert model_placement(large)[1] == torch.float32


@pytest.mark.parametrize("as_buffers", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_of_8_bits_leave_the_type_to_the_points(dtype, as_buffers):
    model = Weighted(torch.ones(99).to(dtype), as_buffers=as_buffers).half()
    model.other0 = (
        model.other0.to(dtype)
        if as_buffers
        else nn.Parameter(model.other0.to(dtype), requires_grad=False)
    )
    assert model_placement(model)[1] is None
    masks = Weighted(torch.ones(99, dtype=torch.bool), torch.arange(99), as_buffers=True)
    assert model_placement(masks)[1] == torch.float32
