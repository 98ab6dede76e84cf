"""Sources of models that other packages bring by entry points."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from clever_ext.errors import CleverError
from clever_ext.models.catalogue import NAMED, loader, plugins
from clever_ext.models.loading import load_model
from clever_ext.models.source import library

CODE = """
import torch
from clever_ext.models.source import Network, Request

def load(request: Request) -> Network:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, int(request.name)))
    return Network(
        model.eval(), request.spec, request.image_size or 2, resize=(5, 4), crop_mode="squash",
        interpolation="box", normalisation=((0.5,) * 3, (0.25,) * 3), class_names=["a", "b"],
    )
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is installed, with sources of models."""
    (tmp_path / "other_zoo.py").write_text(CODE)
    folder = tmp_path / "other_zoo-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other-zoo\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[clever_ext.model_sources]\n"
        "zoo = other_zoo:load\nbroken = other_zoo:nothing\ntimm = other_zoo:load\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other_zoo", raising=False)
    return tmp_path


@pytest.mark.usefixtures("package")
def test_a_source_of_another_package() -> None:
    assert "other_zoo" not in sys.modules
    loaded = load_model("zoo:2")
    assert isinstance(loaded.model.model, nn.Sequential)
    assert loaded.model(torch.zeros(1, 3, 2, 2)).shape == (1, 2)
    assert loaded.name == "zoo:2"
    assert loaded.class_names == ["a", "b"]
    assert loaded.words() == (
        "squashed to 5 x 4 (height x width) (box), centre crop 2 x 2, RGB, "
        "mean 0.5 0.5 0.5, std 0.25 0.25 0.25"
    )
    other = load_model("zoo:3", interpolation="lanczos", crop_mode="center").preprocessing
    assert (other.interpolation, other.crop_mode) == ("lanczos", "center")


@pytest.mark.usefixtures("package")
def test_no_package_takes_the_place_of_a_source_of_ours() -> None:
    assert set(plugins()) == {"zoo", "broken"}
    load = loader("timm")
    assert load is not None
    assert load.__module__ == "clever_ext.models.timm_models"


@pytest.mark.usefixtures("package")
def test_a_source_that_cannot_be_imported() -> None:
    with pytest.raises(CleverError, match=r"source of broken: cannot be .*other_zoo:nothing"):
        load_model("broken:2")


def test_every_source_of_ours_is_there_and_is_imported_late() -> None:
    for name in NAMED:
        assert callable(loader(name))
        assert NAMED[name].form.startswith(f"{name}:")
    code = (
        "import sys, clever_ext.models.loading; "
        "print({'torchvision', 'timm', 'transformers', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    # The toolbox of art: is imported by the factory.
    "name",
    sorted(each for each in NAMED if NAMED[each].packages and each != "art"),
)
def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    packages = NAMED[name].packages
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    command = f"pip install {' '.join(packages)}"
    with pytest.raises(CleverError, match=rf"'{packages[0]}' cannot be imported.*`{command}`"):
        load_model(f"{name}:anything")


def test_a_torchvision_for_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"operator torchvision::nms does not exist ({name})")

    monkeypatch.setattr("clever_ext.models.source.importlib.import_module", fail)
    with pytest.raises(CleverError, match=r"'timm' .*install the torchvision that is built for"):
        library(NAMED["timm"])
