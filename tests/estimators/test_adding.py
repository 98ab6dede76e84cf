"""The estimator of docs/development/adding-an-estimator.md: one module, one entry of the table."""

import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from known_classifiers import relu_network

import clever_ext as cx
from clever_ext.estimators import table

PAGE = Path(__file__).parents[2] / "docs" / "development" / "adding-an-estimator.md"


@pytest.fixture
def largest(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = types.ModuleType("largest")
    exec(code, module.__dict__)
    monkeypatch.setattr(table, "ESTIMATORS", (*table.ESTIMATORS, module))
    return code


@pytest.mark.usefixtures("largest")
def test_it_scores_by_two_batches():
    model, images = relu_network(8, 16, 0), torch.rand(3, 8, dtype=torch.float64)
    how = {"norm": [1, 2], "radius": 100.0, "batch_samples": 8}
    result = cx.clever_score(model, images, estimator="largest", **how)
    rows = result.table
    assert (rows["estimator"] == "largest").all()
    assert (rows["n_gradients"] == 16).all()
    assert np.allclose(rows["score"], rows["margin"] / rows["lipschitz"])
    assert np.allclose(rows["lipschitz"], rows[["max_norm", "norm_at_image"]].max(axis=1))
    assert result.metadata["settings"]["max_gradients"] == 16


@pytest.mark.usefixtures("largest")
def test_it_is_among_the_choices_and_refuses_what_is_not_its_own():
    model, images = relu_network(8, 16, 0), torch.rand(1, 8, dtype=torch.float64)
    with pytest.raises(cx.CleverError, match="'largest'"):
        cx.clever_score(model, images, estimator="second-order")
    with pytest.raises(cx.CleverError, match="keep_witness"):
        cx.clever_score(model, images, estimator="largest", radius=1, keep_witness=True)


def test_the_page_says_how_long_it_is(largest):
    assert len([line for line in largest.splitlines() if line.strip()]) <= 30
