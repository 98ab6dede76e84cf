"""The bracket: what is proved of both ends, and what they may depend on."""

import math

import numpy as np
import pytest
import torch
from known_classifiers import linear, relu_lipschitz, relu_network, small_convolution
from scipy.optimize import linprog
from torch import nn

import clever_ext as cx
from clever_ext.kernels.balls import dual_exponent

NORMS = [1, 2, 3, math.inf]
IMAGES = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def bracket(model, images=IMAGES, **settings):
    defaults = {"norm": NORMS, "radius": "auto", "clip": None, "max_gradients": 100}
    return cx.clever_score(model, images, estimator="steepest", **(defaults | settings))


@pytest.mark.parametrize("p", NORMS)
def test_both_ends_of_a_linear_classifier_are_its_distance(p):
    model, x = linear(), torch.rand(3, 6, dtype=torch.float64)
    rows = bracket(model, x, norm=p).table
    w = model.weight.detach().numpy()
    for row in rows.itertuples():
        slope = np.linalg.norm(w[row.predicted] - w[row.target], dual_exponent(p))
        assert row.score == pytest.approx(row.margin / slope, rel=1e-9)
        assert row.nearest_flip == pytest.approx(row.margin / slope, rel=0.02)
        assert row.nearest_flip >= row.score * (1 - 1e-9)


@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("most", [16, 100])
def test_in_l1_single_pixels_move_where_margins_are_linear(clip, most):
    numbers = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2000, dtype=torch.float64, generator=numbers)
    w = torch.randn(2000, dtype=torch.float64, generator=numbers)
    w[7] = 9
    model = nn.Linear(2000, 2).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.stack([w, 0 * w]))
        model.bias.copy_(torch.tensor([4.0 - x[0] @ w, 0.0]))
    nearest, left = 0.0, 4.0
    for i in w.abs().argsort(descending=True).tolist():  # the steepest first, as far as they go
        room = math.inf if clip is None else float(x[0, i] if w[i] > 0 else 1 - x[0, i])
        way = min(room, left / float(w[i].abs()))
        nearest, left = nearest + way, left - way * float(w[i].abs())
    found = bracket(model, x, norm=1, clip=clip, max_gradients=most).table
    most_above = 1.02 if clip is None else 1.06  # pixels that are full leave more to others
    assert nearest * (1 - 1e-9) <= found["nearest_flip"].item() <= most_above * nearest


