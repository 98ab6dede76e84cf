"""Networks of timm by name, against timm's own way to load and feed them."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from library_stand_ins import in_hub_cache, photographs, randomised, seen, without_a_connection
from peers import peer

from clever_ext.data import imagenet_class_names
from clever_ext.errors import CleverError
from clever_ext.models import timm_models
from clever_ext.models.loading import load_model

SMALL = "test_resnet.r160_in1k"
NETWORKS = [
    "test_resnet.r160_in1k", "test_vit.r160_in1k", "test_efficientnet.r160_in1k",
    "test_byobnet.r160_in1k", "test_convnext.r160_in1k", "test_nfnet.r160_in1k",
    "test_efficientnet_gn.r160_in1k", "mobilenetv3_small_050.lamb_in1k",
    "resnet10t.c3_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
]  # fmt: skip


@pytest.fixture(scope="module")
def timm():
    peer("torchvision")
    return peer("timm")


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hub and of torch, and no connection."""
    hub = peer("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def saved(model: torch.nn.Module, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path)
    return path


class Stub(torch.nn.Identity):
    """What is left of a network without its layers."""

    def __init__(self, timm, name: str) -> None:
        super().__init__()
        self.pretrained_cfg = timm.models.get_pretrained_cfg(name).to_dict()
        self.num_classes = self.pretrained_cfg["num_classes"]


def transform_of(timm, config: dict):
    return timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))


def test_every_classifier_is_fed_as_timm_feeds_it_to_the_bit(timm, monkeypatch) -> None:
    """Every configuration is loaded; pictures are compared once for each way to prepare them."""
    monkeypatch.setattr(timm_models, "_create", lambda of, name, **_: Stub(of, name))
    monkeypatch.setattr(timm_models, "_class_names", lambda *_, **__: None)  # slow to read
    ways = {}
    count = 0
    for name in timm.models.list_pretrained():
        config = timm.models.get_pretrained_cfg(name).to_dict()
        if config["num_classes"]:
            count += 1
            loaded = load_model(f"timm:{name}", download=True)
            theirs = timm.data.resolve_data_config(pretrained_cfg=config)
            ways[repr((loaded.preprocessing, loaded.words(), theirs))] = loaded, config
    assert count > 1500
    assert len(ways) > 100
    for loaded, config in ways.values():
        transform = transform_of(timm, config)
        for picture in photographs():
            assert torch.equal(seen(loaded, picture), transform(picture)), config


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_timm(timm, name: str, tmp_path: Path) -> None:
    model = randomised(timm.create_model(name))
    loaded = load_model(f"timm:{name}", weights=saved(model, tmp_path / "w.safetensors"))
    transform = transform_of(timm, model.pretrained_cfg)
    for picture in photographs():
        with torch.no_grad():
            theirs = model(transform(picture)[None])
            ours = loaded.model(loaded.preprocessing(picture)[None])
        assert 0 < theirs.std() < 1e4
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert loaded.name == f"timm:{name}"
    assert loaded.class_names == imagenet_class_names()
    assert not any(module.training for module in loaded.model.modules())


def test_weights_come_from_the_caches_and_nowhere_else(timm, caches: Path, monkeypatch) -> None:
    asked = without_a_connection(monkeypatch)
    with pytest.raises(CleverError, match=r"not on this machine.*--download.*resolve/main/model"):
        load_model(f"timm:{SMALL}")
    model = randomised(timm.create_model(SMALL))
    saved(model, in_hub_cache(caches / "hub", f"timm/{SMALL}") / "model.safetensors")
    pixels = torch.rand(1, 3, 160, 160)
    loaded = load_model(f"timm:{SMALL}")
    assert torch.equal(loaded.model.model(pixels), model(pixels))

    old = "legacy_seresnet18.in1k"
    with pytest.raises(CleverError, match=r"fetch https://github.com/.*seresnet18-4bb0ce65.pth"):
        load_model(f"timm:{old}")
    model = randomised(timm.create_model(old))
    path = caches / "torch" / "hub" / "checkpoints" / "seresnet18-4bb0ce65.pth"
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    loaded = load_model(f"timm:{old}")
    pixels = torch.rand(1, 3, 224, 224)
    assert torch.equal(loaded.model.model(pixels), model(pixels))
    assert asked == []


