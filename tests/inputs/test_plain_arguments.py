"""Arguments of other kinds than they are written in."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier.oracle import model_placement
from clever_ext.errors import CleverError

X = torch.rand(3, 12, generator=torch.Generator().manual_seed(1))
FEW = {"n_batches": 4, "batch_samples": 4, "radius": 2, "prepare": "none"}
POINTS = torch.rand(3, 2, 12)
SEARCH = {"estimator": "steepest", "max_gradients": 16}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


REFUSED = [
    *({"confidence": each} for each in (2.0, 0, 1, None, "x", [0.9], True, math.nan)),
    *({"tolerance": each} for each in ("x", np.array([0.3]), True)),
    *({"norm": each} for each in (b"2", True, 10**400, 10**5000, 2 + 0j, None, [[1], [2, 3]])),
    *({"radius": each} for each in (10**400, True, b"12", [[1, 2], [3]], 1j)),
    *({"clip": each} for each in ("01", b"01", (0, 10**400), (False, True), 5, (0, 1, 2))),
    *({"race": each} for each in ("no", np.array([1, 2]), 1)),
    *({"seed": each} for each in (np.array([5]), torch.tensor([5]), 10**5000, 2.0)),
    *({name: np.array([5])} for name in ("n_batches", "batch_samples", "device_batch")),
    {"targets": [[1], [2, 3]]},
    {"targets": torch.tensor([1.0], requires_grad=True)},
    {"targets": torch.ones(1, dtype=torch.bfloat16)},
    {"targets": np.array([2**63], dtype=np.uint64)},
    {"targets": torch.tensor([1]).to_sparse()},
    {"labels": [1, [2], 3]},
    {"labels": torch.ones(3, requires_grad=True)},
    {"labels": torch.tensor([1, 1, 1]).to("meta")},
    {"labels": np.ma.array([1, 1, 1], mask=[1, 0, 0])},
    {"image_ids": [1, [2], 3]},
    {"estimator": np.array(["clever", "x"])},
    {"estimator": None},
    {"model_name": b"x"},
    {"candidates": [[[1.0]], [[2.0], [3.0]]], **SEARCH},
    {"candidates": "x", **SEARCH},
    {"candidates": (each for each in POINTS), **SEARCH},
    {"candidates": POINTS.to_sparse(), **SEARCH},
    {"candidates": torch.complex(POINTS, POINTS), **SEARCH},
    {"candidates": POINTS.double() * 1e300, **SEARCH},
]


@pytest.mark.parametrize("given", REFUSED, ids=lambda each: next(iter(each)))
def test_refused_in_plain_words(given):
    with pytest.raises(CleverError) as error:
        cx.clever_score(network(), X, **FEW | given)
    assert len(str(error.value)) < 600
    if not {"image_ids", "model_name"} & given.keys():
        assert cx.check(network(), X, **FEW | given).refused


@pytest.mark.parametrize(
    "given",
    [
        {"norm": np.array(2)}, {"norm": torch.tensor(2.0)}, {"confidence": np.float32(0.95)},
        {"seed": np.int64(0)}, {"labels": pd.array([0, 1, 2], dtype="Int64")},
        {"radius": np.array(2.0)}, {"race": np.bool_(False)}, {"clip": np.array([-9, 9])},
    ],
)  # fmt: skip
def test_other_kinds_of_the_same_number(given):
    labels = {"labels": [0, 1, 2]} if "labels" in given else {}
    found = cx.clever_score(network(), X, **FEW | given)
    expected = cx.clever_score(network(), X, **FEW | labels)
    np.testing.assert_allclose(found.scores[2], expected.scores[2], rtol=1e-6)


def test_candidates_of_any_strides_and_in_a_list():
    scores = [
        cx.clever_score(network(), X, **FEW | SEARCH, candidates=each).scores[2]
        for each in (POINTS, list(POINTS), POINTS.numpy()[:, :, ::-1].copy()[:, :, ::-1])
    ]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


@pytest.mark.filterwarnings("ignore")
def test_masked_images_and_images_beyond_the_type_are_refused():
    masked = torch.masked.masked_tensor(X, X > 0.5)
    for images in (np.ma.array(X.numpy(), mask=X.numpy() > 0.5), masked):
        with pytest.raises(CleverError, match="masked"):
            cx.clever_score(network(), images, **FEW)
    with pytest.raises(CleverError, match="image 0 holds values beyond the largest"):
        cx.clever_score(network(), X.double() * 1e300, **FEW)


def test_what_is_no_result():
    result = cx.clever_score(network(), X, **FEW)
    for call in (
        lambda: cx.refit(None),
        lambda: cx.refit(result.table),
        lambda: cx.refine([result], network(), X, n_batches=9),
        lambda: cx.compare(None, result),
        lambda: cx.compare(result.table, result),
        lambda: cx.compare([result, result], result),
        lambda: result.save(None),
        lambda: cx.CleverResult.load(None),
    ):
        with pytest.raises(CleverError):
            call()


def test_the_type_of_a_model_is_that_of_most_weights():
    def placed(**tensors):
        module = network()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return model_placement(module)[1]

    assert placed(first=torch.zeros(9999, dtype=torch.float64)) is torch.float32
    module = nn.Module()
    module.temperature = nn.Parameter(torch.ones((), dtype=torch.float64))
    module.weight = nn.Parameter(torch.ones(3, 12))
    assert model_placement(module)[1] is torch.float32
    module = nn.Module()  # of 8 bits, which nothing is computed in: the images' own type
    module.register_buffer("stored", torch.zeros(99).to(torch.float8_e4m3fn))
    module.register_buffer("scale", torch.ones(2, dtype=torch.float16))
    assert model_placement(module) == (torch.device("cpu"), None)
