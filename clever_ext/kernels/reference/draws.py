"""Words of the streams, draws and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_ELEMENTS, _EXPONENTIAL, _REJECTION = 0, 1, 2  # domains of a sample's words
_UINT32 = np.uint64(0xFFFFFFFF)


def philox4x32_10(counter: Sequence[npt.ArrayLike], key: tuple[int, int]) -> list[Words]:
    """Philox4x32-10 (Salmon et al., SC 2011) of four arrays of counter words."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, dtype=np.uint64) for c in counter))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(10):
        product0 = np.uint64(0xD2511F53) * c0
        product1 = np.uint64(0xCD9E8D57) * c2
        c0 = (product1 >> np.uint64(32)) ^ c1 ^ k0
        c2 = (product0 >> np.uint64(32)) ^ c3 ^ k1
        c1, c3 = product1 & _UINT32, product0 & _UINT32
        k0 = (k0 + np.uint64(0x9E3779B9)) & _UINT32
        k1 = (k1 + np.uint64(0xBB67AE85)) & _UINT32
    return [c.astype(np.uint32) for c in (c0, c1, c2, c3)]


def stream_key(seed: int, image_id: int, p: float) -> tuple[int, int]:
    """Key of all samples of one image under one seed and norm."""
    image, bits = image_id % 2**64, int(np.float64(p).view(np.uint64))
    words = philox4x32_10(
        (image % 2**32, image >> 32, bits % 2**32, bits >> 32),
        (seed % 2**32, (seed % 2**64) >> 32),
    )
    return int(words[0]), int(words[1])


def _uniform(words: Words) -> Floats:
    return (words.astype(np.float64) + 0.5) * 2.0**-32


def _draws(key: tuple[int, int], sample: int, numel: int, p: float) -> Floats:
    """Draws t of density proportional to exp(-|t|^p), [numel]; uniform in [-1, 1] for p = inf."""
    blocks = np.arange((numel + 3) // 4)
    k, b = sample % 2**32, sample >> 32
    if p in (1, 2, math.inf):
        w = philox4x32_10((blocks, k, b, _ELEMENTS), key)
        if p == math.inf:
            t = [(x.view(np.int32).astype(np.float64) + 0.5) * 2.0**-31 for x in w]
        elif p == 1:
            t = [np.where(x & 1, 1, -1) * np.log(_uniform(x | np.uint32(1))) for x in w]
        else:
            t = []
            for radius, angle in (w[:2], w[2:]):
                r, a = np.sqrt(-np.log(_uniform(radius))), 2 * np.pi * angle.astype(np.float64)
                t += [r * np.cos(a / 2**32), r * np.sin(a / 2**32)]
    else:
        t = [_gamma_draws(key, k, b, blocks, word, p) for word in range(4)]
    return np.concatenate(t)[:numel]


def draw_signs(y: Tensor, p: float, share: float, seed: int, image_id: int, sample: int) -> Tensor:
    """Each element +-s with probability share, else 0, with s (share numel)^(1/p) = 1."""
    blocks = np.arange((y.numel() + 3) // 4)
    counter = (blocks, sample % 2**32, sample >> 32, _ELEMENTS)
    w = np.concatenate(philox4x32_10(counter, stream_key(seed, image_id, p)))[: y.numel()]
    t = np.where(w & 1, -1.0, 1.0) * ((w >> 1) < int(share * 2**31))
    size = 1.0 if p == math.inf else (share * y.numel()) ** (-1 / p)
    return torch.from_numpy(size * t).view(y.shape)


def _gamma_draws(
    key: tuple[int, int], k: int, b: int, blocks: npt.NDArray[np.int64], word: int, p: float
) -> Floats:
    """|t| = U G^(1/p) with G ~ Gamma(1 + 1/p), by Marsaglia and Tsang's rejection."""
    d = 1 / p + 2 / 3
    out, left, attempt = np.empty(len(blocks)), np.arange(len(blocks)), 0
    while len(left):
        w = philox4x32_10((blocks[left], k, b, _REJECTION + 4 * attempt + word), key)
        angle = 2 * np.pi * w[1].astype(np.float64) / 2**32
        x = np.sqrt(-2 * np.log(_uniform(w[0]))) * np.cos(angle)
        v = np.maximum(1 + x / math.sqrt(9 * d), 1e-100) ** 3
        accepted = np.log(_uniform(w[2])) < x * x / 2 + d * (1 - v + np.log(v))
        sign = np.where(w[3] & 1, -1, 1)
        size = _uniform(w[3] | np.uint32(1)) * (d * v) ** (1 / p)
        out[left[accepted]] = (sign * size)[accepted]
        left, attempt = left[~accepted], attempt + 1
    return out


def draw_sample(
    center: Tensor, p: float, radius: float, seed: int, image_id: int, sample: int
) -> Tensor:
    """That sample of the p-ball around center, float64 and not clipped."""
    key = stream_key(seed, image_id, p)
    t = _draws(key, sample, center.numel(), p)
    scale: Any = radius
    if p != math.inf:
        z = philox4x32_10((0, sample % 2**32, sample >> 32, _EXPONENTIAL), key)[0]
        scale = radius / (np.sum(np.abs(t) ** p) - np.log(_uniform(z))) ** (1 / p)
    return center.double().cpu() + torch.from_numpy(scale * t).view(center.shape)


def sample_lp_ball(
    out: Tensor,
    center: Tensor,
    p: float,
    radius: float,
    seed: int,
    image_id: int,
    first: int,
    low: float,
    high: float,
) -> None:
    """Fill out [n, *shape] with samples first..first+n-1 of the p-ball around center [*shape]."""
    for row in range(len(out)):
        x = draw_sample(center, p, radius, seed, image_id, first + row)
        out[row] = x.clamp(low, high).to(out)
