"""Points at which a model is looked at: images, and samples of the balls around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.balls import known_balls, sample_lp_ball

#: Samples among the points that passes are compared at, at most.
_SAMPLES = 6
#: Balls that the points of a large batch are drawn from, at most, and their seed.
_BALLS, _SEED = 4, 0x57EAD


class Region(NamedTuple):
    """Where the points of all passes lie.

    Attributes:
        balls: (norm, radius) of each, as far as they are known; a NaN stands for a radius that is
            still to be found.
        clip: Range that samples are clamped to.
    """

    balls: Sequence[tuple[float, float]] = ()
    clip: tuple[float, float] = (-math.inf, math.inf)

    @property
    def clipped(self) -> bool:
        """Whether samples are held in a range of valid data."""
        return self.clip != (-math.inf, math.inf)


#: Where nothing is known of the balls: that of norm 2 and its trial radius.
DEFAULT_BALL = Region()


def points_in_turn(images: Tensor, n: int, region: Region) -> Tensor:
    """Return n points [n, *shape]: images [N, *shape], and samples of the balls, in turn."""
    known = known_balls(region.balls)
    rows = [images[k % len(images)] for k in range(n)]
    for k in range(1, n):  # the first is an image itself
        p, radius = known[k % len(known)]
        one = sample_lp_ball(rows[k], 1, p=p, radius=radius, seed=k, image_id=k, clip=region.clip)
        rows[k] = one[0].to(images)
    return torch.stack(rows)


def compared_points(images: Tensor, region: Region, most: int = _SAMPLES + 2) -> Tensor:
    """Return points [B, *shape] to compare passes at: two images and uniform samples around them.

    Args:
        images: [I, *shape].
        region: The balls that are to be sampled.
        most: Points that fit through the model at once; three are compared at least.
    """
    taken = islice(cycle(known_balls(region.balls)), max(1, min(_SAMPLES, most - 2)))
    samples = [
        sample_lp_ball(images[-(n % 2)], 1, p, radius, seed=n, clip=region.clip)
        for n, (p, radius) in enumerate(taken)
    ]
    return torch.cat([images[:1], images[-1:], *samples]).contiguous()


def large_batch(images: Tensor, size: int, region: Region) -> Tensor:
    """Return points [size, *shape] of the balls around the first and the last image.

    Args:
        images: [N, *shape].
        size: How many.
        region: The balls.
    """
    known = known_balls(region.balls)
    n_parts = min(size, _BALLS)
    parts = []
    for n, (p, radius) in enumerate(islice(cycle(known), n_parts)):
        count = size // n_parts + (n < size % n_parts)
        center = images[-(n % 2)]
        parts.append(sample_lp_ball(center, count, p, radius, seed=_SEED + n, clip=region.clip))
    return torch.cat(parts)
