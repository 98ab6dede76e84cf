"""Plans: what a pilot tells of a run."""

import pytest
import torch
from known_classifiers import small_convolution as network

import clever_ext as cx

IMAGES = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def told(**settings):
    defaults = {"targets": "top-3", "batch_samples": 16, "radius": 0.5, "max_gradients": 3200}
    return cx.plan(network(), IMAGES, **(defaults | settings))


def test_a_fixed_budget_is_counted_exactly():
    found = told(norm=[2, 3])
    assert found.rows == 6 * 2 * 2
    assert found.n_gradients == found.rows * 3200
    assert found.pilot_gradients == 4 * 2 * 2 * 8 * 16
    assert found.seconds > 0
    assert found.memory_bytes > 2**20
    assert 0 < found.tolerance < 1
    assert f"{found.n_gradients:,} gradients" in str(found)


def test_a_tolerance_is_about_what_the_run_takes():
    plan = told(tolerance=0.008)
    run = cx.clever_score(
        network(), IMAGES, targets="top-3", batch_samples=16, radius=0.5, max_gradients=3200,
        tolerance=0.008,
    )  # fmt: skip
    spent = run.table["n_gradients"].sum()
    assert 0.3 < plan.n_gradients / spent < 3
    assert plan.n_gradients > told(tolerance=0.05).n_gradients


def test_more_gradients_buy_a_narrower_interval():
    assert told(max_gradients=32_000).tolerance < told(max_gradients=3200).tolerance / 2


def test_radii_that_are_to_be_found_are_planned():
    found = told(radius=None, norm=[2, 3])
    assert 6 * 2 * 2 * 3200 <= found.n_gradients <= 6 * 2 * 2 * 4800
    run = cx.clever_score(
        network(), IMAGES, targets="top-3", batch_samples=16, n_batches=200, norm=[2, 3]
    )
    assert run.table["n_gradients"].sum() == pytest.approx(found.n_gradients, rel=0.5)
    mixed = told(norm=[2, 3], radius={2: None, 3: 0.5})
    assert 6 * 2 * 2 * 3200 <= mixed.n_gradients <= 6 * 2 * (3200 + 4800)
    exact = {"tolerance": 0.05, "targets": "top-3", "batch_samples": 16, "max_gradients": 3200}
    plan, run = told(radius=None, **exact), cx.clever_score(network(), IMAGES, **exact)
    assert plan.n_gradients == pytest.approx(run.table["n_gradients"].sum(), rel=0.5)


def test_bad_arguments_are_refused():
    for given in ({"max_gradients": 100}, {"radius": "wide"}, {"tolerance": 2}):
        with pytest.raises(cx.CleverError):
            told(**given)


class Slow(torch.nn.Module):
    """A thousand classes, and a clock of its own: what passes take is not measured but counted."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 1000))
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        return self.inner(x)


def test_a_plan_of_a_thousand_targets_looks_at_a_few(monkeypatch):
    from clever_ext import planning
    from clever_ext.cost import Passes

    monkeypatch.setattr(planning, "measure_passes", lambda _: Passes(0.005, 0.01))
    model = Slow().eval()
    found = cx.plan(model, IMAGES, targets="all", radius=0.5, prepare="none", device_batch=8)
    assert found.rows == 6 * 999
    assert found.n_gradients == 6 * 999 * 512_000
    assert found.pilot_gradients <= 4 / 0.01
    assert model.rows < 1000
    assert found.tolerance >= 0


def test_images_without_a_target_to_reach_are_planned_too():
    predicted = network()(IMAGES).argmax(1)
    own = cx.plan(network(), IMAGES, targets=int(predicted[0]), batch_samples=16, radius=0.5)
    assert own.rows == 6
