"""Exported programs as models."""

from pathlib import Path

import pytest
import torch
from small_networks import SIZE, small_net, write_networks
from torch import nn

from clever_ext import data
from clever_ext.errors import CleverError
from clever_ext.models.loading import load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding a module of networks that is imported anew in each test."""
    return write_networks(tmp_path, monkeypatch)


@pytest.fixture
def exported(folder: Path) -> Path:
    save_exported(small_net(), folder / "net.pt2")
    return folder / "net.pt2"


def save_exported(
    net: nn.Module, path: Path, shape: tuple[int, ...] = (2, 3, SIZE, SIZE), dynamic: bool = True
) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(net, (torch.zeros(shape),), dynamic_shapes=shapes), path)


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


def test_an_exported_program_is_a_named_source_too(exported: Path) -> None:
    by_path, by_name = load_model(str(exported)), load_model(f"pt2:{exported}")
    assert (by_name.name, by_name.digest) == (by_path.name, by_path.digest)
    renamed = exported.rename(exported.with_name("my:net"))  # no ending, and a colon
    assert load_model(f"pt2:{renamed}").digest == by_path.digest
    with pytest.raises(CleverError, match=r"my:net' was given together with weights"):
        load_model("pt2:my:net", weights="weights.pt")


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
