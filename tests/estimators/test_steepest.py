"""The search for the steepest place: what is proved of it, and what it may depend on."""

import math

import numpy as np
import pytest
import torch
from known_classifiers import Quadratic, linear, relu_lipschitz, relu_network
from torch import nn

import clever_ext as cx
from clever_ext.estimators import in_step
from clever_ext.kernels.balls import dual_exponent

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = [1, 2, 3, math.inf]


def network(seed=0, shape=(3, 6, 6)):
    torch.manual_seed(seed)
    d = math.prod(shape)
    return (
        nn.Sequential(nn.Flatten(), nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(),
                      nn.Linear(16, 4)).double().eval()
    )  # fmt: skip


IMAGES = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def steepest(model, images=IMAGES, **settings):
    defaults = {"norm": NORMS, "radius": 0.7, "max_gradients": 200}
    return cx.clever_score(model, images, estimator="steepest", **(defaults | settings))


def test_a_linear_classifier_is_exact_and_is_only_scouted():
    model = linear()
    images = torch.rand(3, 6, dtype=torch.float64)
    table = steepest(model, images, radius=1e3).table
    for _, row in table.iterrows():
        q = {1: math.inf, 2: 2, 3: 1.5, math.inf: 1}[row["norm"]]
        w = (model.weight[row["predicted"]] - model.weight[row["target"]]).detach().numpy()
        norm = np.linalg.norm(w, q)
        assert row["lipschitz"] == pytest.approx(norm, rel=1e-12)
        assert row["score"] == pytest.approx(row["margin"] / norm, rel=1e-12)
    assert (table["n_gradients"] <= 0.15 * 200 + 1).all()
    assert (table["estimator"] == "steepest").all()
    assert (table["maxima"].map(len) == 0).all()


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
def test_a_quadratic_margin_is_solved(p):
    # The gradient is b + a x, so that its norm is largest at x0 + R v: ||b + a x0|| + a R |v|_q.
    torch.manual_seed(0)
    b = torch.randn(8, dtype=torch.float64)
    model = Quadratic(b, 0.5, 10.0).eval()
    x0 = torch.randn(1, 8, dtype=torch.float64)
    found = steepest(model, x0, norm=p, radius=1.0, max_gradients=1000).table.iloc[0]
    g = (b + 0.5 * x0[0]).numpy()
    q = dual_exponent(p)
    # The largest of ||g + a R t||_q over ||t||_p <= 1 is at least that along any direction.
    v = np.sign(g) * np.abs(g) ** (1 / (p - 1)) if 1 < p < math.inf else np.sign(g)
    if p == 1:
        v = np.zeros(8)
        v[np.abs(g).argmax()] = np.sign(g[np.abs(g).argmax()])
    v /= np.linalg.norm(v, p)
    along = np.linalg.norm(g + 0.5 * v, q)
    assert found["lipschitz"] >= 0.99 * along
    assert found["lipschitz"] <= np.linalg.norm(g, q) + 0.5 * 8 ** abs(1 / q - 1 / p) + 1e-9


@pytest.mark.parametrize("p", [1, math.inf])
@pytest.mark.parametrize("seed", range(4))
def test_it_lies_between_the_exact_bound_and_the_flips(p, seed):
    net = relu_network(4, 7, seed)
    x0 = torch.randn(1, 4, dtype=torch.float64)
    row = steepest(net, x0, norm=p, radius=1.5, max_gradients=2000).table.iloc[0]
    flipped = net(x0).argmax() == 1
    exact = relu_lipschitz(net, x0[0].numpy(), p, 1.5)
    assert row["lipschitz"] <= exact * (1 + 1e-9)
    assert row["lipschitz"] >= 0.8 * exact, flipped
    assert row["score"] <= row["nearest_flip"]


class Gates(nn.Module):
    """Pixels count where they are raised by more than a threshold: the image itself is flat."""

    def forward(self, x):
        gated = torch.relu(x - 0.3).flatten(1).sum(dim=1)
        return torch.stack([1 - gated, torch.zeros_like(gated)], dim=1)


