"""How the two ends are found: walks to the boundary and along it, far starts, and climbs.

1. An approach takes the margin as linear, and goes a share of the way to the point nearest to the
   image where that would vanish, within valid data: the projection of FAB (Croce and Hein, ICML
   2020, arXiv 1907.02044), for any p. Where the margin is close to linear it arrives in ten steps.
   That of l1 fills single pixels: where this does not arrive at once, that of l2 is taken.
2. Far starts find flips where gradients show no way near the image, as behind closed gates: from
   noise, a few large steps anywhere in the range of valid data end behind the boundary. A bisection
   on the segment to the image, by forward passes, brings such a flip near.
3. A walk goes on from a flip, or from the image where an approach has found none, in the spirit of
   DDN (Rony et al., CVPR 2019, arXiv 1811.09600) and FMN (Pintor et al., NeurIPS 2021, arXiv
   2102.12827): down the margin, in a ball that shrinks after each flip and grows else, by less and
   less. In l-inf its steps have momentum, as those of APGD (Croce and Hein, ICML 2020, arXiv
   2003.01690). In l1 they go along whole gradients, as in FMN: the ball makes them sparse.
4. Climbs look for steep places in the ball of the present lower end, which shrinks as they are
   found. At x with gradient d, let v be the unit vector with v . d = ||d||_q. The difference of
   the gradients at x + h v and x is the derivative of ||d||_q at a scale of h; its running mean is
   the direction of the next step; h and the step shrink together.

They come in rounds, each of which doubles what was spent before. A row stops where two rounds moved
neither end. docs/concepts/bracket.md has the proofs, docs/studies/bracket.md what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.balls import MAX_RADIUS
from ..at_points import each, remember
from .ends import Ends, Lanes

#: Gradients of the first round, and the fewest of another.
_FIRST_ROUND, FEWEST_GRADIENTS = 100, 16
#: A row stops when so many rounds in succession moved neither end by this share.
_STILL_ROUNDS, _STILL = 2, 0.01
#: Shares of a round that approach or walk, and that start far away; the rest climbs.
_WALK_SHARE, _FAR_SHARE = 0.2, 0.4
#: Of the first round's walk, what approaches the boundary.
_APPROACH_SHARE = 0.5
#: Far starts of a row in one round: one for so many gradients, and so many at most.
_GRADIENTS_OF_FAR, _FAR_STARTS = 40, 8
#: Of a far start's looks, at most so many before its first flip, and the fewest of all. With fewer
#: there is none, as there is no climb of fewer than one step: the walk has these gradients.
_FAR_LOOKS, _FEWEST_FAR_LOOKS, _FEWEST_CLIMB_LOOKS = 8, 16, 3
#: Noise of the far starts, in widths of the valid data, and the size and sharpness of their steps.
_FAR_NOISE, _FAR_STEP, _FAR_SHARPNESS = (0.5, 1.0), 0.5, 3.0
#: Of approaches: how far beyond the foretold boundary they aim at first, in margins; by which part
#: of what is left of the margin they adjust that; and first and last, by how much at least, and
#: which share of the way they go. These fall geometrically, as do the next two.
_BEYOND, _OF_MARGIN, _LEAST, _SHARES = 0.1, 0.5, (0.1, 0.005), (0.7, 0.3)
#: Of approaches in l1: looks that try l1's own steps, enough to pass a linear boundary, and how far
#: a flip may then be, in distances of the foretold one, for these to go on.
_TRIED, _STRAIGHT = 4, 1.5
#: How much farther than to the foretold boundary a walk from an image aims, until it has passed it.
_AHEAD = 2.0
#: Of walks: steps in distances, and growth of the ball, which in l1 has a long way to go.
_STEPS, _GROWTHS, _GROWTHS_OF_L1 = (1.0, 0.1), (0.2, 0.01), (0.5, 0.01)
#: What a walk in l-inf keeps of its past directions.
_MOMENTUM = 0.75
#: Looks along a segment from an image to a flip, and where the first one is after walks, which end
#: close to the boundary.
_HALVINGS, _NEAR_FLIP = 8, 0.97
#: Lanes of a climb: where each begins (a flip, or noise), and its first steps, in lower ends.
_CLIMB_STEPS = (0.5, 0.1, 0.05, 0.5)
_CLIMB_FROM_FLIP = (True, False, True, False)
_CLIMB_NOISE, _SHRINK = 0.2, 0.1
#: Numbers of what noise is for: climbs, and the tries of far starts from the next one on.
_CLIMBS, _FAR_NOISES = 1, 2


class _Schedule(NamedTuple):
    """Looks of a row's walk, of each of its far starts, how many of these, and of each climb."""

    walk: int
    far: int
    starts: int
    climb: int

    @classmethod
    def of(cls, gradients: int) -> _Schedule:
        """Share out the gradients of a round; what does not divide walks."""
        lanes, all_far = len(_CLIMB_STEPS), int(_FAR_SHARE * gradients)
        starts = max(1, min(_FAR_STARTS, all_far // _GRADIENTS_OF_FAR))
        far = all_far // starts
        if far < _FEWEST_FAR_LOOKS:
            far = 0
        climb = int((1 - _WALK_SHARE - _FAR_SHARE) * gradients) // lanes
        climb -= 1 - climb % 2  # a look, and two for each step
        if climb < _FEWEST_CLIMB_LOOKS:
            climb = 0
        return cls(gradients - far * starts - climb * lanes, far, starts, climb)


def rounds(spent: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield what rounds bring rows from and to, in gradients, until most are spent."""
    end = _FIRST_ROUND
    while spent < most:
        while end < spent + FEWEST_GRADIENTS:
            end *= 2
        stop = end if end + FEWEST_GRADIENTS <= most else most
        yield spent, stop
        spent = stop


def search(ends: Ends, spent: int, most: int) -> None:
    """Spend gradients on both ends of all rows.

    Args:
        ends: Of rows whose images alone were looked at, or of an earlier search.
        spent: Gradients of each row so far, that at the image among them.
        most: That it may have spent afterwards.
    """
    going, still = ends.row[ends.margin.isfinite()], torch.zeros_like(ends.row)
    for begin, end in rounds(spent, most):
        if len(going) == 0:
            break
        before = ends.lower[going], ends.upper[going]
        _round(ends, going, _Schedule.of(end - begin), begin)
        after = ends.lower[going], ends.upper[going]
        moved = torch.full_like(going, end < 2 * begin, dtype=torch.bool)  # too short to tell
        for was, now in zip(before, after, strict=True):
            moved |= now < was * (1 - _STILL)
        still[going] = torch.where(moved | (begin == 1), 0, still[going] + 1)
        going = going[still[going] < _STILL_ROUNDS]


def _round(ends: Ends, row: Tensor, schedule: _Schedule, begin: int) -> None:
    """Make one round; what it draws is numbered by the gradients before it."""
    left = schedule.walk
    if begin == 1:
        looks = math.ceil(_APPROACH_SHARE * left)
        _approaches(ends, row, looks)
        left -= looks
    has_flip = ends.has_flip[row]
    near, far = row[has_flip], row[~has_flip]
    walk(ends, near, ends.flip[near], left, ends.upper[near])
    walk(ends, far, ends.centers[far], left)
    _from_far(ends, row, schedule, begin)
    _halve_flips(ends, row)
    climb(ends, row, schedule.climb, begin)


def visit(ends: Ends, points: Tensor) -> None:
    """Look at points [rows, M, *shape] that others have found, brought into the valid range."""
    beyond = torch.full_like(ends.reach, MAX_RADIUS)
    for number in range(points.shape[1]):
        x = points[:, number].contiguous()
        ends.lanes(ends.row, ends.move(ends.row, x, beyond))


def _approaches(ends: Ends, row: Tensor, looks: int) -> None:
    """Approach the boundary from the images, by so many looks.

    In l1 the point where a linear margin vanishes has a few pixels at the end of their range. A row
    that such steps do not bring there at once is far from linear so far: it goes in l2.
    """
    x = ends.centers[row]
    beyond = torch.full((len(row),), 1 + _BEYOND, dtype=torch.float64, device=ends.device)
    if ends.p > 1 or looks < 2 * _TRIED:
        _approach(ends, row, x, beyond, looks, ends.p)
        return
    x, beyond = _approach(ends, row, x, beyond, looks, 1.0, stop=1)
    foretold = ends.distances(row, x) / _SHARES[0]
    x, beyond = _approach(ends, row, x, beyond, looks, 1.0, start=1, stop=_TRIED)
    there = ends.upper[row] <= _STRAIGHT * foretold
    on, other = there.nonzero()[:, 0], (~there).nonzero()[:, 0]
    _approach(ends, row[on], x[on], beyond[on], looks, 1.0, start=_TRIED)
    afresh = torch.full_like(beyond[other], 1 + _BEYOND)
    _approach(ends, row[other], ends.centers[row[other]], afresh, looks - _TRIED, 2.0)


def _approach(
    ends: Ends, row: Tensor, x: Tensor, beyond: Tensor, looks: int, p: float, *,
    start: int = 0, stop: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Go to the boundary.

    Args:
        ends: Take note of every point.
        row: [lanes], the row of each.
        x: [lanes, *shape], where they are.
        beyond: [lanes], by how many margins they aim to fall; changed.
        looks: Of a whole approach.
        p: In which the points that are aimed at are nearest.
        start: The first of these looks that is made.
        stop: The first that is not; None: all are.

    Returns:
        Where they are to look next, and `beyond`.
    """
    for look in range(looks)[start:stop]:
        lanes = ends.lanes(row, x)
        if look + 1 == looks:
            break
        done = look / (looks - 1)
        if look:
            size = (_OF_MARGIN * lanes.margin.abs() / ends.margin[row]).clamp(
                min=_falling(_LEAST, done)
            )
            beyond += torch.where(lanes.margin > 0, size, -size)
        x = ends.toward_boundary(lanes, beyond, _falling(_SHARES, done), p)
    return x, beyond


def walk(ends: Ends, row: Tensor, x: Tensor, looks: int, near: Tensor | None = None) -> None:
    """Walk along the boundary, after a way down the margin where it does not begin there.

    Args:
        ends: Take note of every point.
        row: [lanes], the row of each.
        x: [lanes, *shape], where they begin.
        looks: How many each makes.
        near: [lanes], distances of flips where they begin; None: at the images.
    """
    at_boundary = torch.full_like(row, near is not None, dtype=torch.bool)
    radius = best = torch.full_like(ends.margin[row], math.inf) if near is None else near
    # Without clip the reach is a guess: flips beyond it are not to be lost.
    reach = ends.reach[row] if near is None else torch.maximum(ends.reach[row], near)
    mean = torch.zeros_like(x) if ends.p == math.inf else None
    growths = _GROWTHS_OF_L1 if ends.p == 1 else _GROWTHS
    for look in range(looks):
        lanes = ends.lanes(row, x)
        if look + 1 == looks:
            break
        done = look / (looks - 1)
        growth, flips = _falling(growths, done), lanes.margin <= 0
        at_boundary = at_boundary | flips
        best = torch.where(flips, torch.minimum(best, lanes.distance), best)
        shrunk = torch.minimum(radius, lanes.distance) * (1 - growth)
        known = torch.where(flips, shrunk, torch.minimum(radius * (1 + growth), best))
        ahead = (_AHEAD * lanes.margin / lanes.norm).nan_to_num(math.inf, math.inf)
        radius = torch.where(at_boundary, known, lanes.distance + ahead).clamp(max=reach)
        part, gradient = _falling(_STEPS, done), ends.free(lanes)
        if ends.p == 1:
            step = part * _whole_steps(ends, lanes, gradient)
            x = ends.move(row, x, radius, along=-step, directions=gradient, sharp=1.0)
            continue
        step = part * radius
        step = torch.where(at_boundary, step, torch.maximum(step, ahead.clamp(max=reach)))
        directions = _smoothed(mean, gradient, lanes.norm)
        x = ends.move(row, x, radius, along=-step, directions=directions)


def _whole_steps(ends: Ends, lanes: Lanes, gradient: Tensor) -> Tensor:
    """Return l1 lengths [lanes] of steps along gradients, as long in l2 as the way to this point.

    Of the image itself, twice as long as to the foretold boundary. Projected onto an l1 ball such a
    step moves the pixels that matter most, by little each, so that the margin stays near linear.
    """
    l1, l2 = ends.norms(gradient, (1.0, 2.0))
    far = ends.distances(lanes.row, lanes.x, 2.0)
    far = torch.where(far > 0, far, _AHEAD * lanes.margin / l2)
    length: Tensor = far * l1 / l2
    return length.nan_to_num(0.0, 0.0, 0.0)


def _smoothed(mean: Tensor | None, gradient: Tensor, norm: Tensor) -> Tensor:
    """Return the directions of a walk: the running mean of gradients at unit length, if it has one.

    In l-inf a step goes by signs alone, and those of single pieces of a network lead to and fro.
    """
    if mean is None:
        return gradient
    scale = torch.where(norm > 0, 1 / norm, 0.0)
    return mean.mul_(_MOMENTUM).addcmul_(gradient, each(scale.to(gradient.dtype), gradient))


def _falling(ends: tuple[float, float], done: float) -> float:
    """Return what falls geometrically from the one end to the other, at a share of the way."""
    return float(ends[0] * (ends[1] / ends[0]) ** done)


def _from_far(ends: Ends, of: Tensor, schedule: _Schedule, begin: int) -> None:
    """Walk from far flips; where a row has none at all yet, its lanes try from other noise."""
    row, left, tries = of.repeat_interleave(schedule.starts), schedule.far, 0
    while len(row) and left > 1:
        looks = min(_FAR_LOOKS, left // 2)
        left -= looks
        found, x = _far_flips(ends, row, looks, begin, tries)
        if len(found):
            x, distance = halve(ends, found, x)
            walk(ends, found, x, left, distance)
        without = ~ends.has_flip
        without[found] = False  # it may be farther than one that is known by its distance alone
        row, tries = row[without[row]], tries + 1


def _far_flips(
    ends: Ends, row: Tensor, looks: int, begin: int, tries: int
) -> tuple[Tensor, Tensor]:
    """Go from noise to flips by large steps; return the rows and points of the lanes that do."""
    number = ends.numbers(row) + tries
    levels = torch.tensor(_FAR_NOISE, dtype=torch.float64, device=ends.device)
    width = ends.widths[row]
    everywhere = torch.full_like(width, MAX_RADIUS)
    noise = levels[number % len(levels)] * width
    draw = begin, _FAR_NOISES + tries
    x = ends.move(row, ends.centers, everywhere, noise=noise, sample=draw, p=math.inf)
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
    rows, points = zip(*found, strict=True)
    return torch.cat(rows), torch.cat(points)


def _halve_flips(ends: Ends, row: Tensor) -> None:
    """Bring the nearest flips nearer still, where there are some."""
    row = row[ends.has_flip[row]]
    if len(row):
        halve(ends, row, ends.flip[row], _NEAR_FLIP)


def halve(ends: Ends, row: Tensor, flips: Tensor, first: float = 0.5) -> tuple[Tensor, Tensor]:
    """Bisect the segments from images to flips, by forward passes alone.

    Args:
        ends: Take note of every point.
        row: [lanes].
        flips: [lanes, *shape].
        first: Share of the segment that is looked at first.

    Returns:
        The nearest flips on the segments, [lanes, *shape], and their distances, [lanes].
    """
    low = torch.zeros(len(row), dtype=torch.float64, device=ends.device)
    high = torch.ones_like(low)
    centers = ends.centers[row]

    def at(share: Tensor) -> Tensor:
        return torch.lerp(centers, flips, each(share.to(flips.dtype), flips))

    middle = torch.full_like(low, first)
    for _ in range(_HALVINGS):
        flipped = ends.margins(row, at(middle)) <= 0
        low, high = torch.where(flipped, low, middle), torch.where(flipped, middle, high)
        middle = (low + high) / 2
    x = at(high)
    return x, ends.distances(row, x)


def climb(ends: Ends, of: Tensor, looks: int, begin: int) -> None:
    """Look for steep places within the balls of the lower ends."""
    if looks == 0:
        return
    row = of.repeat_interleave(len(_CLIMB_STEPS))

    def of_lanes(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=ends.device).repeat(len(of))

    def balls() -> Tensor:
        return torch.minimum(ends.lower, ends.reach).nan_to_num(0.0)[row]

    first, from_flip = of_lanes(_CLIMB_STEPS), of_lanes(_CLIMB_FROM_FLIP) > 0
    noise = _CLIMB_NOISE * balls()
    x = ends.move(row, ends.centers, balls(), noise=noise, sample=(begin, _CLIMBS))
    x = torch.where(each(from_flip, x), ends.move(row, ends.flip[row], balls()), x)
    lanes = ends.lanes(row, x)
    mean = torch.zeros_like(x)
    steps = (looks - 1) // 2
    for step in range(steps):
        sign = -1.0 if step % 2 else 1.0
        size = first * _SHRINK ** (step / max(1, steps - 1)) * balls()
        probe = ends.move(row, lanes.x, balls(), along=sign * size, directions=lanes.gradient)
        remember(mean, ends.lanes(row, probe).gradient, lanes.gradient, sign)
        x = ends.move(row, lanes.x, balls(), along=size, directions=mean)
        lanes = ends.lanes(row, x)
