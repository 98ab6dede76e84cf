"""A module of small networks for the tests that load models."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from clever_ext.models.loading import load_model

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


def write_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the current one, holding a module of networks that is imported anew."""
    (folder / "my_nets.py").write_text(NETS)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    return folder


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return load_model("my_nets:Net").model
