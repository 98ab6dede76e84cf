"""Moves of points within balls and to boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .draws import Floats, draw_sample, draw_signs
from .folds import norms


def _direction(g: Tensor, p: float, sharpness: float) -> Tensor:
    """sign(g) |g|^s over its p-norm; zeros where g is all zero or not finite."""
    g = g.double().cpu()
    largest = g.abs().max()
    if not 0 < largest < math.inf:
        return torch.zeros_like(g)
    u = g.sign() * (g.abs() / largest) ** sharpness
    return u / norms(u.reshape(1, -1), p)[0]


def _halve(low: Floats, high: Floats, is_low: Callable[[Floats], npt.NDArray[np.bool_]]) -> Floats:
    """Where is_low changes from true to false, between low and high."""
    for _ in range(50):
        middle = (low + high) / 2
        below = is_low(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def project(v: Tensor, p: float, radius: float) -> Tensor:
    """Euclidean projection of the offset v onto the p-ball of this radius around zero, float64."""
    v = v.double().cpu()
    norm = float(norms(v.reshape(1, -1), p)[0])
    if not norm > radius:
        return v
    if radius == 0:
        return torch.zeros_like(v)
    if p == 2:
        return v * (radius / norm)
    if p == math.inf:
        return v.clamp(-radius, radius)
    a = v.abs().numpy() / radius
    if p == 1:  # a soft threshold, at which the sum of what is left is 1
        sizes = np.sort(a.ravel())[::-1]
        thresholds = (np.cumsum(sizes) - 1) / np.arange(1, len(sizes) + 1)
        s = np.maximum(a - thresholds[sizes > thresholds][-1], 0)
    else:  # s + m s^(p-1) = a (Karush, Kuhn, Tucker), the multiplier m such that |s|_p = 1

        def solve(m: Floats) -> Floats:
            return _halve(np.zeros_like(a), a, lambda s: s + m * s ** (p - 1) < a)

        high = np.asarray(np.linalg.norm(a.ravel(), p / (p - 1)))
        m = _halve(np.zeros(()), high, lambda m: np.asarray(np.sum(solve(m) ** p) > 1))
        s = solve(m)
    return v.sign() * torch.from_numpy(s * radius)


def move_in_lp_ball(
    out: Tensor,
    bases: Tensor,
    directions: Tensor | None,
    centers: Tensor,
    rows: Tensor,
    scales: Tensor,
    p: float,
    sharpness: float,
    seed: int,
    low: float,
    high: float,
) -> None:
    """Move points along directions and by noise, and back into the p-ball around their centers.

    rows [B, 5] holds (base, direction, center, image id, sample), scales [B, 4] (along, noise,
    radius, share). Row r of out becomes clip(projection of base + along * u + noise * t), in the
    Euclidean sense, onto the ball of that radius. u is sign(g) |g|^sharpness of the gradient g,
    with p-norm 1. Where share is 0, t is that sample of the unit ball which `sample_lp_ball` draws;
    else each of its elements is there with that probability, with either sign, and all are of the
    size that gives t a p-norm of 1 if just that share of them is there. Direction -1: no u; base
    -1: the row is left as it is. out must not share memory with the other tensors.
    """
    for row, (base, direction, center, image_id, sample) in enumerate(rows.tolist()):
        if base == -1:
            continue
        along, noise, radius, share = scales[row].tolist()
        y = bases[base].double().cpu()
        if direction >= 0:
            assert directions is not None
            y = y + along * _direction(directions[direction], p, sharpness)
        if noise and share:
            y = y + noise * draw_signs(y, p, share, seed, image_id, sample)
        elif noise:
            y = draw_sample(y, p, noise, seed, image_id, sample)
        middle = centers[center].double().cpu()
        out[row] = (middle + project(y - middle, p, radius)).clamp(low, high).to(out)


def _fill(weight: Floats, speed: Floats, room: Floats, fall: float) -> Floats:
    """min(room, lambda speed), which weigh `fall`; all of the room where that weighs less."""
    stop, rate = room / speed, weight * speed
    order = np.argsort(stop)[: np.isfinite(stop).sum()]
    rest = rate[~np.isfinite(stop)].sum()
    filled = np.concatenate([[0.0], np.cumsum((weight * room)[order])])
    left = np.concatenate([np.cumsum(rate[order][::-1])[::-1], [0.0]]) + rest
    passed = int(np.sum(filled[1:] + stop[order] * left[1:] < fall))
    size = (fall - filled[passed]) / left[passed] if left[passed] > 0 else math.inf
    way: Floats = np.minimum(room, size * speed)
    return way


def shortest_way(g: Floats, room: Floats, p: float, fall: float) -> Floats:
    """The d of least p-norm with d <= room and |g| . d = fall; where there is none, all the room.

    All of g are other than 0. For p = 1 they are filled in the order of |g|; those of the last |g|
    go equally far.
    """
    largest = np.abs(g).max()
    weight: Floats = np.abs(g) / largest
    fall /= largest
    if fall <= 0:
        return np.zeros_like(weight)
    if p > 1:
        return _fill(weight, weight ** (1 / (p - 1)), room, fall)
    way = np.zeros_like(weight)
    for level in np.unique(weight)[::-1]:
        on = weight == level
        way[on] = _fill(weight[on], np.ones(on.sum()), room[on], fall)
        fall -= weight[on] @ way[on]
        if fall <= 0 or (way[on] < room[on]).any():
            break
    return way


def step_to_boundary(
    out: Tensor,
    points: Tensor,
    gradients: Tensor,
    centers: Tensor,
    index: Tensor,
    scales: Tensor,
    p: float,
    low: float,
    high: float,
) -> None:
    """Step towards the points nearest to centers at which margins, taken as linear, vanish.

    scales [B, 3] holds (margin, beyond, share). Lane b of out becomes clip(x + share * (z - x)) of
    the point x and the gradient g of its margin there. z = center + d is, in the p-norm, the point
    nearest to centers[index[b]] in the box from low to high with g . d = -fall, where fall = beyond
    * (margin - g . (x - center)): with beyond = 1 just where margin + g . (z - x) = 0. Where fall
    is not positive, d is 0; where the box has no such point, all that have a gradient go as far as
    it reaches. An element outside the box does not go on outwards. Index -1: the lane is left as it
    is; without a gradient, or if it or the fall is not finite, out is x. out must not share memory
    with the other tensors.
    """
    for lane, center in enumerate(index.tolist()):
        if center == -1:
            continue
        margin, beyond, share = scales[lane].tolist()
        x, g, middle = (t.double().cpu() for t in (points[lane], gradients[lane], centers[center]))
        fall = beyond * (margin - (g * (x - middle)).sum().item())
        d, there = torch.zeros_like(g), g != 0
        if not (math.isfinite(fall) and there.any() and g.isfinite().all()):
            out[lane] = points[lane]
            continue
        room = torch.where(g > 0, middle - low, high - middle).clamp(min=0)
        way = shortest_way(g[there].numpy(), room[there].numpy(), p, fall)
        d[there] = -g[there].sign() * torch.from_numpy(way)
        moved = middle + d if share == 1 else x + share * (middle + d - x)
        out[lane] = moved.clamp(low, high).to(out)
