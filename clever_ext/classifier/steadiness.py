"""Whether a model still computes what it did, and a row the same whatever stands beside it.

What a few passes show before the work may cease to hold in thousands: a model may keep count of its
calls, be changed by another thread, or mix rows at rare values only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .oracle import GradientOracle
from .process_state import precision
from .tolerances import (
    AFTER_WORK,
    CROSSED,
    LAST_PLACES,
    ON_GPU,
    WORK_BATCHES,
    apart,
    close,
    spread,
)

#: Points that tell the rounding of a model, and times that it may be in a large batch.
_ALONE, _MORE = 2, 8.0


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
        self.rounding = min(_MORE * float(moved.max()), WORK_BATCHES[torch.bfloat16])

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
        share = AFTER_WORK[self.points.dtype] * (ON_GPU if self.points.is_cuda else 1.0)
        if logits.shape != self.logits.shape or not self._close(logits, self.logits, share):
            return False
        moved = apart(gradients.flatten(1), self.gradients.flatten(1)).norm(dim=1)
        allowed = share * self.gradients.flatten(1).nan_to_num(0, 0, 0).norm(dim=1)
        return float((moved > allowed).double().mean()) <= CROSSED

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
        allowed = max(WORK_BATCHES[torch.float16 if tf32 else self.points.dtype], self.rounding)
        return not self._close(whole, torch.cat(alone), allowed)

    def _close(self, found: Tensor, before: Tensor, share: float) -> bool:
        size = before.nan_to_num(0, 0, 0).abs().amax(dim=1)
        last_places = LAST_PLACES * torch.finfo(self.points.dtype).eps * size
        return close(found, before, (share * spread(before) + last_places)[:, None])
