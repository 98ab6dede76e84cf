"""CleverScore among the metrics of TorchMetrics."""

import copy
import doctest
import math
import pickle
import warnings
from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
import torch
from peers import peer
from small_training import FEW, SAMPLED, by_two, digits, network, same, state
from torch import nn

import clever_ext as cx

with suppress(SkipTest):
    peer("torchvision")  # which TorchMetrics imports where it is installed
torchmetrics = pytest.importorskip("torchmetrics")

from clever_ext.compat import torchmetrics as ours  # noqa: E402
from clever_ext.compat.torchmetrics import CleverScore  # noqa: E402

IMAGES, LABELS = digits()


def expected(n=6, **settings):
    return cx.clever_score(network().eval(), IMAGES[:n], **settings).scores[2].mean()


def test_its_examples_run():
    assert doctest.testmod(ours).attempted > 3
    assert doctest.testmod(ours).failed == 0


def test_it_is_what_a_metric_is():
    metric = CleverScore(network())
    assert metric.higher_is_better is True
    assert metric.is_differentiable is False
    assert metric.full_state_update is False


def test_images_count_on_over_updates_and_forward_passes():
    values = []
    for cuts, calls in (([6], "update"), ([1, 2, 3], "turns"), ([2, 4], "forward")):
        metric = CleverScore(network(), **SAMPLED)
        for turn, batch in enumerate(IMAGES[:6].split(cuts)):
            forward = calls == "forward" or (calls == "turns" and turn % 2)
            (metric if forward else metric.update)(batch)
        values.append(float(metric.compute()))
    assert values == pytest.approx([expected(**SAMPLED)] * 3, rel=1e-6)
    again = CleverScore(network(), **SAMPLED, dist_sync_on_step=True)  # two updates a pass
    for batch in IMAGES[:6].split(2):
        again(batch)
    assert float(again.compute()) == pytest.approx(values[0], rel=1e-6)
    metric.reset()
    metric.update(IMAGES[:6])
    assert float(metric.compute()) == pytest.approx(values[0], rel=1e-6)
    moved = cx.clever_score(network().eval(), IMAGES[:6], image_ids=range(1, 7), **SAMPLED)
    assert moved.scores[2].mean() != pytest.approx(values[0], rel=1e-3)  # ids do matter


def test_a_pass_returns_the_value_of_its_batch():
    metric = CleverScore(network(), **FEW)
    metric(IMAGES[:2])
    second = metric(IMAGES[2:6])
    scores = cx.clever_score(network().eval(), IMAGES[:6], **FEW).scores[2]
    assert float(second) == pytest.approx(scores[2:].mean())
    assert float(metric.compute()) == pytest.approx(scores.mean())


def test_without_more_it_searches_for_the_steepest_place():
    metric = CleverScore(network(), targets="top2", clip=(0, 1))
    metric.update(IMAGES[:2])
    how = {"estimator": "steepest", "targets": "top2", "clip": (0, 1)}
    assert float(metric.compute()) == pytest.approx(expected(2, **how))


def test_misclassified_images_count_as_0():
    model = network()
    predicted = model.eval()(IMAGES[:6]).argmax(dim=1)
    metric = CleverScore(model, **FEW)
    metric.update(IMAGES[:6], labels=torch.cat([predicted[:3], (predicted[3:] + 1) % 10]))
    scores = cx.clever_score(model, IMAGES[:6], **FEW).scores[2]
    assert float(metric.compute()) == pytest.approx(scores[:3].sum() / 6)


class Holes(nn.Module):
    """A network that has no logits where an image is dark."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        dark = x.flatten(1).mean(1, keepdim=True) < 0.05
        return torch.where(dark, math.nan, self.inside(x))


def test_images_without_a_score_are_said():
    images = torch.cat([IMAGES[:2], torch.zeros_like(IMAGES[:1])])
    metric = CleverScore(Holes(network()), **FEW | {"device_batch": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cx.CleverWarning)
        metric.update(images)
    with pytest.warns(cx.CleverWarning, match="1 of 3 images have no score"):
        value = float(metric.compute())
    scores = cx.clever_score(network().eval(), IMAGES[:2], **FEW).scores[2]
    assert value == pytest.approx(scores.mean(), rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cx.CleverWarning)
        metric.reset()
        metric.update(images[2:])
        assert math.isnan(metric.compute())


def test_the_model_is_left_as_it_was_and_followed():
    model = network()
    model(IMAGES).sum().backward()
    metric, before = CleverScore(model, **FEW), state(model)
    metric(IMAGES[:3])
    assert same(state(model), before)
    first = float(metric.compute())
    with torch.no_grad():
        model[-1].weight.mul_(2)
    metric.reset()
    metric.update(IMAGES[:3])
    assert float(metric.compute()) != pytest.approx(first, rel=1e-3)


class WithMetric(nn.Module):
    """A model with a metric that scores it: a circle, were it a part of the metric."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.metric = CleverScore(self, **FEW)

    def forward(self, x):
        return self.net(x)


