import math
import warnings

import numpy as np
import pytest
import torch
from known_classifiers import Quadratic, linear, relu_lipschitz, relu_network
from torch import nn

import clever_ext as cx
from clever_ext.estimators.tables import score_columns
from clever_ext.evt.reverse_weibull import fit_reverse_weibull
from clever_ext.kernels.balls import dual_exponent

FEW = {"n_batches": 10, "batch_samples": 8}


# --- known answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 10, math.inf])
@pytest.mark.parametrize("radius", [0.01, 100.0])
def test_a_linear_classifier_is_scored_exactly(p, radius):
    model, images = linear(), torch.rand(3, 6, dtype=torch.float64)
    result = cx.clever_score(model, images, norm=p, radius=radius, targets="all", **FEW)
    logits, weight = model(images).detach(), model.weight.detach()
    assert len(result.table) == 3 * 3
    for _, row in result.table.iterrows():
        image, j, c = row["image_id"], row["target"], row["predicted"]
        slope = torch.linalg.vector_norm(weight[c] - weight[j], dual_exponent(p))
        exact = min(float((logits[image, c] - logits[image, j]) / slope), radius)
        assert row["score"] == pytest.approx(exact, rel=1e-12)
        assert row["score_low"] == row["score_high"] == row["score"]
        assert row["capped"] == (exact == radius)
        assert row["status"] == "degenerate"
        assert row["lipschitz"] == pytest.approx(float(slope), rel=1e-12)
    smallest = result.table.groupby("image_id")["score"].min().to_numpy()
    np.testing.assert_array_equal(result.scores[p], smallest)


@pytest.mark.parametrize(("d", "p"), [(2, 2.0), (3, 2.0), (2, math.inf), (2, 1.0)])
def test_a_quadratic_reaches_its_lipschitz_constant(d, p):
    # |b + a x|_q is convex: its largest value in a ball is at a boundary point, which is known.
    b, a, radius = torch.linspace(1, 2, d, dtype=torch.float64), 0.8, 0.5
    x0 = torch.full((1, d), 0.3, dtype=torch.float64)
    margin = 0.2  # small, so that the radius does not cap the score
    model = Quadratic(b, a, margin - float(b @ x0[0] + a * (x0 * x0).sum() / 2)).eval()
    at_center = b + a * x0[0]
    if p == 2:
        exact = float(at_center.norm()) + a * radius
    elif p == math.inf:
        exact = float(at_center.sum()) + d * a * radius
    else:
        exact = float(at_center.max()) + a * radius
    result = cx.clever_score(
        model, x0, norm=p, radius=radius, targets=1, n_batches=100, batch_samples=256
    )
    row = result.table.iloc[0]
    assert row["status"] == "ok"
    assert row["max_norm"] <= exact * (1 + 1e-6)
    # The steepest place is a corner or a pole: 25,600 samples in at most 3 dimensions come near it.
    assert row["lipschitz"] == pytest.approx(exact, rel=0.02)
    assert row["score_low"] * 0.99 <= margin / exact <= row["score_high"] * 1.01


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("p", [1.0, math.inf])
def test_a_relu_network_against_its_enumerated_constant(seed, p):
    model = relu_network(2, 5, seed)
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(1, 2, generator=generator, dtype=torch.float64) * 0.3
    radius = 1.0
    exact = relu_lipschitz(model, x0[0].numpy(), p, radius)
    result = cx.clever_score(
        model, x0, norm=p, radius=radius, targets="all", n_batches=50, batch_samples=200
    )
    row = result.table.iloc[0]
    # Gradients take a few values only: the largest seen is exact, and is reached unless the
    # steepest region is a sliver of the ball (10,000 samples in the plane: none of these is).
    assert row["max_norm"] <= exact * (1 + 1e-9)
    assert row["lipschitz"] >= 0.95 * exact
    low = row["margin"] / row["score_high"] if row["score_high"] > 0 else 0.0
    assert low <= exact * (1 + 1e-9) or row["lipschitz"] <= exact * (1 + 1e-9)


