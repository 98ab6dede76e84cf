"""Bounds of margins on balls, which benchmarks hold scores against."""

import math

import pytest
import torch
from published import Normalised
from torch import nn
from truth.bounds import Layers, certified_by_slope, certified_radius
from truth.boxed_balls import least_change, nearest_below
from truth.perceptrons import perceptron

import clever_ext as cx

NORMS = [1.0, 2.0, math.inf]


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def normalised():
    model = Normalised(convolutions(), [0.4], [0.2])
    model.mean, model.std = model.mean.double(), model.std.double()
    return model


MODELS = {
    "perceptron": (lambda: perceptron((6, 8, 7, 3)), (6,)),
    "convolutions": (convolutions, (1, 7, 7)),  # the last row and column are in no second window
    "normalised": (normalised, (1, 7, 7)),
}


def random_case(name, seed):
    torch.manual_seed(seed)
    build, shape = MODELS[name]
    return build().double().requires_grad_(False), torch.rand(shape, dtype=torch.float64)


def points(x, radius, p, n=2000):
    drawn = cx.sample_lp_ball(x.float(), n, p=p, radius=radius * (1 - 1e-5), clip=(0, 1))
    return drawn.double()


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("name", MODELS)
def test_no_sampled_margin_is_below_its_bound(name, p):
    for seed in range(3):
        model, x = random_case(name, seed)
        c = int(model(x[None]).argmax())
        for radius in (0.05, 0.5):
            layers = Layers(model, x)
            rows = layers.margins(c)
            margins = model(points(x, radius, p)) @ rows.T
            assert (margins >= layers.least_margins(x, c, radius, p) - 1e-9).all()


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("name", MODELS)
def test_no_sampled_gradient_is_steeper_than_its_bound(name, p):
    model, x = random_case(name, 0)
    c = int(model(x[None]).argmax())
    layers = Layers(model, x)
    at = points(x, 0.3, p, 200).requires_grad_()
    dual = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[p]
    bounds = layers.steepest(x, c, 0.3, p)
    for row, bound in zip(layers.margins(c), bounds, strict=True):
        (gradients,) = torch.autograd.grad((model(at) @ row).sum(), at)
        assert (torch.linalg.vector_norm(gradients.flatten(1), dual, dim=1) <= bound + 1e-9).all()


@pytest.mark.parametrize("p", NORMS)
def test_a_linear_network_is_bounded_exactly(p):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(9, 2)).double().requires_grad_(False)
    x = torch.full((9,), 0.5, dtype=torch.float64)
    model[0].bias += torch.tensor([0.1, 0.0]) - model(x[None])[0]  # the box does not matter so near
    dual = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[p]
    exact = float(0.1 / torch.linalg.vector_norm(model[0].weight[0] - model[0].weight[1], dual))
    layers = Layers(model, x)
    for certified in (certified_radius, certified_by_slope):
        assert exact * 0.99 < certified(layers, x, 0, p, 2 * exact / 1.01) <= exact


def room(slope, x):
    return torch.where(slope > 0, x, 1 - x)


@pytest.mark.parametrize("p", NORMS)
def test_least_change_is_the_least_and_nearest_below_the_nearest(p):
    torch.manual_seed(2)
    slopes, x = torch.randn(5, 4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    for radius in (0.2, 0.9):
        bounds = least_change(slopes, x, radius, p)
        grid = torch.cartesian_prod(*[torch.linspace(0, 1, 21, dtype=torch.float64)] * 4)
        inside = grid[torch.linalg.vector_norm(grid - x, p, dim=1) <= radius]
        assert ((inside - x) @ slopes.T >= bounds - 1e-9).all()
        for slope, bound in zip(slopes, bounds, strict=True):
            # The nearest point where the function has fallen that far is at the ball's surface.
            point = nearest_below(slope, -float(bound) * (1 - 1e-9), x, p)
            whole = float(bound) == pytest.approx(-float(slope.abs() @ room(slope, x)))
            distance = float(torch.linalg.vector_norm(point - x, p))
            assert distance < radius if whole else distance == pytest.approx(radius, rel=1e-6)
            assert float(slope @ (point - x)) == pytest.approx(float(bound), rel=1e-6)
            assert ((point >= -1e-12) & (point <= 1 + 1e-12)).all()


def test_nothing_is_nearest_where_a_function_is_positive_all_over_the_box():
    slope, x = torch.ones(3, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64)
    assert nearest_below(slope, 1.6, x, 2.0) is None
    assert torch.equal(nearest_below(slope, -0.1, x, 2.0), x)
