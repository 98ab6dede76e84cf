"""The ops in plain NumPy and PyTorch, in float64: what the kernels must agree with.

Signatures are those of `torch.ops.clever_ext`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def _signs(y: Tensor, p: float, share: float, seed: int, image_id: int, sample: int) -> Tensor:
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


def _sample(
    center: Tensor, p: float, radius: float, seed: int, image_id: int, sample: int
) -> Tensor:
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
        x = _sample(center, p, radius, seed, image_id, first + row)
        out[row] = x.clamp(low, high).to(out)


def _norms(rows: Tensor, q: float) -> Tensor:
    """q-norms of rows [n, d] in float64, scaled by the largest entry; NaN and inf are kept."""
    rows = rows.double().abs()
    largest = rows.amax(dim=1)
    usable = (largest > 0) & largest.isfinite()
    scale = torch.where(usable, largest, 1.0)[:, None]
    norms = largest if q == math.inf else torch.linalg.vector_norm(rows / scale, q, dim=1) * largest
    return torch.where(usable, norms, largest)


def grad_norm_max(
    grads: Tensor, q: Sequence[float], maxima: Tensor, slots: Tensor | None = None
) -> None:
    """Fold the q-norms of grads [G, B, *shape] into maxima [len(q), slots], slot g by default.

    The maxima start at 0 or above: CUDA compares them as the bits of such numbers.
    """
    groups, batch = grads.shape[:2]
    rows = grads.reshape(groups * batch, -1)
    if slots is None:
        slots = torch.arange(groups, device=grads.device)[:, None].expand(groups, batch)
    for n, exponent in enumerate(q):
        for slot, norm in zip(slots.flatten().tolist(), _norms(rows, exponent), strict=True):
            if slot >= 0:
                maxima[n, slot] = torch.maximum(maxima[n, slot], norm)


def reduce_and_resample(
    grads: Tensor | None,
    x: Tensor,
    maxima: Tensor,
    cursor: Tensor,
    slots: Tensor,
    centers: Tensor,
    jobs: Tensor,
    radii: Tensor,
    batch_samples: int,
    p: float,
    q: float,
    seed: int,
    low: float,
    high: float,
) -> None:
    """Fold the norms of grads at the points in x, then put the next samples into x.

    A job is one batch of samples: jobs [J, 4] holds (center, image id, batch, slot). Sample number
    c of the list is sample c % batch_samples of job c // batch_samples. cursor [B] is the number of
    the sample that each row gets next, slots [B] the slot of the one that it holds, or -1.
    """
    if grads is not None:
        grad_norm_max(grads[None], [q], maxima[None], slots[None])
    for row, number in enumerate(cursor.tolist()):
        job = number // batch_samples
        slots[row] = -1
        if job < len(jobs):
            center, image_id, batch, slot = jobs[job].tolist()
            sample = (batch << 32) + number % batch_samples
            point = _sample(centers[center], p, float(radii[job]), seed, image_id, sample)
            x[row] = point.clamp(low, high).to(x)
            slots[row] = slot
    cursor += len(x)


def _direction(g: Tensor, p: float, sharpness: float) -> Tensor:
    """sign(g) |g|^s over its p-norm; zeros where g is all zero or not finite."""
    g = g.double().cpu()
    largest = g.abs().max()
    if not 0 < largest < math.inf:
        return torch.zeros_like(g)
    u = g.sign() * (g.abs() / largest) ** sharpness
    return u / _norms(u.reshape(1, -1), p)[0]


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
    norm = float(_norms(v.reshape(1, -1), p)[0])
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
            y = y + noise * _signs(y, p, share, seed, image_id, sample)
        elif noise:
            y = _sample(y, p, noise, seed, image_id, sample)
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


def lp_distances(x: Tensor, centers: Tensor, index: Tensor, p: float, distances: Tensor) -> None:
    """Write the p-norms of x[b] - centers[index[b]] to distances [B]; index -1: left as it is."""
    for row, center in enumerate(index.tolist()):
        if center >= 0:
            offset = x[row].double() - centers[center].double()
            distances[row] = _norms(offset.reshape(1, -1), p)[0]


def bracket_ends(
    distance: Tensor,
    norm: Tensor,
    margin: Tensor,
    row: Tensor,
    margin_at_image: Tensor,
    rise: Tensor,
    lower: Tensor,
    upper: Tensor,
    nearest: Tensor,
    steepest: Tensor,
) -> None:
    """Fold looks at points into the two ends of brackets; name the looks that made them smaller.

    A look [looks] has a point's distance r from its image, the norm of the gradient there (0 where
    none was taken), its margin, and the row that it tells of; several looks may be of one point. A
    row [rows] has the margin at the image, and the rise by which the margin must have moved for a
    secant to count where it is still positive. With slope = max(norm, secant),

        lower = min(lower, max(r, margin_at_image / slope)),    upper = min(upper, r of flips).

    A NaN is the smallest of all. steepest and nearest [rows] become the numbers of the looks, the
    first ones of several, that gave a new lower and a new upper end; -1 where there is none, and
    where the end is NaN. Ends and distances are not negative: CUDA compares them as the bits of
    such numbers.
    """
    before = margin_at_image[row]
    flipped = margin <= 0
    change = (before - margin).abs()
    counts = (distance > 0) & (flipped | (change > rise[row]))
    slope = torch.maximum(norm, torch.where(counts, change / distance, 0.0))
    reached = torch.where(before > 0, before / slope, 0.0)
    lower_ends = torch.maximum(distance, torch.where(slope.isnan(), slope, reached))
    upper_ends = torch.where(flipped, distance, math.inf)
    for end, found, look in ((lower, lower_ends, steepest), (upper, upper_ends, nearest)):
        for number in range(len(end)):
            of_row = (row == number).nonzero()[:, 0]
            smallest = torch.cat([end[number : number + 1], found[of_row]]).amin()
            givers = of_row[found[of_row] == smallest]
            look[number] = givers[0] if smallest < end[number] else -1
            end[number] = smallest
