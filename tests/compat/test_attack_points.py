"""The lines of the guide that hand an attack's points to the bracket, one for each library."""

import importlib
import re
import unittest
from pathlib import Path

import numpy as np
import peers
import pytest
import torch
from torch import nn

import clever_ext as cx

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "from-art.md"
LINES = dict(re.findall(r"^points = ((\w+)\..*)$", PAGE.read_text(), re.MULTILINE))
#: What is imported besides a library's own name.
PARTS = {
    "foolbox": "foolbox.attacks",
    "torchattacks": "torchattacks",
    "adv_lib": "adv_lib.attacks",
    "art": "art.attacks.evasion",
}


def library(name):
    try:
        peers.peer("torchvision")  # adv_lib imports it
    except unittest.SkipTest as missing:
        pytest.skip(str(missing))
    pytest.importorskip(PARTS[name])
    return importlib.import_module(name)


def test_the_guide_has_a_line_for_each():
    assert set(LINES.values()) == set(PARTS)


@pytest.mark.parametrize("line", LINES, ids=LINES.values())
def test_points_of_an_attack_bound_the_score(line):
    name = LINES[line]
    names = {name: library(name)}
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)
    model, images = nn.Sequential(*layers).eval(), torch.rand(3, 3, 4, 4)
    names |= {"model": model, "images": images, "labels": model(images).argmax(dim=1)}
    if name == "art":
        from art.estimators.classification import PyTorchClassifier

        how = {"clip_values": (0, 1), "device_type": "cpu"}
        names["classifier"] = PyTorchClassifier(model, nn.CrossEntropyLoss(), (3, 4, 4), 4, **how)
    points = torch.as_tensor(eval(line, names))
    flipped = (model(points).argmax(dim=1) != names["labels"]).numpy()
    assert flipped.any()
    distances = (points - images).flatten(1).norm(dim=1).numpy()
    how = {"targets": "all", "estimator": "steepest", "clip": (0, 1)}
    result = cx.clever_score(model, images, candidates=points[:, None], **how)
    assert result.flips[2].shape == (3,)
    assert (result.flips[2] <= distances * (1 + 1e-5))[flipped].all()
    assert (result.scores[2] <= np.minimum(result.flips[2], distances) * (1 + 1e-5))[flipped].all()