def test_a_folder_that_timm_has_saved(timm, caches: Path, monkeypatch) -> None:
    asked = without_a_connection(monkeypatch)
    model = randomised(timm.create_model("test_vit.r160_in1k", num_classes=3))
    model.pretrained_cfg.update(mean=(0.1, 0.2, 0.3), crop_mode="border")
    config = {"label_names": ["a", "b", "c"]}
    timm.models.save_for_hf(model, caches / "mine", model_config=config)
    loaded = load_model(f"timm:local-dir:{caches / 'mine'}")
    assert loaded.class_names == ["a", "b", "c"]
    assert loaded.preprocessing.crop_mode == "border"
    transform = transform_of(timm, model.pretrained_cfg)
    for picture in photographs():
        assert torch.equal(seen(loaded, picture), transform(picture))
    pixels = torch.rand(1, 3, 160, 160)
    assert torch.equal(loaded.model.model(pixels), model(pixels))

    with pytest.raises(CleverError, match=r"hub:me/mine' is not on this machine.*local-dir:FOLDER"):
        load_model("timm:hf-hub:me/mine")
    timm.models.save_for_hf(model, in_hub_cache(caches / "hub", "me/mine"), model_config=config)
    cached = load_model("timm:hf-hub:me/mine")
    assert torch.equal(cached.model.model(pixels), model(pixels))
    assert asked == []


@pytest.mark.usefixtures("timm", "caches")
def test_a_download_is_made_only_where_it_is_allowed(monkeypatch) -> None:
    asked = without_a_connection(monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(CleverError, match=r"timm cannot make.*without a connection, give"):
        load_model(f"timm:{SMALL}", download=True)
    assert "huggingface.co" in asked


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_vit.r160_in1k"])
def test_another_size_is_cropped_in_the_same_share(timm, name: str, tmp_path: Path) -> None:
    weights = saved(randomised(timm.create_model(name)), tmp_path / "w.safetensors")
    loaded = load_model(f"timm:{name}", weights=weights, image_size=192)
    assert (loaded.preprocessing.image_size, loaded.preprocessing.resize) == (192, 202)
    assert loaded.model(torch.zeros(1, 3, 192, 192)).shape == (1, 1000)


def test_the_size_that_timm_tests_with_has_a_share_of_its_own(timm, tmp_path: Path) -> None:
    name = "resnet10t.c3_in1k"
    weights = saved(timm.create_model(name), tmp_path / "w.safetensors")
    config = timm.models.get_pretrained_cfg(name)
    size = config.test_input_size[1]
    assert config.test_crop_pct != config.crop_pct
    loaded = load_model(f"timm:{name}", weights=weights, image_size=size)
    assert loaded.preprocessing.resize == int(size / config.test_crop_pct)


@pytest.mark.usefixtures("timm", "caches")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnett50", r"timm has no network 'resnett50'.*did you mean resnet50"),
        ("resnet50.a1_in", r"timm has no network 'resnet50.a1_in'.*did you mean resnet50.a1_in1k"),
        ("", "timm has no network ''"),
        ("vit_small_patch14_dinov2.lvd142m", "has no classes: it returns features"),
        ("local-dir:nowhere", "'nowhere' has no config.json.*save_for_hf"),
        ("resnet18.a1_in1k", "not on this machine"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        load_model(f"timm:{name}")


def test_a_size_that_a_network_cannot_take(timm, tmp_path: Path) -> None:
    name = "test_vit.r160_in1k"
    weights = saved(timm.create_model(name), tmp_path / "w.safetensors")
    with pytest.raises(CleverError, match=r"takes no pictures of 97.*160, which it was made for"):
        load_model(f"timm:{name}", weights=weights, image_size=97)
