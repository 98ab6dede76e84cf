"""Whether the gradients that an oracle gives are those of the logits that it gives."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import CleverError
from ..findings import Finding
from .oracle import GradientOracle, margins_of

#: How much the gradient says that the margin changes in the longest step, at most: in units of the
#: rounding of the logits, and as a share of them.
_LONGEST, _SHARE = 2e5, 0.1
#: Changes that tell something, in units of the rounding of the logits.
_TELLING = 1e2
#: Steps, as shares of the longest. One that is right is enough: long ones cross kinks, short ones
#: are rounded away.
_STEPS = (1.0, 0.1, 0.01, 0.001)
#: By what share a change may miss that which the gradient says.
_MISSED = 0.3
#: How near the two longest steps are where no rounding that is not known of decides.
_STEADY = 0.1
_GUIDE = "docs/guide/other-frameworks.md"


def doubt_of_gradients(oracle: GradientOracle, points: Tensor, size: int) -> Finding | None:
    """Hold gradients of margins against central differences of the logits along them.

    Each step stays within the box that the points span, so that no range of valid data is left. It
    takes one gradient and nine logits of each point, whatever its size.

    Args:
        oracle: Gives logits and gradients.
        points: [B, *shape], images and points of the balls around them.
        size: Points that go through it at once, at most.

    Returns:
        A finding where the changes at most of the points miss what the gradients say at every step.

    Raises:
        CleverError: the logits are one-hot at all these points, and the gradients are not zero.
    """
    low, width = points.amin(dim=0), points.amax(dim=0) - points.amin(dim=0)
    points = points.clamp(low + width / 4, low + 3 * width / 4)
    logits = _logits(oracle, points, size)
    best = logits.topk(2, dim=1).indices
    classes, targets = best[:, 0].contiguous(), best[:, 1:].contiguous()
    gradients = _gradients(oracle, points, classes, targets, size)
    rounding = max(torch.finfo(each.dtype).eps for each in (points, oracle.logits(points[:1])))
    largest, terms = logits.abs().amax(dim=1), (gradients * points).abs().flatten(1).sum(dim=1)
    unit = rounding * (largest + terms)
    change = torch.minimum(_LONGEST * unit, _SHARE * largest)
    ahead = gradients * width * width  # a way up, longer where there is more room
    rise = (ahead * gradients).flatten(1).sum(dim=1)
    room = 1 / (4 * gradients * width).abs().flatten(1).amax(dim=1)
    longest = torch.minimum(change / (2 * rise), room).nan_to_num(0, 0, 0)
    ahead *= longest.view(-1, *[1] * width.dim())
    said, changes, seen = [], [], [logits]
    for step in _STEPS:
        ends = [(points + sign * step * ahead).to(points) for sign in (1, -1)]
        said.append(((ends[0].double() - ends[1].double()) * gradients).flatten(1).sum(dim=1))
        seen += [_logits(oracle, end, size) for end in ends]
        margins = [margins_of(each, classes, targets)[:, 0] for each in seen[-2:]]
        changes.append(margins[0] - margins[1])
    return _doubt(torch.stack(said), torch.stack(changes), _TELLING * unit, torch.cat(seen))


def _doubt(said: Tensor, changes: Tensor, floor: Tensor, seen: Tensor) -> Finding | None:
    """Judge changes [S, B] of margins by those that gradients say, where above a floor [B]."""
    shares = changes / said
    telling = (said > floor) & shares.isfinite()
    told = telling[:2].all(dim=0)
    one_hot = ((seen == 0) | (seen == 1)).all() & (seen.sum(dim=1) == 1).all()
    if bool(one_hot & told.any()):
        raise CleverError(
            f"the oracle's logits are one-hot, 0 and a single 1, at all {len(seen)} points that "
            "were looked at, and its gradients are not zero: they are of something else",
            "logits, and their gradients",
            f"write the decision function in torch, or a GradientOracle: {_GUIDE}",
        )
    right = (telling & ((shares - 1).abs() <= _MISSED)).any(dim=0)
    wrong = told & ~right & ((shares[0] - shares[1]).abs() <= _STEADY)
    if int(wrong.sum()) < 2 or 2 * int(wrong.sum()) <= int(told.sum()):
        return None
    share = float(shares[0, wrong].median())
    return Finding(
        "model",
        f"the gradients are not those of the logits: at {int(wrong.sum())} of {int(told.sum())} "
        f"points these change {share:.2g} times as much as their gradients say",
        f"give logits and gradients of the same function: {_GUIDE}",
    )


def _logits(oracle: GradientOracle, points: Tensor, size: int) -> Tensor:
    parts = range(0, len(points), size)
    return torch.cat([oracle.logits(points[k : k + size]).clone() for k in parts]).double()


def _gradients(
    oracle: GradientOracle, points: Tensor, classes: Tensor, targets: Tensor, size: int
) -> Tensor:
    found = []
    for k in range(0, len(points), size):
        part = slice(k, k + size)
        (gradient,) = oracle.margin_gradients(points[part], classes[part], targets[part])
        found.append(gradient.clone())
    return torch.cat(found).double()
