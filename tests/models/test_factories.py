"""Models that a factory in an importable module makes."""

import sys
from pathlib import Path

import pytest
import torch
from small_networks import SIZE, write_networks
from torch import nn

from clever_ext import data
from clever_ext.errors import CleverError
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


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("width=2", {"width": 2}),
        (
            "a=1.5&b=true&c=False&d=None&e=null",
            {"a": 1.5, "b": True, "c": False, "d": None, "e": None},
        ),
        (
            "name=resnet50&sizes=[1,2]&text=%22007%22",
            {"name": "resnet50", "sizes": [1, 2], "text": "007"},
        ),
        ("path=a%26b%3Dc/d:e&x=1e-3&empty=", {"path": "a&b=c/d:e", "x": 1e-3, "empty": ""}),
    ],
)
def test_arguments_of_a_factory(folder: Path, query: str, arguments: dict) -> None:
    (folder / "my_made.py").write_text(
        "from torch import nn\n"
        "def make(**options):\n"
        "    model = nn.Identity()\n"
        "    model.options = options\n"
        "    return model\n"
    )
    loaded = load_model(f"my_made:make?{query}")
    assert loaded.model.options == arguments
    assert {name: type(value) for name, value in loaded.model.options.items()} == {
        name: type(value) for name, value in arguments.items()
    }
    assert loaded.name == f"my_made:make?{query}"


def test_a_class_is_made_with_arguments() -> None:
    linear = load_model("torch.nn:Linear?in_features=4&out_features=3&bias=false").model
    assert linear.weight.shape == (3, 4)
    assert linear.bias is None


@pytest.mark.parametrize("query", ["width", "=2", "1a=2", "width=2&width=3"])
def test_what_is_no_argument(query: str) -> None:
    with pytest.raises(CleverError, match=r"is no argument of a factory.*width=2&pretrained=true"):
        load_model(f"torch.nn:Identity?{query}")


def test_arguments_that_a_factory_does_not_take() -> None:
    with pytest.raises(CleverError, match=r"failed when called \(TypeError.*'widht'"):
        load_model("torch.nn:ReLU?widht=2")