def test_the_model_is_no_part_of_it():
    module = WithMetric()
    names = set(module.state_dict())
    assert names == {f"net.{name}" for name in module.net.state_dict()}
    assert list(module.metric.parameters()) == []
    metric = module.metric
    metric.persistent(True)
    assert {"total", "scored", "images", "number"} == set(metric.state_dict())
    # Copies of the metric score the same model; copies of the module have metrics of their own.
    for copied in (metric.clone(), copy.deepcopy(metric)):
        assert copied._model.model is module
    other = copy.deepcopy(module)
    assert other.metric._model.model is other
    loaded = pickle.loads(pickle.dumps(module))
    assert loaded.metric._model.model is loaded
    module.metric.update(IMAGES[:2])
    loaded.metric.update(IMAGES[:2])
    assert float(loaded.metric.compute()) == float(module.metric.compute())


def test_metrics_of_a_collection_stay_apart():
    wrong = (network().eval()(IMAGES[:2]).argmax(dim=1) + 1) % 10
    together = torchmetrics.MetricCollection(
        {
            "l2": CleverScore(network(), **FEW),
            "linf": CleverScore(network(), **FEW, norm="linf"),
            "accuracy": torchmetrics.classification.MulticlassAccuracy(10),
        }
    ).clone(prefix="val/")
    # All scores are 0 at first, and so are all states.
    together.update(images=IMAGES[:2], labels=wrong, preds=wrong, target=wrong)
    together.update(images=IMAGES[2:4], labels=None, preds=wrong, target=wrong)
    found = {name: float(value) for name, value in together.compute().items()}
    assert set(found) == {"val/l2", "val/linf", "val/accuracy"}
    scores = cx.clever_score(network().eval(), IMAGES[2:4], norm=[2, np.inf], **FEW).scores
    assert found["val/l2"] == pytest.approx(scores[2].sum() / 4)
    assert found["val/linf"] == pytest.approx(scores[np.inf].sum() / 4)


def test_states_survive_inference_mode():
    metric = CleverScore(network(), **FEW)
    with torch.inference_mode():
        metric.reset()
        metric(IMAGES[:2])
    metric(IMAGES[2:4])
    with torch.no_grad():
        metric.update(IMAGES[4:6])
    assert float(metric.compute()) == pytest.approx(expected(**FEW))


def test_it_moves_to_a_device_without_the_model():
    model = network()
    metric = CleverScore(model, **FEW).to("meta")
    assert metric.total.is_meta
    assert next(model.parameters()).device.type == "cpu"


def test_settings_that_nobody_knows_are_refused():
    with pytest.raises(ValueError, match="nrom"):
        CleverScore(network(), nrom=2)
    with pytest.raises(ValueError, match="image_ids"):
        CleverScore(network(), image_ids=[1])
    with pytest.raises(cx.CleverError, match="several"):
        CleverScore(network(), norm=[1, 2])
    assert CleverScore(network(), sync_on_compute=False).sync_on_compute is False


def test_two_processes_have_the_value_of_one(tmp_path):
    model = network().eval()
    first_and_third = cx.clever_score(model, IMAGES[:3:2], image_ids=[0, 2], **SAMPLED).scores[2]
    for each in by_two(tmp_path, "torchmetrics"):
        assert each["value"] == pytest.approx(expected(**SAMPLED), rel=1e-6)
        assert each["images"] == 3  # its own again, after the sum
        assert each["one without images"] == pytest.approx(first_and_third.mean(), rel=1e-6)


def test_it_plots():
    pytest.importorskip("matplotlib").use("agg")
    metric = CleverScore(network(), **FEW)
    metric.update(IMAGES[:2])
    _, axes = metric.plot([metric.compute(), metric.compute()])
    assert axes.get_ylabel() == "CleverScore"