@pytest.mark.parametrize(("p", "radius"), [(1, 20.0), (2, 2.0), (4, 0.8)])
def test_gates_that_uniform_samples_hardly_open_are_found(p, radius):
    """Of k open gates the norm is k^(1/q), and R / 0.3 as its p-th power is how many can be."""
    image = torch.zeros(1, 1, 28, 28)
    settings = {"norm": p, "radius": radius}
    uniform = cx.clever_score(
        Gates().eval(), image, n_batches=8, batch_samples=250, **settings
    ).table
    found = steepest(Gates().eval(), image, max_gradients=2000, **settings).table.iloc[0]
    most = (radius / 0.3) ** (p / dual_exponent(p))
    assert found["max_norm"] >= uniform["max_norm"].iloc[0]
    assert 0.5 * most < found["max_norm"] <= most * (1 + 1e-6)


def test_rows_that_climbing_does_not_help_stop_halfway():
    image = torch.zeros(1, 1, 28, 28)
    found = steepest(Gates().eval(), image, norm=1, radius=20.0, max_gradients=1000).table.iloc[0]
    assert found["n_gradients"] < 700


def test_more_gradients_never_lower_the_norm_at_the_image_or_uniform_maxima():
    model = network()
    few, many = steepest(model, max_gradients=100).table, steepest(model, max_gradients=1000).table
    uniform = cx.clever_score(model, IMAGES, norm=NORMS, radius=0.7, n_batches=10,
                              batch_samples=100).table  # fmt: skip
    assert (few["lipschitz"] >= few["norm_at_image"]).all()
    # Random networks of few units are the search's hard case: see docs/studies/steepest-exact.md.
    assert (many["lipschitz"] > 0.9 * uniform["max_norm"]).mean() > 0.9
    assert (many["lipschitz"] >= 0.98 * few["lipschitz"]).all()


@pytest.mark.parametrize("most", [16, 17, 40, 61, 100, 203, 500])
def test_the_budget_is_kept_and_used(most):
    spent = steepest(network(), max_gradients=most).table["n_gradients"]
    assert spent.max() <= most
    assert spent.max() > 0.9 * most - 18  # a climb needs a few looks to begin and goes by twos


def test_the_curve_ends_in_what_is_reported():
    for _, row in steepest(network()).table.iterrows():
        curve, at = row["curve"], row["curve_gradients"]
        assert len(curve) == len(at)
        assert (np.diff(curve) >= 0).all()
        assert (np.diff(at) > 0).all()
        assert curve[0] == row["norm_at_image"]
        assert curve[-1] == row["lipschitz"]
        assert at[-1] == row["n_gradients"] <= 200


def test_the_witness_is_as_steep_as_reported():
    model = network()
    for _, row in steepest(model, keep_witness=True).table.iterrows():
        point = torch.from_numpy(np.array(row["witness"])).view(1, 3, 6, 6).requires_grad_()
        logits = model(point)
        margin = logits[0, row["predicted"]] - logits[0, row["target"]]
        (gradient,) = torch.autograd.grad(margin, point)
        q = dual_exponent(row["norm"])
        norm = torch.linalg.vector_norm(gradient.flatten(), q).item()
        offset = (point.detach() - IMAGES[row["image_id"]]).flatten()
        distance = torch.linalg.vector_norm(offset, row["norm"]).item()
        secant = abs(row["margin"] - margin.item()) / distance if distance else 0.0
        assert max(norm, secant) == pytest.approx(row["lipschitz"], rel=1e-6)
        assert distance <= row["radius"] * (1 + 1e-5)


def test_a_row_depends_on_nothing_but_its_own_counters():
    model = network()
    table = steepest(model, image_ids=[4, 9, 2], seed=3).table.set_index(
        ["image_id", "target", "norm"]
    )
    alone = steepest(
        model, IMAGES[1:2], image_ids=[9], seed=3, norm=[2], device_batch=3, targets="top2"
    ).table
    for _, row in alone.iterrows():
        there = table.loc[row["image_id"], row["target"], row["norm"]]
        np.testing.assert_allclose(row["curve"], there["curve"], rtol=1e-9)
    other = steepest(model, IMAGES[1:2], image_ids=[9], seed=4, norm=[2], targets="top2").table
    assert (other["lipschitz"].to_numpy() != alone["lipschitz"].to_numpy()).any()


