"""Linear functions on the part of a p-ball that lies in the box of valid data, for p = 1, 2, inf.

All points are flat. What a coordinate may move by is its room: to the end of the box that lies in
the way of the wanted change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Halvings of a multiplier or of a step's size.
_HALVINGS = 60
#: Those that a bound takes: it holds for every multiplier.
_HALVINGS_OF_BOUND = 30


def least_change(slopes: Tensor, x: Tensor, radius: float, p: float) -> Tensor:
    """Bound from below how much linear functions may fall within a ball and the box [0, 1].

    Exact for p = 1 and inf. For p = 2 it is a Lagrangian bound, of which no multiplier makes a
    false one; the one that is taken makes it exact up to rounding.

    Args:
        slopes: [n, d].
        x: [d], the centre.
        radius: Of the ball.
        p: Its norm: 1, 2 or inf.

    Returns:
        [n], at most 0.
    """
    room, steep = torch.where(slopes > 0, x, 1 - x), slopes.abs()
    if p == math.inf:
        return -(steep * room.clamp(max=radius)).sum(dim=1)
    if p == 1:
        steep, order = steep.sort(dim=1, descending=True)
        room = room.gather(1, order)
        before = room.cumsum(dim=1) - room
        return -(steep * torch.minimum(room, (radius - before).clamp(min=0))).sum(dim=1)
    low = torch.zeros(len(slopes), 1, dtype=slopes.dtype)
    high = slopes.norm(dim=1, keepdim=True) / radius + torch.finfo(slopes.dtype).tiny
    for _ in range(_HALVINGS_OF_BOUND):
        middle = (low + high) / 2
        far = torch.minimum(room, steep / middle).norm(dim=1, keepdim=True) > radius
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    move = torch.minimum(room, steep / high)
    change = -(steep * move).sum(dim=1) + high[:, 0] / 2 * (move.square().sum(dim=1) - radius**2)
    return torch.maximum(change, -(steep * room).sum(dim=1))


def nearest_below(slope: Tensor, value: float, x: Tensor, p: float) -> Tensor | None:
    """Return the nearest point of the box [0, 1] where a linear function is not positive.

    Args:
        slope: [d], of the function.
        value: Its value at x.
        x: [d].
        p: The norm of the distance: 1, 2 or inf.

    Returns:
        [d]; None where it is positive all over the box.
    """
    if value <= 0:
        return x
    room, steep = torch.where(slope > 0, x, 1 - x), slope.abs()
    if float(steep @ room) < value:
        return None
    if p == 1:
        order = steep.argsort(descending=True)
        gains = (steep * room)[order]
        left = (value - (gains.cumsum(0) - gains)).clamp(min=0)
        move = torch.zeros_like(x)
        move[order] = torch.minimum(room[order], left / steep[order].clamp(min=1e-300))
        return x - slope.sign() * move
    pace = torch.ones_like(x) if p == math.inf else steep
    low, high = 0.0, float((room / pace.clamp(min=1e-300))[steep > 0].max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        falls = float(steep @ torch.minimum(room, middle * pace)) >= value
        low, high = (low, middle) if falls else (middle, high)
    return x - slope.sign() * torch.minimum(room, high * pace)
