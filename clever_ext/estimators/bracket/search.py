"""How the two ends are found: walks along the boundary, far starts, and climbs.

1. A walk is a minimum-norm attack in the spirit of DDN (Rony et al., CVPR 2019, arXiv 1811.09600)
   and FMN (Pintor et al., NeurIPS 2021, arXiv 2102.12827), for any p. Until the first flip it goes
   down the margin, twice as far as the margin's slope says that the boundary is; from then on it
   stays in a ball that shrinks after each flip and grows else, by less and less.
2. Far starts find flips where gradients show no way near the image, as behind closed gates: from
   noise, a few large steps anywhere in the range of valid data end behind the boundary. A bisection
   on the segment to the image, by forward passes, brings such a flip near, and a walk goes on.
3. Climbs look for steep places in the ball of the present lower end, which shrinks as they are
   found. At x with gradient d, let v be the unit vector with v . d = ||d||_q. The difference of
   the gradients at x + h v and x is the derivative of ||d||_q at a scale of h; its running mean is
   the direction of the next step; h and the step shrink together.

docs/concepts/bracket.md has the proofs, docs/studies/bracket.md what was measured.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.balls import MAX_RADIUS
from ..at_points import each, remember
from .ends import Ends

#: Shares of the gradients that walk from the image, and from far starts; the rest climb.
_WALK_SHARE, _FAR_SHARE = 0.3, 0.3
#: Far starts of a row: one, and more where there are so many gradients for each.
_FAR_STARTS, _GRADIENTS_OF_FAR = 4, 30
#: Of a far start's looks, at most so many before its first flip.
_FAR_LOOKS = 8
#: Noise of the far starts, in widths of the valid data, and the size and sharpness of their steps.
_FAR_NOISE, _FAR_STEP, _FAR_SHARPNESS = (0.5, 1.0), 0.5, 3.0
#: Of walks, first and last: steps in distances, and growth of the ball; both fall geometrically.
_STEPS, _GROWTHS = (1.0, 0.1), (0.2, 0.01)
#: How much farther than to the foretold boundary a walk aims, until it has passed it.
_BEYOND = 2.0
#: Halvings of a segment from an image to a flip.
_HALVINGS = 8
#: Lanes of a climb: where each begins (a flip, or noise), and its first steps, in lower ends.
_CLIMB_STEPS = (0.5, 0.1, 0.05, 0.5)
_CLIMB_FROM_FLIP = (True, False, True, False)
_CLIMB_NOISE, _SHRINK = 0.2, 0.1


class _Schedule(NamedTuple):
    """Looks of a row's walk, of each of its far starts, how many of these, and of each climb."""

    walk: int
    far: int
    starts: int
    climb: int

    @classmethod
    def of(cls, max_gradients: int) -> _Schedule:
        """Share out the gradients; that at the image is spent already."""
        left = max_gradients - 1
        walk, far = int(_WALK_SHARE * left), int(_FAR_SHARE * left)
        starts = max(1, min(_FAR_STARTS, far // _GRADIENTS_OF_FAR))
        return cls(walk, far // starts, starts, (left - walk - far) // len(_CLIMB_STEPS))


def search(ends: Ends, max_gradients: int) -> None:
    """Spend gradients on both ends of all rows.

    Args:
        ends: Of rows whose images alone were looked at.
        max_gradients: Of each row, that at the image among them.
    """
    schedule = _Schedule.of(max_gradients)
    walk(ends, ends.row, ends.centers.clone(), schedule.walk)
    _from_far(ends, schedule)
    halve(ends, ends.row, ends.flip)
    climb(ends, schedule.climb)


def visit(ends: Ends, points: Tensor) -> None:
    """Look at points [rows, M, *shape] that others have found, brought into the valid range."""
    beyond = torch.full_like(ends.reach, MAX_RADIUS)
    for number in range(points.shape[1]):
        x = points[:, number].contiguous()
        ends.lanes(ends.row, ends.move(ends.row, x, beyond))


def walk(ends: Ends, row: Tensor, x: Tensor, looks: int, near: Tensor | None = None) -> None:
    """Walk to the boundary and along it.

    Args:
        ends: Take note of every point.
        row: [lanes], the row of each.
        x: [lanes, *shape], where they begin.
        looks: How many each makes.
        near: [lanes], distances of flips where they begin; None: at the images.
    """
    flipped_once = torch.zeros(len(row), dtype=torch.bool, device=ends.device)
    radius = best = torch.full((len(row),), math.inf, dtype=torch.float64, device=ends.device)
    reach = ends.reach[row]
    if near is not None:
        flipped_once, radius = ~flipped_once, near
    for look in range(looks):
        lanes = ends.lanes(row, x)
        if look + 1 == looks:
            break
        flips = lanes.margin <= 0
        done = look / (looks - 1)
        growth = _falling(_GROWTHS, done)
        best = torch.where(flips, torch.minimum(best, lanes.distance), best)
        ahead = (_BEYOND * lanes.margin / lanes.norm).nan_to_num(math.inf, math.inf)
        foretold = lanes.distance + ahead
        shrunk = torch.minimum(radius, lanes.distance) * (1 - growth)
        known = torch.where(flips, shrunk, torch.minimum(radius * (1 + growth), best))
        flipped_once = flipped_once | flips
        radius = torch.where(flipped_once, known, foretold).clamp(max=reach)
        step = radius * _falling(_STEPS, done)
        step = torch.where(flipped_once, step, torch.maximum(step, ahead.clamp(max=reach)))
        x = ends.move(row, x, radius, along=-step, directions=lanes.gradient)


def _falling(ends: tuple[float, float], done: float) -> float:
    """Return what falls geometrically from the one end to the other, at a share of the way."""
    return float(ends[0] * (ends[1] / ends[0]) ** done)


def _from_far(ends: Ends, schedule: _Schedule) -> None:
    """Walk from far flips; lanes that find none end."""
    row = ends.row.repeat_interleave(schedule.starts)
    lane = torch.arange(len(row), device=ends.device)
    width, looks = ends.widths[row], min(_FAR_LOOKS, schedule.far // 2)
    levels = torch.tensor(_FAR_NOISE, dtype=torch.float64, device=ends.device)
    noise = levels[lane % schedule.starts % len(levels)] * width
    everywhere = torch.full_like(width, MAX_RADIUS)
    x = ends.move(row, ends.centers, everywhere, noise=noise, sample=1, p=math.inf)
    found: list[tuple[Tensor, Tensor]] = []
    for look in range(looks):
        lanes = ends.lanes(row, x)
        flips = lanes.margin <= 0
        found.append((row[flips], lanes.x[flips]))
        going = (~flips).nonzero()[:, 0]
        if look + 1 == looks or len(going) == 0:
            break
        lanes, row, width = lanes.take(going), row[going], width[going]
        x = ends.move(
            row, lanes.x, everywhere[: len(row)], along=-_FAR_STEP * width,
            directions=lanes.gradient, sharp=_FAR_SHARPNESS, p=math.inf,
        )  # fmt: skip
    row, x = (torch.cat(parts) for parts in zip(*found, strict=True))
    if len(row):
        x, distance = halve(ends, row, x)
        walk(ends, row, x, schedule.far - looks, distance)


def halve(ends: Ends, row: Tensor, flips: Tensor) -> tuple[Tensor, Tensor]:
    """Bisect the segments from images to flips, by forward passes alone.

    Args:
        ends: Take note of every point.
        row: [lanes].
        flips: [lanes, *shape].

    Returns:
        The nearest flips on the segments, [lanes, *shape], and their distances, [lanes].
    """
    low = torch.zeros(len(row), dtype=torch.float64, device=ends.device)
    high = torch.ones_like(low)
    centers = ends.centers[row]

    def at(share: Tensor) -> Tensor:
        return torch.lerp(centers, flips, each(share.to(flips.dtype), flips))

    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        flipped = ends.margins(row, at(middle)) <= 0
        low, high = torch.where(flipped, low, middle), torch.where(flipped, middle, high)
    x = at(high)
    return x, ends.distances(row, x)


def climb(ends: Ends, looks: int) -> None:
    """Look for steep places within the balls of the lower ends."""
    n = len(_CLIMB_STEPS)
    row = ends.row.repeat_interleave(n)

    def of_lanes(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=ends.device).repeat(ends.n)

    def balls() -> Tensor:
        return torch.minimum(ends.lower, ends.reach).nan_to_num(0.0)[row]

    begin, from_flip = of_lanes(_CLIMB_STEPS), of_lanes(_CLIMB_FROM_FLIP) > 0
    x = ends.move(row, ends.centers, balls(), noise=_CLIMB_NOISE * balls(), sample=2)
    x = torch.where(each(from_flip, x), ends.move(row, ends.flip[row], balls()), x)
    lanes = ends.lanes(row, x)
    mean = torch.zeros_like(x)
    steps = (looks - 1) // 2
    for step in range(steps):
        sign = -1.0 if step % 2 else 1.0
        size = begin * _SHRINK ** (step / max(1, steps - 1)) * balls()
        probe = ends.move(row, lanes.x, balls(), along=sign * size, directions=lanes.gradient)
        remember(mean, ends.lanes(row, probe).gradient, lanes.gradient, sign)
        x = ends.move(row, lanes.x, balls(), along=size, directions=mean)
        lanes = ends.lanes(row, x)
