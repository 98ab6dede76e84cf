"""Networks that the benchmarks measure on, in evaluation mode.

EfficientNet-Lite0 has its published weights. Of the others only the speed matters: their weights
are torch's random ones, so seed torch first where two runs should have the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network: what builds it, and the shape of one input."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0, pixels [B, 3, 224, 224] to 1,000 logits, with its published weights."""
    from clever_ext.models.loading import load_model

    return load_model("efficientnet-lite0").model


def mnist_7_layer() -> nn.Module:
    """The 7-layer MNIST network of Carlini & Wagner (2017), which the CLEVER paper scores."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(),
        nn.Linear(200, 10),
    ).eval()  # fmt: skip


def lenet() -> nn.Module:
    """A LeNet-5 of the usual size for MNIST: two convolutions, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 200), nn.ReLU(), nn.Linear(200, 10),
    ).eval()  # fmt: skip


def tiny() -> nn.Module:
    """Four linear layers."""
    hidden = [part for _ in range(3) for part in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(64, 10)).eval()


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions, the stride in the middle one."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.residual = nn.Sequential(
            *_convolution(channels, width, 1), nn.ReLU(),
            *_convolution(width, width, 3, stride), nn.ReLU(),
            *_convolution(width, out, 1),
        )  # fmt: skip
        same = stride == 1 and channels == out
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Sequential(*_convolution(channels, out, 1, stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, H, W] to [B, 4 * width, H / stride, W / stride]."""
        return F.relu(self.residual(x) + self.shortcut(x))


def _convolution(channels: int, out: int, size: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(out)]


def resnet50() -> nn.Module:
    """ResNet-50 (He et al. 2016), stride in the 3x3 convolutions; 25.6 M parameters."""
    channels, blocks = 64, list[nn.Module]()
    for stage, depth in enumerate([3, 4, 6, 3]):
        width = 64 * 2**stage
        for block in range(depth):
            blocks.append(Bottleneck(channels, width, 2 if stage > 0 and block == 0 else 1))
            channels = 4 * width
    return nn.Sequential(
        *_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000),
    ).eval()  # fmt: skip


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, L, width] to tokens of the same shape."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """A vision transformer that classifies by its class token."""

    def __init__(
        self, size: int = 224, patch: int = 16, width: int = 768, depth: int = 12, heads: int = 12
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [B, 3, size, size] to logits [B, 1000]."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)[:, 0]))
        return logits


def vit_b16() -> nn.Module:
    """ViT-B/16 (Dosovitskiy et al. 2021) at 224 x 224; 86.6 M parameters."""
    return VisionTransformer().eval()


NETWORKS = {
    "efficientnet-lite0": Network(efficientnet_lite0, (3, 224, 224)),
    "mnist-7-layer": Network(mnist_7_layer, (1, 28, 28)),
    "lenet": Network(lenet, (1, 28, 28)),
    "tiny": Network(tiny, (64,)),
    "resnet-50": Network(resnet50, (3, 224, 224)),
    "vit-b16": Network(vit_b16, (3, 224, 224)),
}