def test_score_is_the_margin_over_the_fitted_location():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
    result = cx.clever_score(model, torch.rand(2, 8), norm=(2, 1), radius={1: 5, 2: 1}, **FEW)
    assert len(result.table) == 2 * 2 * 2
    for _, row in result.table.iterrows():
        fit = fit_reverse_weibull(row["maxima"])
        assert row["lipschitz"] == float(fit.location)
        assert row["score"] == min(row["margin"] / row["lipschitz"], row["radius"])
        assert row["score_low"] <= row["score"] <= row["score_high"]
        assert row["max_norm"] == row["maxima"].max() <= row["lipschitz"]
        assert row["n_gradients"] == 80
        assert row["radius"] == {1: 5, 2: 1}[row["norm"]]


# --- invariance --------------------------------------------------------------------------------


def smooth_case():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 4)).eval()
    return model, torch.rand(4, 3, 2, 2)


def rows(result):
    columns = ["image_id", "target", "norm", "score"]
    return {tuple(row[:3]): row[3] for row in result.table[columns].itertuples(index=False)}


@pytest.mark.parametrize(
    "changes",
    [
        {"device_batch": 1},
        {"device_batch": 13},
        {"targets": [2]},
        {"targets": "top2"},
        {"norm": 2},
        {"norm": [math.inf, 2]},
    ],
)
def test_scores_do_not_depend_on_how_they_are_asked_for(changes):
    model, images = smooth_case()
    common = {"norm": [2, math.inf], "targets": "all", **FEW}
    everything = rows(cx.clever_score(model, images, **common))
    labels = None
    if changes.get("targets") == [2]:  # an image predicted as 2 cannot be aimed at it
        keep = (model(images).argmax(dim=1) != 2).nonzero()[:, 0]
        changes = changes | {"image_ids": keep.numpy()}
        images = images[keep]
    found = rows(cx.clever_score(model, images, labels=labels, **(common | changes)))
    assert found
    for key, score in found.items():
        assert score == pytest.approx(everything[key], rel=1e-5)  # float32 kernels' rounding


def test_an_image_keeps_its_score_in_other_company():
    model, images = smooth_case()
    together = rows(cx.clever_score(model, images, image_ids=[7, 5, 3, 1], **FEW))
    alone = rows(cx.clever_score(model, images[2:3], image_ids=[3], **FEW))
    for key, score in alone.items():
        assert score == pytest.approx(together[key], rel=1e-5)


def test_the_seed_changes_the_samples():
    model, images = smooth_case()
    first, second = (cx.clever_score(model, images, seed=s, **FEW) for s in (0, 1))
    assert (first.table["max_norm"] != second.table["max_norm"]).all()


# --- rows --------------------------------------------------------------------------------------


def test_misclassified_images_get_score_zero():
    model, images = smooth_case()
    predicted = model(images).argmax(dim=1)
    labels = predicted.clone()
    labels[1] = (labels[1] + 1) % 4
    result = cx.clever_score(model, images, labels=labels, norm=[1, 2], targets="top2", **FEW)
    wrong = result.table[result.table["image_id"] == 1]
    assert (wrong["status"] == "misclassified").all()
    assert (wrong["score"] == 0).all()
    assert (wrong["n_gradients"] == 0).all()
    assert all(len(m) == 0 for m in wrong["maxima"])
    assert (result.table["label"] == labels.numpy()[result.table["image_id"]]).all()
    assert result.scores[2][1] == 0
    assert (result.scores[2][[0, 2, 3]] > 0).all()


def test_all_images_misclassified():
    model, images = smooth_case()
    labels = (model(images).argmax(dim=1) + 1) % 4
    result = cx.clever_score(model, images, labels=labels, **FEW)
    assert (result.scores[2] == 0).all()


def test_a_nan_gradient_makes_the_score_nan():
    class Broken(nn.Module):
        def forward(self, x):
            # The root's slope is infinite at 0, which clamped samples of the first image reach.
            return torch.stack([2 + torch.sqrt(x.clamp(min=0)).sum(dim=1), x.sum(dim=1)], dim=1)

    images = torch.tensor([[0.01, 0.5], [5.0, 6.0]])
    result = cx.clever_score(
        Broken().eval(), images, radius=0.5, targets="all", clip=(0, 10), **FEW
    )
    table = result.table.set_index("image_id")
    assert table.loc[0, "status"] == "non-finite"
    assert math.isnan(table.loc[0, "score"])
    assert math.isnan(result.scores[2][0])
    assert table.loc[1, "status"] != "non-finite"
    assert result.scores[2][1] > 0


