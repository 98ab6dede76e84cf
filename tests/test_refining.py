"""Results that are fitted again, or go on with more batches."""

import math
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from known_classifiers import small_convolution as network

import clever_ext as cx

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def score(model, n_batches, **settings):
    defaults = {"norm": [2, math.inf], "targets": "top-3", "batch_samples": 8, "clip": (0, 1),
                "radius": {2: 2.0, math.inf: 0.01}}  # fmt: skip
    return cx.clever_score(model, IMAGES, n_batches=n_batches, **(defaults | settings))


def assert_same_rows(a, b, exact):
    assert list(a.table) == list(b.table)
    for name in a.table:
        left, right = a.table[name], b.table[name]
        if name == "maxima":
            for x, y in zip(left, right, strict=True):
                np.testing.assert_allclose(x, y, rtol=0 if exact else 1e-5)
        elif left.dtype == np.float64 and not exact:
            np.testing.assert_allclose(left, right, rtol=1e-2, err_msg=name)
        else:
            pd.testing.assert_series_equal(left, right)


def test_a_refitted_result_is_the_same():
    result = score(network(), 20)
    again = cx.refit(result)
    assert_same_rows(again, result, exact=True)
    assert again.metadata == result.metadata


def test_a_refit_sees_changed_maxima_and_leaves_the_result_alone():
    result = score(network(), 20)
    result.table["maxima"] = [2 * maxima for maxima in result.table["maxima"]]
    before = result.table["lipschitz"].copy()
    again = cx.refit(result)
    np.testing.assert_allclose(again.table["lipschitz"], 2 * before)
    np.testing.assert_allclose(again.table["max_norm"], 2 * result.table["max_norm"])
    assert result.table["lipschitz"].equals(before)


def test_rows_without_maxima_stay_as_they_are():
    model = network()
    with torch.no_grad():
        labels = model(IMAGES).argmax(dim=1).numpy()
    labels[1] = (labels[1] + 1) % 4
    result = score(model, 20, labels=labels)
    for again in (cx.refit(result), cx.refine(result, model, IMAGES, 30)):
        rows = again.table[again.table["image_id"] == 1]
        assert (rows["status"] == "misclassified").all()
        assert (rows["score"] == 0).all()
        assert (rows["n_gradients"] == 0).all()


def test_a_refined_result_is_that_of_one_call(tmp_path):
    model = network()
    ids = [7, 3, 5]
    few, many = (score(model, n, image_ids=ids, seed=4) for n in (10, 25))
    few.save(tmp_path / "few.parquet")
    loaded = cx.CleverResult.load(tmp_path / "few.parquet")
    once = cx.refine(loaded, model, IMAGES, 16)
    twice = cx.refine(once, model, IMAGES, 25)
    assert_same_rows(twice, many, exact=False)
    assert twice.metadata["settings"] == many.metadata["settings"]


def test_the_batches_that_are_there_are_kept():
    model = network()
    result = score(model, 10)
    more = cx.refine(result, model, IMAGES, 12)
    for a, b in zip(result.table["maxima"], more.table["maxima"], strict=True):
        assert len(b) == 12
        np.testing.assert_array_equal(a, b[:10])


def test_no_gradient_is_made_twice():
    model = network()
    counts = []
    result = score(model, 10)
    cx.refine(result, model, IMAGES, 14, progress=lambda done, total: counts.append((done, total)))
    # 3 images, 2 targets, 2 norms, 4 batches of 8
    assert counts[-1] == (384, 384)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_batches": 10}, "has 10 batches"),
        ({"n_batches": 11}, "at least 12"),
        ({"model": network(1)}, "weights are not those"),
        ({"model": lambda x: network(1)(x)}, "does not have the margins"),
        ({"images": IMAGES.flip(0)}, "does not have the margins"),
        ({"images": IMAGES[:2]}, "2 images for a result of 3"),
    ],
)
def test_what_does_not_fit_the_result_is_refused(change, message):
    result = score(network(), 10)
    given = {"model": network(), "images": IMAGES, "n_batches": 20} | change
    progress = Mock()
    with pytest.raises(cx.CleverError, match=message):
        cx.refine(result, progress=progress, **given)
    progress.assert_not_called()


def test_an_incomplete_result_is_refused():
    result = score(network(), 10)
    result.metadata["complete"] = False
    with pytest.raises(cx.CleverError, match="incomplete"):
        cx.refine(result, network(), IMAGES, 20)
