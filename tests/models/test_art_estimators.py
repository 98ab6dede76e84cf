"""PyTorch estimators of the Adversarial Robustness Toolbox as models by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

import clever_ext as cx
from clever_ext.compat.art import as_model
from clever_ext.errors import CleverError
from clever_ext.models.loading import load_model

CODE = """
import numpy as np, torch
from torch import nn
from art.defences.preprocessor import JpegCompression
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier

class Squared(PreprocessorPyTorch):
    def forward(self, x, y=None):
        return x * x, y

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

def estimator(low=0, high=1, **how):
    return PyTorchClassifier(
        network(), nn.CrossEntropyLoss(), (3, 8, 8), 5, clip_values=(low, high), device_type="cpu",
        **how,
    )

def plain(low=0, high=1):
    return estimator(low, high)

def prepared():
    return estimator(
        preprocessing=(np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])),
        preprocessing_defences=[Squared(device_type="cpu")],
    )

def bounded():
    low = np.full((3, 8, 8), 0.25, np.float32)
    low[0] = 0.35
    return estimator(low, np.full_like(low, 0.75))

def in_numpy():
    return estimator(preprocessing_defences=[JpegCompression((0, 1), channels_first=True)])

def black_box():
    return BlackBoxClassifier(lambda x: np.zeros((len(x), 5)), (3, 8, 8), 5)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("art.estimators.classification", reason="the toolbox is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_estimators", raising=False)
    (tmp_path / "my_estimators.py").write_text(CODE)
    return tmp_path


def made(name: str):
    return getattr(__import__("my_estimators"), name)()


@pytest.mark.parametrize("name", ["plain", "prepared", "bounded"])
def test_logits_are_those_that_the_estimator_predicts(name: str) -> None:
    loaded = load_model(f"art:my_estimators:{name}")
    assert (loaded.image_size, loaded.preprocessing.channels) == (8, 3)
    assert (loaded.name, loaded.findings) == (f"art:my_estimators:{name}", ())
    assert not any(module.training for module in loaded.model.modules())
    pixels = torch.rand(4, 3, 8, 8)
    held = pixels
    if name == "bounded":
        low = torch.tensor([0.35, 0.25, 0.25]).view(3, 1, 1)
        held = pixels.clamp(max=0.75).maximum(low)
    with torch.no_grad():
        ours = loaded.model(pixels)
    np.testing.assert_allclose(ours, made(name).predict(held.numpy()), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours, as_model(made(name))(pixels))


def test_scores_are_those_of_the_toolboxs_estimator() -> None:
    pixels = torch.rand(2, 3, 8, 8)
    how = {"clip": (0, 1), "targets": "top2", "estimator": "steepest"}
    loaded = cx.load_model("art:my_estimators:prepared")
    ours = cx.clever_score(loaded.model, pixels, **how)
    theirs = cx.clever_score(cx.compat.art.as_model(made("prepared")), pixels, **how)
    assert ours.table["score"].tolist() == theirs.table["score"].tolist()


def test_weights_and_arguments_go_to_the_factory(folder: Path) -> None:
    load_model("art:my_estimators:plain")  # makes the module importable
    network = __import__("my_estimators").network()
    with torch.no_grad():
        network[0].weight.mul_(2)
    torch.save(network.state_dict(), folder / "w.pt")
    loaded = load_model("art:my_estimators:plain", weights=folder / "w.pt")
    pixels = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(loaded.model(pixels), network(pixels))
    (found,) = load_model("art:my_estimators:plain?high=255").findings
    assert "clip_values are (0.0, 255.0), and pictures become pixels in [0, 1]" in str(found)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("art:my_estimators:in_numpy", r"type PyTorchClassifier, which torch.*compat\.art\.clever"),
        ("art:my_estimators:black_box", r"type BlackBoxClassifier.*cx\.compat\.art\.clever"),
        ("art:my_estimators:network", r"returned a torch\.nn\.Module.*my_estimators:network, with"),
        ("art:my_estimators:plane", r"no 'plane'.*did you mean plain"),
        ("art:my_estimators", "'my_estimators'"),
        ("my_estimators:plain", r"PyTorchClassifier.*Fix: name it art:my_estimators:plain\."),
    ],
)
def test_what_is_refused(spec: str, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        load_model(spec)
