"""Classifiers of torchvision by name, against torchvision's own way to load and feed them."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from library_stand_ins import photographs, randomised, seen, without_a_connection
from peers import peer
from torch import nn

from clever_ext.data import imagenet_class_names
from clever_ext.errors import CleverError
from clever_ext.models import torchvision_models
from clever_ext.models.loading import load_model

#: One of each kind that its own builder treats in another way, and a plain one.
NETWORKS = [
    ("resnet18", "IMAGENET1K_V1"), ("googlenet", "IMAGENET1K_V1"),
    ("inception_v3", "IMAGENET1K_V1"), ("densenet121", "IMAGENET1K_V1"),
    ("mnasnet0_5", "IMAGENET1K_V1"), ("swin_t", "IMAGENET1K_V1"),
    ("maxvit_t", "IMAGENET1K_V1"),
]  # fmt: skip
SPECIAL = ("vit_", "maxvit", "googlenet", "inception")


@pytest.fixture(scope="module")
def models():
    return peer("torchvision.models")


def all_weights(models):
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            if weights.meta["categories"]:
                yield name, weights


def as_torchvision_loads(models, name: str, weights, state) -> nn.Module:
    """Its own builder with weights, whose file holds what is given here."""
    with mock.patch.object(type(weights), "get_state_dict", return_value=state):
        return models.get_model(name, weights=weights).eval()


def test_all_weights_are_fed_as_torchvision_feeds_them_to_the_bit(models, monkeypatch) -> None:
    monkeypatch.setattr(torchvision_models, "_create", lambda *_: nn.Identity())
    monkeypatch.setattr(torchvision_models, "load_weights", lambda *_: [])
    ways = {}
    count = 0
    for name, weights in all_weights(models):
        loaded = load_model(f"torchvision:{name}/{weights.name}", weights="none.pt")
        ways[repr((loaded.preprocessing, loaded.words(), weights.transforms()))] = loaded, weights
        count += 1
    assert count > 110
    assert len(ways) > 15
    for loaded, weights in ways.values():
        for picture in photographs():
            assert torch.equal(seen(loaded, picture), weights.transforms()(picture)), weights


def test_networks_are_built_as_torchvision_builds_them_for_their_weights(models) -> None:
    """Those that its builders make otherwise than by the number of classes alone."""
    special = [each for each in all_weights(models) if each[0].startswith(SPECIAL)]
    assert len(special) > 8
    with torch.device("meta"), mock.patch.object(nn.Module, "load_state_dict"):
        for name, weights in special:
            theirs = as_torchvision_loads(models, name, weights, {})
            request = torchvision_models.Request(f"torchvision:{name}/{weights.name}")
            size = weights.transforms().crop_size[0]
            ours = torchvision_models._create(models, request, weights, size).eval()
            if getattr(theirs, "aux_logits", None) is False:  # its builder removes them afterwards
                ours.aux1 = ours.aux2 = ours.AuxLogits = None
            given, expected = (
                {key: value.shape for key, value in of.state_dict().items()}
                for of in (ours, theirs)
            )
            assert given == expected, name
            for flag in ("transform_input", "image_size"):
                assert getattr(ours, flag, None) == getattr(theirs, flag, None), name


@pytest.mark.parametrize(("name", "tag"), NETWORKS)
def test_logits_are_those_of_torchvision(models, name: str, tag: str, tmp_path: Path) -> None:
    weights = models.get_model_weights(name)[tag]
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    state = randomised(models.get_model(name, weights=None, **options)).state_dict()
    torch.save(state, tmp_path / "w.pth")
    theirs = as_torchvision_loads(models, name, weights, state)
    loaded = load_model(f"torchvision:{name}/{tag}", weights=tmp_path / "w.pth")
    for picture in photographs()[1:]:
        with torch.no_grad():
            expected = theirs(weights.transforms()(picture)[None])
            ours = loaded.model(loaded.preprocessing(picture)[None])
        assert 0 < expected.std() < 1e4
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert loaded.name == f"torchvision:{name}/{tag}"
    assert loaded.class_names == imagenet_class_names()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_weights_come_from_the_cache_and_nowhere_else(models, cache: Path, monkeypatch) -> None:
    asked = without_a_connection(monkeypatch)
    url = r"https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    with pytest.raises(CleverError, match=f"not on this machine.*--download.*{url}.*--weights, or"):
        load_model("torchvision:squeezenet1_1")
    model = randomised(models.squeezenet1_1(weights=None))
    cache.mkdir(parents=True)
    torch.save(model.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    loaded = load_model("torchvision:squeezenet1_1")
    assert loaded.name == "torchvision:squeezenet1_1/IMAGENET1K_V1"
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.model.model(pixels), model(pixels))
    assert asked == []
    with pytest.raises(CleverError, match="cannot be fetched"):
        load_model("torchvision:squeezenet1_0", download=True)
    assert "download.pytorch.org" in asked


def test_older_files_of_densenet_are_read(models, tmp_path: Path) -> None:
    model = randomised(models.densenet121(weights=None))
    old = {}
    for name, value in model.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = (
                name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "layer" in name else name
            )
        old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    loaded = load_model("torchvision:densenet121", weights=tmp_path / "old.pth")
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.model.model(pixels), model(pixels))


def test_another_size_is_cropped_in_the_same_share(models, tmp_path: Path) -> None:
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    loaded = load_model("torchvision:resnet18", weights=tmp_path / "w.pth", image_size=112)
    assert (loaded.preprocessing.image_size, loaded.preprocessing.resize) == (112, 128)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", r"torchvision has no classifier 'resnet51'.*did you mean resnet50"),
        ("fcn_resnet50", "torchvision has no classifier 'fcn_resnet50'"),
        ("resnet50/IMAGENET1K_V3", r"resnet50 has no weights 'IMAGENET1K_V3'.*V1 or IMAGENET1K_V2"),
        ("vgg16/IMAGENET1K_FEATURES", "are of its features alone.*others: IMAGENET1K_V1"),
        ("", "torchvision has no classifier ''"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        load_model(f"torchvision:{name}")


@pytest.mark.usefixtures("models")
def test_a_size_that_a_network_cannot_take() -> None:
    with pytest.raises(CleverError, match="cannot make 'vit_b_32' for pictures of 100"):
        load_model("torchvision:vit_b_32", weights="w.pth", image_size=100)