def exact_distance(net: nn.Sequential, x0: np.ndarray, p: float) -> float:
    """The l1 or l-inf distance to the nearest point whose margin is not positive, or infinite."""
    from itertools import product

    w, bias = net[0].weight.detach().numpy(), net[0].bias.detach().numpy()
    v, c = ((each[0] - each[1]).detach().numpy() for each in (net[2].weight, net[2].bias))
    if (w @ x0 + bias).clip(0) @ v + c < 0:
        v, c = -v, -c
    d, best = len(x0), math.inf
    for pattern in product([0, 1], repeat=len(w)):
        on = np.array(pattern)
        sign = np.where(on, -1.0, 1.0)
        # Variables x, t: in the piece, and with a margin of 0 or less.
        a, b = [sign[:, None] * w, ((v * on) @ w)[None]], [-sign * bias, [-(v * on) @ bias - c]]
        n_t = d if p == 1 else 1
        share = np.eye(d) if p == 1 else np.ones((d, 1))
        a = np.vstack([np.hstack([part, np.zeros((len(part), n_t))]) for part in a])
        near = np.vstack([np.hstack([np.eye(d), -share]), np.hstack([-np.eye(d), -share])])
        found = linprog(
            np.r_[np.zeros(d), np.ones(n_t)], A_ub=np.vstack([a, near]),
            b_ub=np.concatenate([*b, x0, -x0]), bounds=[(None, None)] * (d + n_t),
        )  # fmt: skip
        if found.status == 0:
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("p", [1, math.inf])
@pytest.mark.parametrize("seed", range(4))
def test_the_ends_are_on_their_sides_of_what_is_exact(p, seed):
    net = relu_network(4, 7, seed)
    x0 = torch.randn(1, 4, dtype=torch.float64)
    row = bracket(net, x0, norm=p, max_gradients=400).table.iloc[0]
    assert row["nearest_flip"] >= exact_distance(net, x0[0].numpy(), p) * (1 - 1e-6)
    assert row["score"] <= row["nearest_flip"]
    for radius in row["score"] * np.array([0.5, 0.9, 1.0, 1.2, 2.0]):
        constant = relu_lipschitz(net, x0[0].numpy(), p, radius)
        assert min(radius, row["margin"] / constant) <= row["score"] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_upper_end_is_a_flip_that_the_model_confirms(seed):
    model = small_convolution(seed)
    result = bracket(model, clip=(0, 1), keep_witness=True, max_gradients=200)
    rows = result.table
    assert (rows["score"] <= rows["nearest_flip"]).all()
    found = rows[np.isfinite(rows["nearest_flip"])]
    assert len(found) > 0
    for row in found.itertuples():
        x0 = IMAGES[row.image_id].double().flatten().numpy()
        assert row.witness.min() >= 0
        assert row.witness.max() <= 1
        logits = model(torch.from_numpy(row.witness).float().view(1, 3, 6, 6))[0]
        assert logits[row.predicted] <= logits[row.target] + 1e-5
        distance = np.linalg.norm(row.witness - x0, row.norm)
        assert distance == pytest.approx(row.nearest_flip, rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_the_lower_end_is_decided_by_a_point_that_the_model_confirms(seed):
    model = small_convolution(seed)
    rows = bracket(model, keep_witness=True).table
    moved = 0
    for row in rows.itertuples():
        x0 = IMAGES[row.image_id].double().flatten().numpy()
        x = torch.from_numpy(row.steepest).float().view(1, 3, 6, 6).requires_grad_()
        logits = model(x)[0]
        margin = logits[row.predicted] - logits[row.target]
        (gradient,) = torch.autograd.grad(margin, x)
        q, distance = dual_exponent(row.norm), np.linalg.norm(row.steepest - x0, row.norm)
        slope = np.linalg.norm(gradient.double().flatten().numpy(), q)
        if distance > 0:
            slope = max(slope, abs(row.margin - margin.item()) / distance)
        assert max(distance, row.margin / slope) == pytest.approx(row.score, rel=1e-4)
        moved += distance > 0
    assert moved > len(rows) / 2
    assert all(len(x) == 0 for x in bracket(model, norm=[2]).table["steepest"])


def test_no_end_is_beyond_all_valid_data():
    model = torch.nn.Linear(4, 3).eval()
    with torch.no_grad():
        model.weight.mul_(1e-3)
        model.bias.copy_(torch.tensor([5.0, 0.0, -1.0]))
    images = torch.full((1, 4), 0.25)
    rows = bracket(model, images, norm=[1, 2, math.inf], clip=(0, 1)).table
    reach = [0.75 * 4 ** (1 / p) for p in rows["norm"]]
    np.testing.assert_allclose(rows["score"], reach)
    assert rows["capped"].all()
    assert (rows["lipschitz"] < rows["margin"] / rows["score"]).all()
    free = bracket(model, images, norm=2).table  # how far data may be is a guess there
    assert (free["score"] > 100).all()


def test_rows_depend_on_no_other_row_nor_on_the_batch():
    # In float64: in float32 the batch's own rounding may put a point on the other side of a kink.
    model, images = small_convolution().double(), IMAGES.double()
    whole = bracket(model, images, device_batch=64, prepare="none").table
    again = bracket(model, images, device_batch=64, prepare="none").table
    part = bracket(
        model, images[2:], image_ids=[2, 3], device_batch=7, norm=NORMS[::-1], prepare="none"
    ).table
    names = ["score", "nearest_flip", "max_norm", "n_gradients"]
    assert whole[names].equals(again[names])
    key = ["image_id", "target", "norm"]
    joined = whole.merge(part, on=key, suffixes=("", "_part"))
    assert len(joined) == len(part)
    for name in names:
        assert np.allclose(joined[name], joined[f"{name}_part"], rtol=1e-9)


@pytest.mark.parametrize("most", [16, 17, 40, 100, 203])
def test_the_budget_is_kept(most):
    rows = bracket(small_convolution(), max_gradients=most).table
    assert (rows["n_gradients"] <= most).all()
    assert rows["n_gradients"].max() > 0.6 * most
    for row in rows.itertuples():
        assert (np.diff(row.curve) >= 0).all()
        assert row.curve_gradients[-1] == row.n_gradients
        assert row.curve[-1] == pytest.approx(row.margin / row.score)


def test_without_any_slope_the_reach_of_the_data_caps_the_score():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(dim=(1, 2, 3)) * 0 + 1, x.sum(dim=(1, 2, 3)) * 0], dim=1)

    with pytest.warns(cx.CleverWarning, match="4 of 4 scores are but how far"):
        rows = bracket(Flat().eval(), norm=[2]).table
    widths = (IMAGES.amax(dim=(1, 2, 3)) - IMAGES.amin(dim=(1, 2, 3))).double()
    assert rows["score"].to_numpy() == pytest.approx(widths.numpy() * math.sqrt(108))
    assert rows["capped"].all()
    assert rows["flags"].str.contains("zero-gradient").all()


