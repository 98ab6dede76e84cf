"""TorchScript files."""

from pathlib import Path

import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.errors import CleverError
from clever_ext.models.loading import load_model

SIZE = 8
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def small_net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("make", ["script", "trace"])
def test_logits_and_scores_are_those_of_the_network(make: str, tmp_path: Path) -> None:
    net = small_net()
    pixels = torch.rand(3, 3, SIZE, SIZE)
    file = torch.jit.script(net) if make == "script" else torch.jit.trace(net, pixels)
    torch.jit.save(file.train(make == "script"), tmp_path / "net.pt")
    loaded = load_model(f"torchscript:{tmp_path / 'net.pt'}", image_size=SIZE)
    assert not any(module.training for module in loaded.model.modules())
    torch.testing.assert_close(loaded.model(pixels), net(pixels), rtol=1e-5, atol=1e-5)
    options = {"n_batches": 3, "batch_samples": 4, "clip": (0, 1)}
    ours, theirs = (cx.clever_score(of, pixels, **options) for of in (loaded.model, net))
    assert ours.scores[2.0] == pytest.approx(theirs.scores[2.0], rel=1e-4)


def test_what_is_no_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with pytest.raises(CleverError, match=r"net\.pt' is not a file"):
        load_model(f"torchscript:{path}")
    torch.save(small_net().state_dict(), path)
    with pytest.raises(CleverError, match=r"'net.pt' cannot be read .*file of `torch.jit.save`"):
        load_model(f"torchscript:{path}")
    with pytest.raises(CleverError, match="given together with weights"):
        load_model(f"torchscript:{path}", weights=path)
