"""What is attacked: pictures, each from its class towards one target, in pixels in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..classifier.outputs import logits_of

Floats = npt.NDArray[np.float64]

#: Margins at the pictures, as attacks see them: losses of logits neither vanish nor overflow.
_MARGIN = 10.0


class Pair(nn.Module):
    """The two logits of a margin, of each row its own, scaled: what attacks towards a target need.

    Its rows are those of the pictures, so that an attack must look at all of them, in their order.

    Args:
        model: [N, *shape] -> logits [N, K].
        x: [N, *shape], the pictures.
        classes: [N], what they are classified as.
        targets: [N], what they are to be classified as.
    """

    def __init__(self, model: nn.Module, x: Tensor, classes: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.model, self.columns = model, torch.stack([classes, targets], dim=1)
        with torch.no_grad():
            margin = self.margins(x)
        self.scale = _MARGIN / margin.clamp_min(torch.finfo(margin.dtype).eps)

    def logits(self, x: Tensor) -> Tensor:
        """Return the model's own logits of class and target [N, 2], in float32 or better."""
        pair: Tensor = logits_of(self.model(x.clone())).gather(1, self.columns)
        return pair.to(torch.promote_types(pair.dtype, torch.float32))

    def margins(self, x: Tensor) -> Tensor:
        """Return the model's own margins [N]."""
        logits = self.logits(x)
        return logits[:, 0] - logits[:, 1]

    def forward(self, x: Tensor) -> Tensor:
        """Map points [N, *shape] to [N, 2]."""
        return self.logits(x) * self.scale[:, None]

    def squashed(self, x: Tensor) -> Tensor:
        """Do the same, of margins so tame that cross-entropy has no vanishing gradient."""
        logits = self.forward(x)
        margins = (logits[:, 0] - logits[:, 1]).asinh()
        return torch.stack([margins, torch.zeros_like(margins)], dim=1)


@dataclass(frozen=True)
class Work:
    """Rows that are attacked together.

    Attributes:
        pair: Of all of them.
        x: [N, *shape] in [0, 1].
        classes: [N], what they are classified as.
        targets: [N].
        starts: [K, N, *shape], of each row other points, nearest first, at which an attack may
            begin: the network prefers the target there, if it does so anywhere. K may be 0.
    """

    pair: Pair
    x: Tensor
    classes: Tensor
    targets: Tensor
    starts: Tensor

    @classmethod
    def of(
        cls, model: nn.Module, x: Tensor, classes: Tensor, targets: Tensor, starts: Tensor
    ) -> Work:
        """Return the work of some rows; its attributes are the arguments."""
        return cls(Pair(model, x, classes, targets).eval(), x, classes, targets, starts)

    def some(self, which: Tensor | slice) -> Work:
        """Return the work of some of the rows."""
        x, classes, targets = self.x[which], self.classes[which], self.targets[which]
        return Work.of(self.pair.model, x, classes, targets, self.starts[:, which])

    def copied(self) -> Work:
        """Return a copy, which an attack may write into."""
        tensors = (self.x, self.classes, self.targets, self.starts)
        return Work.of(self.pair.model, *(each.clone() for each in tensors))

    def flipped(self, points: Tensor) -> Tensor:
        """Tell at which points [N, *shape] the network prefers the target: booleans [N]."""
        with torch.no_grad():
            return self.pair.margins(points) <= 0

    def distances(self, points: Tensor, p: float) -> Floats:
        """Measure how far points [N, *shape] are in the p-norm, once they are in [0, 1].

        Returns:
            [N]; infinite where the network does not prefer the target at the point.
        """
        points = points.detach().to(self.x).reshape(self.x.shape).clamp(0, 1)
        moved = (points - self.x).flatten(1).double()
        away = torch.linalg.vector_norm(moved, p, dim=1)
        found = torch.where(self.flipped(points) & away.isfinite(), away, math.inf)
        return found.cpu().numpy()


def in_parts(model: nn.Module, x: Tensor, size: int = 50) -> Tensor:
    """Return logits [N, K] of points, not too many of which go through the model at once."""
    return torch.cat([logits_of(model(part.clone())) for part in torch.split(x, size)])


def nearest_starts(model: nn.Module, x: Tensor, pairs: Tensor, among: Tensor, n: int) -> Tensor:
    """Find for each row the nearest of some points at which the network prefers the target.

    Args:
        model: [N, *shape] -> logits [N, K].
        x: [N, *shape], the pictures.
        pairs: [N, 2], class and target of each.
        among: [M, *shape], the points; no more of them go through the model at once than pictures.
        n: How many of each.

    Returns:
        [K, N, *shape], K at most n: as many as every row has that has any. A row that has none gets
        its own picture, at which no attack can begin.
    """
    with torch.no_grad():
        logits = in_parts(model, among, max(1, len(x)))
    found = []
    for picture, (own, other) in zip(x, pairs.tolist(), strict=True):
        away = torch.linalg.vector_norm((among - picture).flatten(1).float(), dim=1)
        away[logits[:, other] <= logits[:, own]] = math.inf
        order = away.argsort()[:n]
        found.append(among[order[away[order] < math.inf]])
    common = min((len(each) for each in found if len(each)), default=0)
    own_pictures = [picture.expand(common, *picture.shape) for picture in x]
    rows = [
        each[:common] if len(each) else own for each, own in zip(found, own_pictures, strict=True)
    ]
    return torch.stack(rows, dim=1)
