"""Models that a factory in an importable module makes."""

import sys
from pathlib import Path

import pytest
import torch
from small_networks import SIZE, write_networks
from torch import nn

from clever_ext import data
from clever_ext.models.loading import load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding a module of networks that is imported anew in each test."""
    return write_networks(tmp_path, monkeypatch)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("attribute", ["Net", "wide", "Zoo.net"])
def test_a_factory_in_the_current_folder(attribute: str) -> None:
    loaded = load_model(f"my_nets:{attribute}")
    assert loaded.model(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 5)
    assert not loaded.model.training
    assert loaded.name == f"my_nets:{attribute}"
    assert loaded.preprocessing == data.Preprocessing(224, 224)
    assert loaded.class_names is None


def test_a_model_may_import_from_the_current_folder_when_it_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "my_late.py").write_text("SCALE = 3")
    (folder / "my_lazy.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 3)\n"
        "    def forward(self, x):\n"
        "        from my_late import SCALE\n"
        "        return SCALE * super().forward(x)\n"
    )
    monkeypatch.setattr("sys.path", [each for each in sys.path if each not in ("", str(folder))])
    model = load_model("my_lazy:Net").model
    assert model(torch.zeros(1, 4)).shape == (1, 3)
    load_model("my_lazy:Net")
    assert sys.path.count(str(folder)) == 1


def test_a_factory_in_an_installed_module() -> None:
    assert isinstance(load_model("torch.nn:Identity", image_size=32).model, nn.Identity)
