"""Whether a model still computes what it did, and a row the same whatever stands beside it.

What a few passes show before the work may cease to hold in thousands: a model may keep count of its
calls, be changed by another thread, or mix rows at rare values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
from torch import Tensor

from ..engine.preparation import apart, spread
from ..kernels.balls import known_balls, sample_lp_ball
from .oracle import GradientOracle
from .surroundings import precision

#: How far logits and gradients of the same batch may move from one pass to the next, relative to
#: the spread of a row's logits or to its gradient: nothing, but for a GPU's order of sums.
_SAME = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
#: By how much more on a GPU, and of how many rows a gradient may cross a kink by rounding.
_ON_GPU, _CROSSED = 100.0, 0.25
#: How far a row's logits may move with the batch: rounding of other kernels.
_OTHER_BATCH = {torch.float64: 1e-9, torch.float32: 2e-3, torch.float16: 0.1, torch.bfloat16: 0.2}
#: Points that tell the rounding of a model, and times that it may be in a large batch.
_ALONE, _MORE = 2, 8.0
#: Rounding of large numbers that all logits have in common, in units of their last digit.
_LAST_DIGITS = 64
#: Balls that the points of a large batch are drawn from, at most, and their seed.
_BALLS, _SEED = 4, 0x57EAD


class Witness:
    """What an oracle computes at a few points, to hold what it computes later against.

    Args:
        oracle: Gives logits and gradients.
        points: [B, *shape].
        size: Points that go through it at once, at most.
    """

    def __init__(self, oracle: GradientOracle, points: Tensor, size: int) -> None:
        self.oracle, self.points, self.size = oracle, points, size
        self.pair: Tensor | None = None
        self.logits, self.gradients = self._asked()
        few = slice(0, min(_ALONE, len(points)))
        alone = torch.cat([oracle.logits(points[n : n + 1]).double() for n in range(few.stop)])
        moved = apart(alone, self.logits[few]).amax(dim=1) / spread(self.logits[few])
        #: What the type of the points does not tell: the rounding of a model that computes in less.
        self.rounding = min(_MORE * float(moved.max()), _OTHER_BATCH[torch.bfloat16])

    def _asked(self) -> tuple[Tensor, Tensor]:
        """Return logits [B, K] and the gradients [B, *shape] of each point's smallest margin."""
        parts = [slice(k, k + self.size) for k in range(0, len(self.points), self.size)]
        logits = torch.cat([self.oracle.logits(self.points[part]).clone() for part in parts])
        if self.pair is None:
            self.pair = logits.topk(2, dim=1).indices
        gradients = []
        for part in parts:
            of, to = self.pair[part, 0], self.pair[part, 1:]
            (gradient,) = self.oracle.margin_gradients(self.points[part], of, to)
            gradients.append(gradient.clone())
        return logits.double(), torch.cat(gradients).double()

    def agrees(self) -> bool:
        """Tell whether the oracle computes now what it did."""
        logits, gradients = self._asked()
        if logits.shape != self.logits.shape or not self._close(
            logits, self.logits, self._of(_SAME)
        ):
            return False
        moved = apart(gradients.flatten(1), self.gradients.flatten(1)).norm(dim=1)
        allowed = self._of(_SAME) * self.gradients.flatten(1).nan_to_num(0, 0, 0).norm(dim=1)
        return float((moved > allowed).double().mean()) <= _CROSSED

    def mixes(self, batch: Tensor) -> bool:
        """Tell whether logits of rows depend on the batch [B, *shape] in which they are computed.

        Rows that hold the extreme values stand for all: a model that goes by values goes by these.
        """
        flat = batch.flatten(1)
        high, low = flat.amax(dim=1), flat.amin(dim=1)
        extreme = (high.argmax(), high.argmin(), low.argmax(), low.argmin())
        rows = sorted({0, len(batch) - 1, *(int(row) for row in extreme)})
        whole = self.oracle.logits(batch)[rows].double()
        alone = [self.oracle.logits(batch[row : row + 1]).double() for row in rows]
        tf32 = self.points.is_cuda and "tf32" in precision(self.points.device).values()
        allowed = max(_OTHER_BATCH[torch.float16 if tf32 else self.points.dtype], self.rounding)
        return not self._close(whole, torch.cat(alone), allowed)

    def _of(self, allowed: dict[torch.dtype, float]) -> float:
        return allowed[self.points.dtype] * (_ON_GPU if self.points.is_cuda else 1.0)

    def _close(self, found: Tensor, before: Tensor, allowed: float) -> bool:
        size = before.nan_to_num(0, 0, 0).abs().amax(dim=1)
        last_digits = _LAST_DIGITS * torch.finfo(self.points.dtype).eps * size
        moved = apart(found, before).amax(dim=1)
        return bool((moved <= allowed * spread(before) + last_digits).all())


def batch_of_balls(
    images: Tensor,
    size: int,
    balls: Sequence[tuple[float, float]],
    clip: tuple[float, float],
) -> Tensor:
    """Return points [size, *shape] of the balls around the first and the last image.

    Args:
        images: [N, *shape].
        size: How many.
        balls: (norm, radius) of each; a NaN stands for the default radius.
        clip: Range that samples are clamped to.
    """
    known = known_balls(balls)
    n_parts = min(size, _BALLS)
    parts = []
    for n, (p, radius) in enumerate(islice(cycle(known), n_parts)):
        count = size // n_parts + (n < size % n_parts)
        center = images[-(n % 2)]
        parts.append(sample_lp_ball(center, count, p, radius, seed=_SEED + n, clip=clip))
    return torch.cat(parts)