def test_channels_last_and_compiled_sizes_change_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(288, 4)
    ).double().eval()  # fmt: skip
    plain = steepest(model, prepare="none").table
    prepared = steepest(model, prepare="channels_last").table
    np.testing.assert_allclose(prepared["lipschitz"], plain["lipschitz"], rtol=1e-6)


def test_an_attacks_point_bounds_the_score():
    model = network()
    first = steepest(model, radius=5.0, max_gradients=16, norm=2, targets="top2").table
    # A crude attack: far down the margin.
    with torch.enable_grad():
        x = IMAGES.clone().requires_grad_()
        logits = model(x)
        c, t = (
            torch.tensor(first[name].to_numpy(dtype=np.int64)) for name in ("predicted", "target")
        )
        rows = torch.arange(3)
        (g,) = torch.autograd.grad((logits[rows, c] - logits[rows, t]).sum(), x)
    moves = torch.linspace(0.05, 4.9, 200, dtype=torch.float64)
    unit = g / torch.linalg.vector_norm(g.flatten(1), dim=1)[:, None, None, None]
    points = IMAGES[:, None] - moves[None, :, None, None, None] * unit[:, None]
    with torch.no_grad():
        logits = model(points.flatten(0, 1)).view(3, 200, -1)
    flipped = logits[rows, :, c] <= logits[rows, :, t]
    assert flipped.any(dim=1).any()
    given = steepest(model, radius=5.0, max_gradients=16, norm=2, targets="top2", candidates=points)
    for i in range(3):
        if flipped[i].any():
            nearest = moves[flipped[i]].min().item()
            row = given.table.iloc[i]
            assert row["score"] <= nearest * (1 + 1e-9)
            assert row["nearest_flip"] <= nearest * (1 + 1e-9)


def test_what_is_not_a_number_is_no_score():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(dim=1).sqrt(), x[:, 0]], dim=1)

    row = steepest(Broken().eval(), torch.full((1, 3), 0.1, dtype=torch.float64), radius=2.0).table
    assert (row["status"] == "non-finite").all()
    assert row["score"].isna().all()


def test_it_survives_a_file_and_a_refit(tmp_path):
    result = steepest(network(), keep_witness=True, labels=[0, 1, 2])
    result.save(tmp_path / "x.parquet")
    loaded = cx.CleverResult.load(tmp_path / "x.parquet")
    for again in (loaded, cx.refit(loaded)):
        for name in ("lipschitz", "score", "nearest_flip", "status"):
            assert again.table[name].equals(result.table[name])
        np.testing.assert_array_equal(again.table["curve"].iloc[0], result.table["curve"].iloc[0])


def test_an_interrupted_search_keeps_what_is_finished(monkeypatch):
    monkeypatch.setattr(in_step, "_BYTES", 1)  # one row at a time
    calls = []

    def interrupt(done, _):
        calls.append(done)
        if done > 500:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        result = steepest(network(), progress=interrupt)
    assert not result.metadata["complete"]
    assert 0 < len(result.table) < 36


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "steep"}, "estimator='steep' is unknown"),
        ({"estimator": "clever", "max_gradients": 100}, "max_gradients with estimator='clever'"),
        ({"estimator": "clever", "keep_witness": True}, "keep_witness with"),
        ({"max_gradients": 3}, "max_gradients=3 is out of range"),
        ({"candidates": IMAGES}, "candidates are torch.float64 of shape"),
        ({"candidates": IMAGES[:, None] * math.nan}, "candidates hold values"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(cx.CleverError, match=message):
        cx.clever_score(network(), IMAGES, **({"estimator": "steepest"} | change))