def test_more_gradients_bring_gated_networks_to_a_flip():
    class Gates(nn.Module):
        """Pixels count where they are raised by more than a threshold: the image itself is flat."""

        def forward(self, x):
            gated = torch.relu(x - 0.3).flatten(1).sum(dim=1)
            return torch.stack([1 - gated, torch.zeros_like(gated)], dim=1)

    rows = bracket(Gates().eval(), torch.zeros(1, 1, 8, 8), clip=(0, 1), norm=[2, math.inf]).table
    assert np.isfinite(rows["nearest_flip"]).all()
    # One pixel of l-inf distance .3 + 1/64 each; in l2 k pixels of .3 + 1/k, best at k = 3 or 4.
    exact = [min(math.sqrt(k) * (0.3 + 1 / k) for k in range(1, 65)), 0.3 + 1 / 64]
    assert (rows["nearest_flip"] >= np.array(exact) * (1 - 1e-6)).all()
    assert rows["nearest_flip"].iloc[1] <= 1.2 * exact[1]


def test_misclassified_images_and_targets_out_of_reach_are_rows():
    model = small_convolution()
    predicted = model(IMAGES).argmax(dim=1).numpy()
    labels = predicted.copy()
    labels[0] = (labels[0] + 1) % 4
    rows = bracket(model, labels=labels, targets=int(predicted[1]), norm=[2]).table
    assert rows["status"].tolist()[:2] == ["misclassified", "no-target"]
    assert rows["score"].iloc[0] == 0


@pytest.mark.parametrize(
    "settings",
    [{"race": True}, {"tolerance": 0.1}, {"radius": {1: "auto", 2: 1.0}, "norm": [1, 2]}],
)
def test_what_does_not_go_with_it_is_refused(settings):
    with pytest.raises(cx.CleverError, match="radius"):
        bracket(small_convolution(), **settings)


def test_ctrl_c_keeps_the_norms_that_are_finished(monkeypatch):
    from clever_ext.estimators.bracket import estimator

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        search(*arguments)

    search = estimator.search
    monkeypatch.setattr(estimator, "search", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        result = bracket(small_convolution())
    assert not result.metadata["complete"]
    assert set(result.table["norm"]) == {1.0, 2.0}


def test_norms_at_the_images_are_those_of_the_model():
    model = small_convolution()
    rows = bracket(model, norm=[2], prepare="none").table
    for row in rows.itertuples():
        x = IMAGES[row.image_id][None].clone().requires_grad_()
        logits = model(x)[0]
        (gradient,) = torch.autograd.grad(logits[row.predicted] - logits[row.target], x)
        assert row.norm_at_image == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert row.score <= row.margin / row.norm_at_image * (1 + 1e-9)
    assert (rows["max_norm"] > rows["norm_at_image"]).any()
