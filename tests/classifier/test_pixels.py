"""`mean` and `std`: the same as scoring `cx.Normalized(model, mean, std)`."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
PIXELS = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
HOW = {"clip": (0, 1), "n_batches": 4, "batch_samples": 8}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)
    return nn.Sequential(*layers).eval()


def same(ours: cx.CleverResult, theirs: cx.CleverResult) -> None:
    pd.testing.assert_frame_equal(ours.table, theirs.table)
    assert ours.metadata["model"] == theirs.metadata["model"]
    assert ours.metadata["settings"] == theirs.metadata["settings"]


@pytest.mark.parametrize("estimator", ["clever", "steepest", "first-order"])
def test_scores_and_digest_are_those_of_the_wrapped_model(estimator: str) -> None:
    how = {**HOW, "estimator": estimator}
    ours = cx.clever_score(network(), PIXELS, mean=MEAN, std=STD, **how)
    same(ours, cx.clever_score(cx.Normalized(network(), MEAN, STD), PIXELS, **how))
    plain = cx.clever_score(network(), PIXELS, **how)
    assert ours.metadata["model"]["digest"] != plain.metadata["model"]["digest"]
    assert ours.scores[2].tolist() != plain.scores[2].tolist()


def test_scores_are_in_units_of_pixels() -> None:
    """Of a linear model, whose distances are known: a length shrinks by the std."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    of_pixels = cx.clever_score(
        model, PIXELS, mean=(0.5,) * 3, std=(0.25,) * 3, estimator="first-order"
    )
    normalised = cx.clever_score(model, (PIXELS - 0.5) / 0.25, estimator="first-order")
    np.testing.assert_allclose(of_pixels.scores[2], 0.25 * normalised.scores[2], rtol=1e-5)


def test_whatever_holds_the_numbers() -> None:
    scores = [
        cx.clever_score(network(), PIXELS, mean=mean, std=std, **HOW).scores[2].tolist()
        for mean, std in [
            (MEAN, STD),
            (list(MEAN), np.array(STD)),
            (torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(3, 1, 1)),
        ]
    ]
    assert scores[0] == scores[1] == scores[2]
    grey = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    assert cx.clever_score(grey, PIXELS[:, :1], mean=0.13, std=0.3, **HOW).scores[2].shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_callables_and_other_types_of_numbers(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    ours = cx.Normalized(lambda x: model(x), MEAN, STD)(PIXELS.to(dtype))
    assert ours.dtype == dtype
    assert torch.equal(ours, cx.Normalized(model, MEAN, STD)(PIXELS.to(dtype)))
    model = network()
    ours = cx.clever_score(lambda x: model(x), PIXELS, mean=MEAN, std=STD, **HOW)
    theirs = cx.clever_score(model, PIXELS, mean=MEAN, std=STD, **HOW)
    np.testing.assert_allclose(ours.scores[2], theirs.scores[2], rtol=1e-5)


def test_the_modes_of_a_models_parts_stay() -> None:
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Dropout(0)), nn.Linear(48, 3)).eval()
    model[0][1].train()
    wrapped = cx.Normalized(model, MEAN, STD)
    assert [each.training for each in model.modules()] == [False, False, False, True, False]
    assert not wrapped.training
    assert cx.Normalized(model.train(), MEAN, STD).training


def test_a_result_is_gone_on_with_by_the_same_numbers() -> None:
    model = network()
    result = cx.clever_score(model, PIXELS, mean=MEAN, std=STD, **HOW)
    more = cx.refine(result, model, PIXELS, n_batches=8, mean=MEAN, std=STD)
    same(more, cx.refine(result, cx.Normalized(model, MEAN, STD), PIXELS, n_batches=8))
    with pytest.raises(CleverError, match="model"):
        cx.refine(result, model, PIXELS, n_batches=8)


def test_checks_and_plans_take_them() -> None:
    told = cx.check(network(), PIXELS, mean=MEAN, std=STD, clip=(0, 1))
    theirs = cx.check(cx.Normalized(network(), MEAN, STD), PIXELS, clip=(0, 1))
    ours, theirs = ([each for each in of.findings if each.topic != "cost"] for of in (told, theirs))
    assert ours == theirs
    assert cx.check(network(), PIXELS, mean=MEAN).refused
    how = {"batch_samples": 8, "max_gradients": 800}
    assert cx.plan(network(), PIXELS, mean=MEAN, std=STD, **how).rows == 9
    with pytest.raises(CleverError, match="only mean is given"):
        cx.plan(network(), PIXELS, mean=MEAN)


class Oracle:
    logits = margin_gradients = print


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (Oracle(), {"mean": MEAN, "std": STD}, "given for a GradientOracle.*divide its gradients"),
        (network(), {"std": STD}, "only std is given"),
        (network(), {"mean": MEAN, "std": STD[:2]}, r"std is \[0\.2, 0\.3.*three finite"),
        (network(), {"mean": "imagenet", "std": STD}, "mean is 'imagenet'.*a list of numbers"),
        (network(), {"mean": (124, 116, 104), "std": (58, 57, 57)}, "in 0..255"),
        (network(), {"mean": 0.5, "std": 0.5}, r"shape \[3, 4, 4\] for a normalisation of 1"),
        (nn.Linear, {"mean": MEAN, "std": STD}, "is the class Linear, not a model"),
        (None, {"mean": MEAN, "std": STD}, "cannot be called"),
    ],
)
def test_what_is_refused(model, how, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CleverError, match=message):
            cx.clever_score(model, PIXELS, **HOW, **how)
