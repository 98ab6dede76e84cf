"""What `load_model` makes of descriptions, weights and options, whatever the source."""

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_networks import SIZE, small_net, write_networks
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.models.loading import load_model
from clever_ext.models.normalisation import Normalized
from clever_ext.models.weights import weights_digest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding a module of networks that is imported anew in each test."""
    return write_networks(tmp_path, monkeypatch)


@pytest.mark.usefixtures("folder")
def test_normalisation_is_the_modules_first_step() -> None:
    torch.manual_seed(0)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    loaded = load_model("my_nets:Net", mean=mean, std=std)
    assert isinstance(loaded.model, Normalized)
    pixels = torch.rand(4, 3, SIZE, SIZE, requires_grad=True)
    by_hand = torch.stack([(pixels[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    expected = loaded.model.model(by_hand)
    torch.testing.assert_close(loaded.model(pixels), expected)
    # The gradient is in units of pixels: through the normalisation, not behind it.
    ours, theirs = (
        torch.autograd.grad(y.sum(), pixels)[0] for y in (loaded.model(pixels), expected)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".PTH", ".bin", ".ckpt"])
def test_weights_round_trip(folder: Path, suffix: str) -> None:
    net = small_net(1)
    path = folder / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(net.state_dict(), path)
    torch.manual_seed(2)
    loaded = load_model("my_nets:Net", weights=path, image_size=SIZE)
    pixels = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(loaded.model(pixels), net(pixels))
    assert loaded.digest == weights_digest(net) != load_model("my_nets:Net").digest


@pytest.mark.usefixtures("folder")
def test_weights_that_do_not_fit_name_their_keys() -> None:
    state = small_net().state_dict()
    torch.save(state, "own.pt")
    with pytest.raises(
        CleverError, match=r"other shapes: conv\.weight \(4, 3, 3, 3\) for \(6, 3, 3, 3\), .*4 more"
    ):
        load_model("my_nets:wide", weights="own.pt")
    torch.save({f"net_{key}": value for key, value in state.items()}, "renamed.pt")
    with pytest.raises(
        CleverError,
        match=r"missing: conv\.weight, conv\.bias, norm\.weight and 6 more; "
        r"unexpected: net_conv\.weight.*rename",
    ):
        load_model("my_nets:Net", weights="renamed.pt")


class Malicious:
    """Makes a file when it is unpickled by an unpickler that trusts it."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


def save_pickle(state: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(state, protocol=2))