def test_columns_from_fits():
    maxima = np.array([[0.0] * 5, [2.0] * 5, [2.0] * 5, [np.inf] * 5, [2.0] * 5])
    columns = score_columns(
        margin=np.array([1.0, 1.0, 0.0, 1.0, np.nan]),
        radius=np.full(5, 3.0),
        max_norm=maxima.max(axis=1),
        norm_at_image=np.array([0.0, 2.5, 0.0, 0.0, 0.0]),
        nearest_flip=np.array([2.9, np.inf, np.inf, np.inf, np.inf]),
        vanishing=np.array([False, True, True, False, False]),
        fit=fit_reverse_weibull(maxima),
    )
    np.testing.assert_array_equal(columns["score"], [3.0, 0.5, 0.0, np.nan, np.nan])
    assert columns["capped"].tolist() == [True, False, False, False, False]
    assert columns["status"].tolist()[3:] == ["non-finite", "non-finite"]
    assert columns["flags"].tolist() == [
        "contradicted,zero-gradient",
        "contradicted,vanishing-gradients",
        *[""] * 3,
    ]


def test_a_far_location_is_flagged():
    # Exponential-like maxima: the fitted end point lies far beyond the largest.
    maxima = 1 + np.random.default_rng(0).gumbel(size=(200, 60)) * 0.5
    fit = fit_reverse_weibull(maxima)
    largest = maxima.max(axis=1)
    no_flip = np.full(200, np.inf)
    columns = score_columns(
        np.ones(200), np.full(200, 9.0), largest, largest / 2, no_flip, np.zeros(200, bool), fit
    )
    far = fit.location > 2 * largest
    assert ((columns["flags"] == "far-location") == far).all()


# --- the model is left alone -------------------------------------------------------------------


def test_nothing_of_the_model_or_torch_is_changed():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    model.eval()
    model[0].bias.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(2, 3, 2, 2)
    rng, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    before = images.clone()
    cx.clever_score(model, images, **FEW)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert torch.is_grad_enabled() == grad
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    model = nn.Linear(6, 3).to(dtype).eval()
    result = cx.clever_score(model, torch.rand(2, 6), **FEW)
    assert result.metadata["settings"]["dtype"] == str(dtype).removeprefix("torch.")
    assert np.isfinite(result.scores[2]).all()


def test_a_callable_a_numpy_array_and_an_oracle():
    weight = torch.randn(3, 5)
    images = np.random.default_rng(0).random((2, 5), dtype=np.float32)
    by_callable = cx.clever_score(lambda x: x @ weight.T, images, **FEW)

    class Oracle:
        def logits(self, x):
            return x @ weight.T

        def margin_gradients(self, _, classes, targets):
            for t in range(targets.shape[1]):
                yield weight[classes] - weight[targets[:, t]]

    by_oracle = cx.clever_score(Oracle(), images, **FEW)
    np.testing.assert_allclose(by_oracle.scores[2], by_callable.scores[2], rtol=1e-6)


def test_ctrl_c_keeps_what_is_finished():
    model, images = smooth_case()
    given = {"radius": 2.0, "device_batch": 8, **FEW}

    def interrupt(done, total):
        assert total == 4 * 3 * 80
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        result = cx.clever_score(model, images, progress=interrupt, **given)
    assert not result.metadata["complete"]
    whole = cx.clever_score(model, images, **given)
    assert whole.metadata["complete"]
    finished = result.table["image_id"].unique().tolist()
    assert 0 < len(finished) < 4
    kept = whole.table[whole.table["image_id"].isin(finished)]
    np.testing.assert_array_equal(result.table["score"], kept["score"])


def test_progress_counts_every_gradient():
    model, images = smooth_case()
    seen = []
    cx.clever_score(
        model, images, norm=[1, 2], radius=2.0,
        progress=lambda done, total: seen.append((done, total)), **FEW,
    )  # fmt: skip
    assert seen[0] == (0, 2 * 4 * 3 * 80)
    assert seen[-1] == (2 * 4 * 3 * 80, 2 * 4 * 3 * 80)


