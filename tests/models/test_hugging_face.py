"""Image classifiers of transformers, against its own way to load and feed them."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from library_stand_ins import in_hub_cache, photographs, randomised, seen, without_a_connection
from peers import peer

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.models.loading import load_model

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def transformers():
    peer("torchvision")
    return peer("transformers")


def vit(of, **options):
    config = of.ViTConfig(**SMALL, intermediate_size=64, image_size=64, patch_size=16, **options)
    return of.ViTForImageClassification(config)


def resnet(of):
    config = of.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1] * 4)
    return of.ResNetForImageClassification(config)


def mobilevit(of):
    config = of.MobileViTConfig(
        hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 24, 24, 32, 32], image_size=64
    )
    return of.MobileViTForImageClassification(config)


def swin(of):
    config = of.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    return of.SwinForImageClassification(config)


#: A model, the name of its image processor, and how this one is set.
CASES = {
    "squashed": (vit, "ViTImageProcessor", {"size": {"height": 64, "width": 64}}),
    "lanczos, unusual scale": (
        vit,
        "ViTImageProcessor",
        {
            "size": {"height": 64, "width": 64}, "resample": 1, "rescale_factor": 1 / 127.5,
            "image_mean": [1.0, 0.9, 1.1], "image_std": [0.5, 1.0, 2.0],
        },
    ),
    "short side and crop": (
        vit,
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "squashed and crop": (
        vit,
        "DeiTImageProcessor",
        {"size": {"height": 72, "width": 80}, "crop_size": {"height": 64, "width": 64}},
    ),
    "share": (resnet, "ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
    "whole": (resnet, "ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "offset": (
        vit,
        "EfficientNetImageProcessor",
        {
            "size": {"height": 64, "width": 64}, "rescale_factor": 1 / 127.5,
            "rescale_offset": True, "do_normalize": False, "include_top": False,
        },
    ),
    "blue first": (
        mobilevit,
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "levit": (
        vit,
        "LevitImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    ),
    "a window": (swin, "ViTImageProcessor", {"size": {"height": 64, "width": 64}}),
}  # fmt: skip


def save(of, case: str, folder: Path):
    make, name, settings = CASES[case]
    model = randomised(make(of))
    model.save_pretrained(folder)
    getattr(of, name)(**settings).save_pretrained(folder)
    return model


@pytest.mark.parametrize("case", CASES)
def test_pictures_and_logits_are_those_of_transformers(transformers, case, tmp_path: Path) -> None:
    model = save(transformers, case, tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.findings == ()
    assert not any(module.training for module in loaded.model.modules())
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for picture in photographs():
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            expected = model(pixels).logits
            ours = loaded.model(loaded.preprocessing(picture)[None])
        assert 0 < expected.std() < 1e4
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_it_is_scored(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    pixels = torch.stack([loaded.preprocessing(each) for each in photographs()])
    result = cx.clever_score(loaded.model, pixels, n_batches=3, batch_samples=4, clip=(0, 1))
    assert np.isfinite(result.scores[2.0]).all()


def test_names_of_classes(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    assert load_model(f"hf:{tmp_path}").class_names is None
    vit(transformers, id2label={i: f"kind {i}" for i in range(12)}).save_pretrained(tmp_path)
    assert load_model(f"hf:{tmp_path}").class_names == [f"kind {i}" for i in range(12)]


def test_a_model_comes_from_the_cache_alone(transformers, tmp_path: Path, monkeypatch) -> None:
    hub = peer("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked = without_a_connection(monkeypatch)
    with pytest.raises(CleverError, match=r"hf:me/mine' is not on this machine.*as hf:FOLDER"):
        load_model("hf:me/mine")
    model = save(transformers, "squashed", in_hub_cache(tmp_path, "me/mine"))
    loaded = load_model("hf:me/mine")
    assert loaded.findings == ()
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.model.model(pixels), model(pixels).logits)
    assert asked == []


def test_weights_of_a_file(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    other = randomised(vit(transformers), 1)
    safetensors.torch.save_file(other.state_dict(), tmp_path / "other.safetensors")
    loaded = load_model(f"hf:{tmp_path}", weights=tmp_path / "other.safetensors")
    picture = photographs()[1]
    with torch.no_grad():
        expected = other(seen(loaded, picture)[None]).logits
        ours = loaded.model(loaded.preprocessing(picture)[None])
    torch.testing.assert_close(ours, expected)


def test_weights_of_a_shorter_type_compute_in_float32(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path).half().save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.model(torch.rand(1, 3, 64, 64)).dtype == torch.float32


def test_code_of_a_repository_is_not_run(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "mine.Config",
        "AutoModelForImageClassification": "mine.Net",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    with pytest.raises(CleverError, match="transformers cannot load"):
        load_model(f"hf:{tmp_path}")
    assert not (tmp_path / "executed").exists()


def test_what_is_missing_is_said(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    (told,) = load_model(f"hf:{tmp_path}").findings
    assert "has no image processor" in told.said
    vit(transformers).vit.save_pretrained(tmp_path)  # without its classifier
    with pytest.raises(CleverError, match=r"leave out classifier\..*would be random"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CleverError, match="transformers cannot load"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").unlink()
    with pytest.raises(CleverError, match=r"has no config.json.*save_pretrained"):
        load_model(f"hf:{tmp_path}")


def test_a_processor_of_another_kind_is_told(transformers, tmp_path: Path) -> None:
    save(transformers, "squashed", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    settings = {"size": {"shortest_edge": 64}, "do_center_crop": False}
    transformers.CLIPImageProcessor(**settings).save_pretrained(tmp_path)
    (told,) = load_model(f"hf:{tmp_path}").findings
    assert "makes [3, 64, 85] of a picture of 301 x 403" in told.said
    path.write_text(json.dumps({"image_processor_type": "PoolFormerImageProcessor"}))
    (told,) = load_model(f"hf:{tmp_path}").findings
    assert "PoolFormerImageProcessor" in told.said
