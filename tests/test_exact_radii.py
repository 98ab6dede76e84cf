"""Nearest flips of small networks, which benchmarks hold scores against."""

import math

import numpy as np
import pytest
import torch
from truth.bounds import Layers, certified_radius
from truth.held import Known, ends
from truth.perceptrons import perceptron
from truth.pieces import Margin
from truth.projections import projected
from truth.solving import Solver

NORMS = [1.0, 2.0, math.inf]


def random_case(seed, widths=(2, 6, 5, 3)):
    """A network, a picture of it, and others: a grid of the box."""
    torch.manual_seed(seed)
    model = perceptron(widths).double().requires_grad_(False)
    for layer in model[::2]:
        layer.weight *= 2  # more kinks within the box
    line = torch.linspace(0, 1, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(*[line] * widths[0])
    logits = model(grid)
    # Centred, so that every class has its part of the box.
    model[-1].bias -= logits.mean(dim=0)
    classes = model(grid).argmax(dim=1)
    x = grid[len(grid) // 2 + 40]
    return model, x, grid, classes


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("seed", range(2))
def test_the_nearest_flip_is_that_of_a_grid(seed, p):
    model, x, grid, classes = random_case(seed)
    solver = Solver(model, grid[:: len(grid) // 900])
    c = int(model(x[None]).argmax())
    found = solver.nearest_of_all(x, p)
    away = torch.linalg.vector_norm(grid - x, p, dim=1)
    on_grid = float(away[classes != c].min())
    apart = float(torch.linalg.vector_norm(torch.full((2,), 1 / 200), p))
    assert found["bound"] <= found["distance"] <= on_grid
    assert found["bound"] > on_grid - apart
    assert found["distance"] <= found["bound"] * (1 + 1.1e-3)


@pytest.mark.parametrize("p", [1.0, math.inf])
def test_integer_programs_and_branches_agree(p):
    for seed in range(2):
        model, x, grid, _ = random_case(seed)
        solver = Solver(model, grid[:: len(grid) // 900])
        c, target = model(x[None])[0].argsort(descending=True)[:2].tolist()
        margin = Margin(model, x, c, target)
        known = solver.first_flip(margin, p)
        one, of_one = solver.nearest(margin, known, p)
        other, of_other = solver.nearest(margin, known, p, by_branches=True)
        assert one.distance == pytest.approx(other.distance, rel=2e-3)
        assert max(of_one, of_other) <= min(one.distance, other.distance) * (1 + 1e-9)
        for flip in (one, other):
            logits = model(flip.x[None])[0]
            assert logits[target] >= logits[c]
            assert ((flip.x >= 0) & (flip.x <= 1)).all()


@pytest.mark.parametrize("p", NORMS)
def test_the_nearest_flip_of_a_linear_network(p):
    torch.manual_seed(0)
    model = perceptron((5, 4, 2)).double().requires_grad_(False)
    x = torch.full((5,), 0.5, dtype=torch.float64)
    model[0].bias += 10.0  # no ReLU is off anywhere in the box
    model[2].bias += torch.tensor([0.05, 0.0]) - model(x[None])[0]
    slope = (model[2].weight[0] - model[2].weight[1]) @ model[0].weight
    dual = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[p]
    exact = 0.05 / float(torch.linalg.vector_norm(slope, dual))
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)
    found = Solver(model, corners).nearest_of_all(x, p)
    assert exact < 0.5
    assert found["distance"] == pytest.approx(exact, rel=1e-5)
    assert found["bound"] == pytest.approx(exact, rel=1.1e-3)


@pytest.mark.parametrize("p", NORMS)
def test_a_certified_radius_is_at_most_the_exact_one(p):
    model, x, grid, _ = random_case(0)
    c = int(model(x[None]).argmax())
    found = Solver(model, grid[:: len(grid) // 900]).nearest_of_all(x, p)
    certified = certified_radius(Layers(model, x), x, c, p, 2 * found["distance"], parts=40)
    assert 0 < certified <= found["distance"]


@pytest.mark.parametrize("p", NORMS)
def test_projections_are_onto_what_two_functions_leave(p):
    x = np.array([0.5, 0.5, 0.0])
    slopes, values = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), np.array([0.2, 0.4])
    # The third coordinate is at the end of the box, so that the first pays for both.
    point, bound = projected(slopes, values, x, p, 9.0)
    exact = {1.0: 0.4, 2.0: 0.08**0.5, math.inf: 0.2}[p]
    assert bound == pytest.approx(exact, rel=1e-6)
    assert np.linalg.norm(point - x, p) == pytest.approx(exact, rel=1e-6)
    assert (slopes @ (point - x) + values <= 1e-8).all()
    assert projected(slopes, np.array([0.6, 0.0]), x, p, 9.0)[1] == math.inf


def test_ends_that_miss_the_exact_distance_are_told():
    known = Known(np.array([1.0, 1.0, 2.0]), np.array([0.999, 0.999, 1.998]))
    lower, upper = np.array([0.5, 1.2, 1.0]), np.array([1.02, 1.3, 1.9])
    told = {figure["figure"]: figure for figure in ends(lower, upper, known, "case", counts=True)}
    assert told["exact between the ends"]["share"] == [1, 3]
    assert told["upper at least exact"]["share"] == [2, 3]
    assert told["score above exact"]["share"] == [1, 3]
    assert told["upper within 5 %"]["target"] == 0.9