@pytest.mark.parametrize("save", [torch.save, save_pickle])
def test_a_malicious_pickle_is_refused_and_not_executed(folder: Path, save) -> None:
    path = folder / "weights.pt"
    save({"conv.weight": Malicious()}, path)
    with pytest.raises(CleverError, match="refused because reading them may run code"):
        load_model("my_nets:Net", weights=path)
    assert not Path("executed").exists()
    if save is save_pickle:  # the trap is armed
        pickle.loads(path.read_bytes())
        assert Path("executed").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pt", None, "'missing.pt' is not a file"),
        ("weights.onnx", b"", r"end in \.onnx.*\.safetensors, \.pt, \.pth, \.bin, \.ckpt"),
        ("weights", b"", "end in nothing"),
        ("damaged.safetensors", b"abc", r"'damaged.safetensors' cannot be read \(SafetensorError"),
        ("text.pt", b"no weights", "'text.pt' are damaged, or refused"),
        ("empty.pt", b"", r"'empty.pt' cannot be read \(EOFError"),
    ],
)
def test_bad_weight_files(name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(CleverError, match=message):
        load_model("my_nets:Net", weights=name)


def test_a_truncated_weight_file(folder: Path) -> None:
    path = folder / "half.pth"
    torch.save(small_net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(CleverError, match=r"'half.pth' cannot be read \(RuntimeError"):
        load_model("my_nets:Net", weights=path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "efficientnet-lite9",
            r"no model is called 'efficientnet-lite9'.*efficientnet-lite0, "
            r"efficientnet-lite1, efficientnet-lite2, .*did you mean",
        ),
        ("EfficientNet-Lite0", r"did you mean efficientnet-lite0"),
        ("", "no model is called ''"),
        ("net.onnx", r"'net.onnx' is named without its source.*name it onnx:net.onnx"),
        ("net.h5", r"ends in \.h5, which is not read.*write a factory"),
        ("last.ckpt", r"'last.ckpt' holds weights without their network"),
        ("net.pth", r"'net.pth' holds weights without their network.*--weights net.pth"),
        ("missing.pt2", "'missing.pt2' is not a file"),
        ("no_such_module:net", r"'no_such_module' cannot be imported \(ModuleNotFoundError"),
        ("broken:net", r"'broken' cannot be imported \(SyntaxError"),
        (":net", "'' cannot be imported"),
        ("my_nets:Nett", r"'my_nets' has no 'Nett'.*did you mean Net\?"),
        ("my_nets:", "'my_nets' has no ''"),
        ("my_nets:number", "is no factory but an object of type int"),
        ("my_nets:made", "is no factory but an object of type Identity.*wrap it"),
        ("my_nets:nothing", "returned an object of type NoneType"),
        ("my_nets:failing", r"failed when called \(RuntimeError: no such width\)"),
        ("torch.nn:Linear", r"failed when called \(TypeError.*arguments defaults"),
    ],
)
def test_bad_descriptions(spec: str, message: str) -> None:
    Path("broken.py").write_text("def (:")
    with pytest.raises(CleverError, match=message):
        load_model(spec)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is 0.*positive"),
        ({"image_size": -1}, "image_size is -1"),
        ({"image_size": (8, 8, 8)}, r"image_size is \(8, 8, 8\).*height and width"),
        ({"resize": 0}, "resize is 0"),
        ({"resize": 256, "crop_pct": 0.875}, "resize is 256 and crop_pct is 0.875.*one of them"),
        ({"crop_pct": 87.5}, "crop_pct is 87.5.*0.875 for 87.5 %"),
        ({"crop_pct": 0}, "crop_pct is 0"),
        ({"crop_mode": "centre"}, "crop_mode is 'centre'.*center, squash, border"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": 1, "mean": (0, 0, 0), "std": (1, 1, 1)}, "mean is .*one finite number"),
        ({"channels": 4, "mean": (0, 0, 0), "std": (1, 1, 1)}, "mean is .*4 finite numbers"),
        ({"mean": (0.5,), "std": (0.5,)}, r"mean is \[0.5\].*three finite numbers"),
        ({"mean": (0, 0, 0), "std": (1, 1)}, r"std is \[1, 1\].*three finite numbers"),
        ({"mean": (0, 0, float("nan")), "std": (1, 1, 1)}, "mean is .*three finite numbers"),
        ({"mean": (0, 0, 0), "std": (1, 0, 1)}, r"std is \[1, 0, 1\].*above zero"),
        ({"mean": (0, 0, 0), "std": (1, -1, 1)}, "above zero"),
        ({"mean": (0, 0, 0)}, "only mean is given"),
        ({"std": (1, 1, 1)}, "only std is given"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        load_model("my_nets:Net", **options)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "short side to 224 (bicubic), centre crop 224 x 224, RGB, no normalisation"),
        (
            {"image_size": 28, "channels": 1, "mean": (0.1307,), "std": (0.3081,)},
            "short side to 28 (bicubic), centre crop 28 x 28, grey, mean 0.1307, std 0.3081",
        ),
        (
            {"crop_pct": 0.9, "interpolation": "bilinear"},
            "short side to 248 (bilinear), centre crop 224 x 224, RGB, no normalisation",
        ),
        (
            {"image_size": (96, 192), "crop_pct": 0.875},
            "shape kept, to cover 109 x 219 (height x width) (bicubic), "
            "centre crop 96 x 192 (height x width), RGB, no normalisation",
        ),
        (
            {"resize": (240, 300)},
            "squashed to 240 x 300 (height x width) (bicubic), centre crop 224 x 224, RGB, "
            "no normalisation",
        ),
        (
            {"crop_pct": 1.0, "crop_mode": "border", "mean": [0.5] * 3, "std": [0.25] * 3},
            "shape kept, to fit into 224 x 224 (bicubic), centre crop 224 x 224, "
            "on (128, 128, 128), RGB, mean 0.5 0.5 0.5, std 0.25 0.25 0.25",
        ),
    ],
)
def test_what_is_done_to_a_picture_is_said(options: dict, words: str) -> None:
    assert load_model("my_nets:Net", **options).words() == words


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("mean", "std", "fix"),
    [
        (
            (123.675, 116.28, 103.53),
            (58.395, 57.12, 57.375),
            "mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        ),
        ((127.5,) * 3, (127.5,) * 3, "mean 0.5 0.5 0.5, std 0.5 0.5 0.5"),
        (
            (104, 117, 123),
            (1, 1, 1),
            "mean 0.4078 0.4588 0.4824, std 0.003922 0.003922 0.003922",
        ),
        ((0, 0, 0), (255, 255, 255), "mean 0 0 0, std 1 1 1"),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375), "mean 0.485 0.456 0.406, std 0.229"),
    ],
)
def test_levels_from_0_to_255_are_told_from_pixels(mean: tuple, std: tuple, fix: str) -> None:
    with pytest.raises(CleverError, match=rf"units of pixels in 0..255.*divide by 255: {fix}"):
        load_model("my_nets:Net", mean=mean, std=std)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("mean", "std"), [((0, 0, 0), (1, 1, 1)), ((0, 0, 0), (1 / 255,) * 3), ((1, 1, 1), (0.5,) * 3)]
)
def test_unusual_units_of_pixels_are_taken(mean: tuple, std: tuple) -> None:
    assert isinstance(load_model("my_nets:Net", mean=mean, std=std).model, Normalized)


def test_a_model_behind_its_normalisation_takes_pixels():
    torch.manual_seed(0)
    model, mean, std = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval(), [0.4] * 3, [0.2] * 3
    pixels = torch.rand(2, 3, 4, 4)
    ours = cx.Normalized(model, mean, std)
    assert not ours.training
    assert torch.equal(ours(pixels), model((pixels - 0.4) / 0.2))
    one = {"clip": (0, 1), "targets": "top2", "estimator": "first-order"}
    by_hand = cx.clever_score(lambda x: model((x - 0.4) / 0.2), pixels, **one)
    torch.testing.assert_close(cx.clever_score(ours, pixels, **one).scores, by_hand.scores)


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5] * 3, [0.25] * 2), ([0.5], [0.0]), ([124.0, 116.0, 104.0], [58.0] * 3), ([], [])],
)
def test_what_is_no_normalisation_is_refused(mean, std):
    with pytest.raises(cx.CleverError):
        cx.Normalized(nn.Identity(), mean, std)
