"""Maxima drawn for any rows are those of the same rows drawn together."""

import math

import numpy as np
import torch
from torch import nn

import clever_ext as cx
from clever_ext.engine.engine import Engine
from clever_ext.estimators.batches import draw
from clever_ext.estimators.subjects import Subjects
from clever_ext.inputs.batch import check_batch


def test_maxima_of_any_rows_are_those_of_one_call():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5)).double().eval()
    images = torch.rand(4, 12, dtype=torch.float64)
    result = cx.clever_score(
        model, images, norm=[2, math.inf, 3], radius=0.5, n_batches=6, batch_samples=8, seed=5
    )
    engine = Engine(model, "none", 7)
    batch = check_batch(images, None, None, model, None, None)
    with engine.running(batch.images.device):
        engine.check(batch.images)
        subjects = Subjects(engine, batch, "all", 5)
        rows = subjects.rows([(2.0, 0.5), (math.inf, 0.5), (3.0, 0.5)], of=subjects.scored)
        which = np.random.default_rng(0).permutation(len(rows))[:29]
        clip = (-math.inf, math.inf)
        counted = []
        maxima = draw(subjects, rows.take(which), range(2, 5), 8, 5, clip, counted.append).maxima
    assert sum(counted) == 29 * 3 * 8
    expected = np.stack(list(result.table["maxima"]))[which][:, 2:5]
    np.testing.assert_allclose(maxima, expected, rtol=1e-9)


def test_each_row_has_a_radius_of_its_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3)).double().eval()
    images = torch.rand(2, 12, dtype=torch.float64)
    radii = [0.1, 1.0, 2.0]
    alone = [
        np.stack(list(cx.clever_score(model, images, radius=r, n_batches=3, batch_samples=4)
                      .table["maxima"]))
        for r in radii
    ]  # fmt: skip
    engine = Engine(model, "none", 5)
    batch = check_batch(images, None, None, model, None, None)
    with engine.running(batch.images.device):
        engine.check(batch.images)
        subjects = Subjects(engine, batch, "all", 0)
        rows = subjects.rows([(2.0, r) for r in radii], of=subjects.scored)
        maxima = draw(subjects, rows, range(3), 4, 0, (-math.inf, math.inf), lambda _: None).maxima
    np.testing.assert_allclose(maxima.reshape(4, 3, 3).swapaxes(0, 1), alone, rtol=1e-9)