def test_metadata_tells_every_setting():
    model, images = smooth_case()
    given = {"norm": [1, math.inf], "radius": {1: 3.0, math.inf: 0.1}, "clip": (0, 1)}
    result = cx.clever_score(model, images, seed=3, **given, **FEW)
    settings = result.metadata["settings"]
    assert settings["norms"] == ["1", "inf"]
    assert settings["radii"] == [3.0, 0.1]
    assert settings["clip"] == [0, 1]
    assert settings["seed"] == 3
    assert settings["shape"] == [3, 2, 2]
    assert len(result.metadata["model"]["digest"]) == 64
    assert result.metadata["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("clip", "recorded"),
    [(None, None), ((0, 1), [0, 1]), ((0, math.inf), [0, "inf"]), ((-math.inf, 1), ["-inf", 1])],
)
def test_metadata_tells_an_open_side_of_the_clip(clip, recorded):
    result = cx.clever_score(linear(), torch.rand(1, 6), clip=clip, **FEW)
    assert result.metadata["settings"]["clip"] == recorded


# --- bad input, before any work ----------------------------------------------------------------

GOOD = torch.rand(2, 6)


def bad_image():
    images = GOOD.clone()
    images[1, 3] = math.nan
    return images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": GOOD[0]}, r"images have shape \[6\]"),
        ({"images": GOOD[:0]}, "at least one image"),
        ({"images": (GOOD * 255).byte()}, "images are torch.uint8"),
        ({"images": "photos"}, "images is the path .photos.*open_images"),
        ({"images": bad_image()}, "image 1 holds NaN"),
        ({"images": torch.rand(2, 7)}, "the model failed on a batch of shape"),
        ({"norm": 0.5}, "norm=0.5 is no p-norm"),
        ({"norm": math.nan}, "no p-norm"),
        ({"norm": "l3"}, "l1, l2, linf"),
        ({"norm": [2, 2]}, "one twice"),
        ({"norm": []}, "names no norm"),
        ({"radius": 0}, "radius=0 is no radius"),
        ({"radius": -1.0}, "no radius"),
        ({"radius": math.inf}, "no radius"),
        ({"radius": {1: 2.0}}, "no entry for norm 2"),
        ({"targets": 9}, "target 9 is out of range"),
        ({"targets": "best"}, "unknown"),
        ({"labels": [0]}, "labels has shape"),
        ({"labels": [0.5, 1]}, r"labels=\[0.5, 1\]"),
        ({"labels": [0, 4]}, "label 4 is out of range"),
        ({"image_ids": [1, 1]}, "holds a number twice"),
        ({"n_batches": 0}, "n_batches=0 is out of range"),
        ({"batch_samples": 2.5}, "batch_samples=2.5 is no integer"),
        ({"seed": 2**63}, "seed=.* is out of range"),
        ({"clip": (1, 0)}, "no range"),
        ({"clip": 1}, "no range"),
        ({"device": "gpu"}, "device='gpu' is no device"),
        ({"device": "cuda"}, "the model is on cpu, but device='cuda'"),
        ({"device_batch": "big"}, "device_batch='big' is no integer"),
        ({"dtype": torch.int32}, "no type to score in"),
        ({"model": nn.Linear(6, 4)}, "in training mode"),
        ({"model": 3}, "model of type int cannot be called"),
    ],
)
def test_bad_input_is_refused_before_any_work(changes, message):
    def no_work(*_):
        raise AssertionError("sampling began")

    arguments = {"model": linear().float(), "images": GOOD, "progress": no_work, **FEW}
    with pytest.raises(cx.CleverError, match=message) as caught:
        cx.clever_score(**(arguments | changes))
    assert caught.value.wrong
    assert caught.value.expected
    assert caught.value.fix


def test_no_warning_of_numpy_or_torch_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cx.clever_score(linear(), torch.rand(2, 6, dtype=torch.float64), norm=[1, 2, 3], **FEW)


def test_labels_that_are_not_the_models_are_told():
    model = linear(n_classes=10)
    x = torch.rand(60, 6, dtype=torch.float64)
    right = model(x).argmax(dim=1).numpy()
    with pytest.warns(
        cx.CleverWarning, match=r"3 of 60 .* but \d+ if each class number is .* lower"
    ):
        result = cx.clever_score(model, x, labels=np.minimum(right + 1, 9), **FEW)
    assert [each["topic"] for each in result.metadata["warnings"]] == ["labels"]
    assert cx.clever_score(model, x, labels=right, **FEW).metadata["warnings"] == []
