"""Norms and distances, and what is folded from them: maxima, nearest flips, ends of brackets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def norms(rows: Tensor, q: float) -> Tensor:
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
        for slot, norm in zip(slots.flatten().tolist(), norms(rows, exponent), strict=True):
            if slot >= 0:
                maxima[n, slot] = torch.maximum(maxima[n, slot], norm)


def lp_distances(x: Tensor, centers: Tensor, index: Tensor, p: float, distances: Tensor) -> None:
    """Write the p-norms of x[b] - centers[index[b]] to distances [B]; index -1: left as it is."""
    for row, center in enumerate(index.tolist()):
        if center >= 0:
            offset = x[row].double() - centers[center].double()
            distances[row] = norms(offset.reshape(1, -1), p)[0]


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


def note_flips(
    margins: Tensor,
    x: Tensor,
    slots: Tensor,
    centers: Tensor,
    row_image: Tensor,
    p: float,
    nearest_flip: Tensor,
) -> None:
    """Fold the distances of rows whose margins are not positive into nearest_flip [T, I].

    x is [B, *shape], margins [B, T]; row b is of the image row_image[b], and the distance is the
    p-norm of x[b] - centers[row_image[b]]. Rows of a negative slot hold no sample. A margin of NaN
    is no flip; a distance of NaN is the smallest of all. Distances are not negative: CUDA compares
    them as the bits of such numbers.
    """
    for row, slot in enumerate(slots.tolist()):
        flipped = (margins[row] <= 0).nonzero()[:, 0]
        if slot < 0 or len(flipped) == 0:
            continue
        image = int(row_image[row])
        offset = x[row].double() - centers[image].double()
        distance = norms(offset.reshape(1, -1), p)[0]
        nearest_flip[flipped, image] = torch.minimum(nearest_flip[flipped, image], distance)
