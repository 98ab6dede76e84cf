"""The steepest place of a ball, by search: a lower bound of the Lipschitz constant.

Every gradient's dual norm and every secant |g(x0) - g(x)| / ||x - x0||_p of a point in the ball
is at most L. So the largest that was seen, L', gives margin / L <= margin / L' <= the distance of
every point seen whose margin is not positive, for the secant to that point is among them.

A few particles for each row look for a steep place, all rows in step:

1. They scout: each keeps the steepest of uniform samples and of sparse moves from the image, in
   which a few elements, or many, change by one size. A ball in which all norms are equal ends here.
2. They jump: sparse moves of all sizes from what is steepest, kept where they are steeper still.
   That finds what a network gates by thresholds of single elements, as adversarial training makes
   them: no gradient shows it before the threshold is crossed. The last particle walks down the
   margin instead, to where it flips, and then returns.
3. They climb the norm. At x with gradient d let v be the unit vector with v . d = ||d||_q (blunter
   for p = 1, where it has one element alone). The difference of the gradients at x + h v and x is
   the derivative of ||d||_q at a scale of h: for a smooth network the Hessian times v, for a
   piecewise linear one, whose Hessian is 0, what neighbouring pieces add. Its running mean is the
   direction of the next step; h and the step shrink together. Nothing is accepted or rejected:
   what is steepest is remembered. Rows that have not gained halfway jump again, from there, if
   jumping had paid, and stop if not.

docs/studies/steepest-finds.md has what this finds beside uniform samples and attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ...inputs.settings import Settings
from ..in_step import rows_in_step
from ..subjects import Rows, Subjects
from .found import Floats, Places, Steepest
from .particles import BUFFERS, PARTICLES, Particles

#: Shares of the gradients that are spent scouting and jumping; the rest climb.
_SCOUT_SHARE, _JUMP_SHARE = 0.15, 0.2


class _Schedule(NamedTuple):
    """What the gradients of a row are spent on; a look is one gradient of each particle.

    Attributes:
        scouting: Looks.
        jumping: Looks.
        steps: Of the climb, of two looks each.
        half: Steps of its first half.
        jumping_again: Looks, of rows that do so instead of the second half.
    """

    scouting: int
    jumping: int
    steps: int
    half: int
    jumping_again: int

    @classmethod
    def of(cls, max_gradients: int) -> _Schedule:
        """Share them out; too few to climb go into jumps."""
        looks = (max_gradients - 1) // PARTICLES
        scouting, jumping = max(1, int(_SCOUT_SHARE * looks)), int(_JUMP_SHARE * looks)
        climbing = looks - scouting - jumping - 1  # which begins with a look
        steps = climbing // 2
        if steps == 0:
            return cls(scouting, looks - scouting, 0, 0, 0)
        half = (steps + 1) // 2
        return cls(scouting, jumping, steps, half, climbing - 2 * half)


def _searched(
    subjects: Subjects,
    rows: Rows,
    norm_at_image: Floats,
    settings: Settings,
    count: Callable[[int], None],
) -> Steepest:
    """Search for rows in step, stage after stage; rows that no longer gain stop."""
    points = None
    if settings.keep_witness:
        images, _, _ = subjects.tensors(rows.image, rows.target[:, None])
        points = images.flatten(1).double().cpu().numpy()
    found = Steepest.of_images(norm_at_image, points)
    schedule = _Schedule.of(settings.max_gradients)

    def run(
        stage: Callable[[Particles], Tensor],
        which: Places,
        earlier: tuple[Particles, Places] | None = None,
    ) -> tuple[Particles, Places]:
        """Take rows, a part of the earlier ones, through a stage; return those that gained."""
        before = found.take(which)
        particles = Particles(subjects, rows.take(which), before, settings, count, earlier)
        gained = stage(particles)
        found.put(which, particles.found())
        return particles, gained.nonzero()[:, 0].cpu().numpy()

    def scout(particles: Particles) -> Tensor:
        if subjects.batch.candidates is not None:
            particles.visit(subjects.candidates(rows.image))
        return particles.scout(schedule.scouting)

    def climb(first: int, last: int) -> Callable[[Particles], Tensor]:
        return lambda particles: particles.climb(first, last, schedule.steps)

    scouts, differing = run(scout, np.arange(len(rows)))
    if len(differing) == 0:
        return found
    jumpers, jumped = run(lambda them: them.jump(schedule.jumping), differing, (scouts, differing))
    if schedule.steps == 0:
        return found
    same = np.arange(len(differing))
    climbers, climbed = run(climb(0, schedule.half), differing, (jumpers, same))
    again = np.setdiff1d(jumped, climbed)
    if len(climbed):
        rest = climb(schedule.half, schedule.steps)
        run(rest, differing[climbed], (climbers, climbed))
    if len(again):
        longer = schedule.jumping_again
        run(lambda them: them.jump_again(longer), differing[again], (climbers, again))
    return found


def search(
    subjects: Subjects,
    rows: Rows,
    norm_at_image: Floats,
    settings: Settings,
    count: Callable[[int], None],
) -> Iterator[tuple[Places, Steepest]]:
    """Look for the steepest place in each row's ball.

    The engine must be ready and running.

    Args:
        subjects: The images.
        rows: Each (image, target, norm, radius) once.
        norm_at_image: [rows], gradient norms at the images themselves.
        settings: Budget, seed and clip.
        count: Called with the gradients of each look.

    Yields:
        Places of some rows, and what was found for them.
    """
    at_once = rows_in_step(subjects, BUFFERS * PARTICLES, PARTICLES)
    for begin in range(0, len(rows), at_once):
        norms = rows.norm[begin : begin + at_once]
        part = begin + np.argsort(norms, kind="stable")  # as particles want them
        yield part, _searched(subjects, rows.take(part), norm_at_image[part], settings, count)
