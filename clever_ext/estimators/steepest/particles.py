"""Particles that look for a steep place of a ball.

Some particles for each row, all rows in step: a *lane* is one particle of one row. Each look takes
the gradient at every lane's point, on kernels that move and project all those of a norm at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...inputs.settings import Settings
from ...kernels import ops
from ...kernels.balls import as_points, dual_exponent, points_like
from ..at_points import SHORTEST_RISE, each, gradients_at, remember, sharpness
from ..subjects import Rows, Subjects
from .found import Floats, Places, Steepest

#: Particles of a row: all but the last jump, that one walks.
PARTICLES = 4
#: Buffers of points that the lanes have.
BUFFERS = 6
#: Growth of L' below which it has not grown.
_WORTHWHILE = 1e-3
#: Sizes of jumps, in radii, reach down to 10 to the power of -these.
_DECADES = 1.5
#: Multiples of an irrational number, modulo 1, are spread evenly, and so are pairs of them: these
#: choose how many elements a sparse move changes, and its size, by the number of its sample.
_SPREAD_COUNT, _SPREAD_SIZE = (5**0.5 - 1) / 2, 2**0.5 - 1
#: In radii: where walks begin, and their steps.
_WALK_FROM, _WALK_STEP = 0.1, 0.3
#: Of each particle, in radii: the first distance of its probes and steps; the last is a tenth.
_FIRST, _SHRINK = (0.5, 0.1, 0.05, 0.5), 0.1


class _OfNorm(NamedTuple):
    """The lanes of one norm: p, its dual exponent q, the exponent of directions, and which."""

    p: float
    q: float
    sharpness: float
    lanes: slice


def _by_norm(norms: Floats) -> list[_OfNorm]:
    """Find the lanes of each norm, of rows in rising order of theirs."""
    values, first = np.unique(norms, return_index=True)
    parts = []
    for p, begin, end in zip(values.tolist(), first, [*first[1:], len(norms)], strict=True):
        q, lanes = dual_exponent(p), slice(PARTICLES * int(begin), PARTICLES * int(end))
        parts.append(_OfNorm(p, q, sharpness(p), lanes))
    return parts


class Particles:
    """The particles of some rows; lane i * PARTICLES + j is particle j of row i.

    Rows of one norm must be neighbours, the smallest norm first. Each stage (scout, jump, climb,
    jump_again) takes a number of looks and tells which rows gained.

    Attributes:
        best: [rows], L' so far; largest: the largest norm; flip: the nearest flip.
        x: [lanes, *shape], where the particles are; gradient: the gradients there.
        steepest: [lanes], the largest norm that a particle went to; top: where, since it climbs.
    """

    def __init__(
        self,
        subjects: Subjects,
        rows: Rows,
        before: Steepest,
        settings: Settings,
        count: Callable[[int], None],
        earlier: tuple[Particles, Places] | None = None,
    ) -> None:
        """Place particles; where some rows of others are, given those, or nowhere yet."""
        self.before, self.settings, self.count = before, settings, count
        self.plan, self.norms = subjects.engine.plan, _by_norm(rows.norm)
        images, classes, targets = subjects.tensors(rows.image, rows.target[:, None])
        self.centers, self.device = as_points(images, 1), images.device
        self.classes = classes.repeat_interleave(PARTICLES)
        self.targets = targets.repeat_interleave(PARTICLES, dim=0)
        self.row = torch.arange(len(rows), device=self.device).repeat_interleave(PARTICLES)
        lane = torch.arange(len(self.row), device=self.device)
        ids = torch.from_numpy(subjects.batch.image_ids[rows.image]).to(self.device)[self.row]
        # base, direction, center, image id, sample: see move_in_lp_ball
        self.moves = torch.stack([lane, lane, self.row, ids, lane], dim=1)
        self.radius = torch.from_numpy(rows.radius).to(self.device)[self.row]
        logits = subjects.logits[rows.image]
        self.rise = self._of_rows(SHORTEST_RISE * np.abs(logits).max(axis=1))
        self.margin = self._of_rows(subjects.margins(rows.image, rows.target))
        self.best, self.largest = self._of_rows(before.lipschitz), self._of_rows(before.max_norm)
        self.smallest = self.largest
        self.flip = self._of_rows(before.nearest_flip)
        self.curve = [self.best]
        self.witness = points_like(self.centers[0], len(rows)) if settings.keep_witness else None
        self.moved = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        self.distance = torch.empty(len(lane), dtype=torch.float64, device=self.device)
        self.particle = lane % PARTICLES
        self.walking = self.particle == PARTICLES - 1
        if earlier is None:
            self.draws, self.steepest = 0, torch.full_like(self.distance, -1.0)
            self._allocate()
        else:
            self._go_on(*earlier)

    def _allocate(self) -> None:
        self.x, self.other, self.gradient, self.at_other, self.mean, self.top = (
            points_like(self.centers[0], len(self.row)) for _ in range(BUFFERS)
        )

    def _go_on(self, earlier: Particles, rows: Places) -> None:
        lanes = torch.from_numpy(rows).to(self.device)[:, None] * PARTICLES
        which = (lanes + torch.arange(PARTICLES, device=self.device)).flatten()
        self.steepest, self.draws = earlier.steepest[which], earlier.draws
        if len(which) == len(earlier.row):  # the same buffers serve
            for name in ("x", "other", "gradient", "at_other", "mean", "top"):
                setattr(self, name, getattr(earlier, name))
            return
        self._allocate()
        for name in ("x", "gradient", "mean", "top"):
            torch.index_select(getattr(earlier, name), 0, which, out=getattr(self, name))

    def _of_rows(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def move(
        self,
        out: Tensor,
        bases: Tensor,
        along: float | Tensor = 0.0,
        directions: Tensor | None = None,
        noise: float | Tensor = 0.0,
        share: float | Tensor = 0.0,
    ) -> None:
        """Write bases + along * unit directions + noise to out, within the balls; in radii.

        Noise is uniform, or sparse where a share of the elements is given.
        """
        scales = torch.empty(len(self.row), 4, dtype=torch.float64, device=self.device)
        scales[:, 0], scales[:, 1], scales[:, 2] = along, noise, 1.0
        scales *= self.radius[:, None]
        scales[:, 3] = share
        moves = self.moves.clone()
        if directions is None:
            moves[:, 1] = -1
        if bases is self.centers:
            moves[:, 0] = self.row
        for p, _, sharp, part in self.norms:
            ops.move_in_lp_ball(
                out[part], bases, directions, self.centers, moves[part], scales[part], p,
                sharp, self.settings.seed, *self.settings.clip,
            )  # fmt: skip

    def look(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Write the gradients at points, note what is steepest, and return their norms [lanes]."""
        norms = torch.zeros(1, len(x), dtype=torch.float64, device=self.device)
        margins = gradients_at(self.plan, x, self.classes, self.targets, gradient)[:, 0]
        for p, q, _, part in self.norms:
            ops.grad_norm_max(gradient[part, None], [q], norms[:, part])
            ops.lp_distances(x[part], self.centers, self.row[part], p, self.distance[part])
        self._note(x, norms[0], margins)
        self.count(len(x))
        return norms[0]

    def _note(self, x: Tensor, norms: Tensor, margins: Tensor) -> None:
        change = (self.margin[self.row] - margins).abs()
        flipped = margins <= 0
        counts = (self.distance > 0) & (flipped | (change > self.rise[self.row]))
        secants = torch.where(counts, change / self.distance, 0.0)
        steep = torch.maximum(norms, secants).view(-1, PARTICLES)
        flips = torch.where(flipped, self.distance, math.inf).view(-1, PARTICLES)
        found, lane = steep.max(dim=1)
        if self.witness is not None:
            better = (found > self.best).nonzero()[:, 0]
            self.witness[better] = x[better * PARTICLES + lane[better]]
            self.moved[better] = True
        self.best = torch.maximum(self.best, found)
        self.largest = torch.maximum(self.largest, norms.view(-1, PARTICLES).amax(dim=1))
        self.smallest = torch.minimum(self.smallest, norms.view(-1, PARTICLES).amin(dim=1))
        self.flip = torch.minimum(self.flip, flips.amin(dim=1))
        self.curve.append(self.best)

    def next_samples(self) -> tuple[Tensor, Tensor]:
        """Go on to samples that are new; return shares of elements, and sizes, that go with them.

        Counts of elements and sizes are evenly spread in their logarithms.
        """
        self.moves[:, 4] = self.draws * PARTICLES + self.particle
        self.draws += 1
        number, numel = self.moves[:, 4].double(), self.x[0].numel()
        share = ((2 / numel) ** (number * _SPREAD_COUNT % 1)).clamp(max=1.0)
        return share, 10 ** (-_DECADES * (number * _SPREAD_SIZE % 1))

    def keep(self, always: Tensor | None = None) -> None:
        """Look at the other points, and go there where they are steeper, or always; NaN is."""
        norms = self.look(self.other, self.at_other)
        goes = ~(norms <= self.steepest)
        if always is not None:
            goes |= always
        self.steepest = torch.where(goes, norms, self.steepest)
        chosen = each(goes, self.x)
        torch.where(chosen, self.other, self.x, out=self.x)
        torch.where(chosen, self.at_other, self.gradient, out=self.gradient)

    def gained(self) -> Tensor:
        """Tell for which rows L' has grown in these lanes."""
        return self.best > self.curve[0] * (1 + _WORTHWHILE)

    def to_images(self, which: Tensor) -> None:
        """Put some particles at the images."""
        self.x[which] = self.centers[self.row[which]]

    def scout(self, looks: int) -> Tensor:
        """Put particles at the steepest of uniform and sparse samples; tell where norms differ."""
        for look in range(looks):
            share, _ = self.next_samples()
            self.move(self.other, self.centers, noise=1.0, share=share if look % 2 else 0.0)
            self.keep()
        return self.best > self.smallest * (1 + _WORTHWHILE)

    def jump(self, looks: int) -> Tensor:
        """Move particles sparsely where that is steeper, and one of each row down the margin."""
        walking = self.walking
        self.to_images(walking)
        for look in range(looks):
            share, size = self.next_samples()
            step = -_WALK_STEP * (1 - look / looks) if look else 0.0
            self.move(
                self.other, self.x, torch.where(walking, step, 0.0), self.gradient,
                noise=torch.where(walking, 0.0 if look else _WALK_FROM, size),
                share=torch.where(walking, 0.0, share),
            )  # fmt: skip
            self.keep(always=walking)
        return self.gained()

    def jump_again(self, looks: int) -> Tensor:
        """Move all particles sparsely from where the climb was steepest."""
        self.x.copy_(self.top)
        for _ in range(looks):
            share, size = self.next_samples()
            self.move(self.other, self.x, noise=size, share=share)
            self.keep()
        return self.gained()

    def visit(self, points: Tensor) -> None:
        """Look at points [rows, M, *shape], a few at a time; what is outside comes into the ball.

        Where M is no multiple of the particles the last ones are looked at again.
        """
        last = points.shape[1] - 1
        for first in range(0, points.shape[1], PARTICLES):
            which = [min(first + particle, last) for particle in range(PARTICLES)]
            self.other.copy_(points[:, which].flatten(0, 1))
            self.move(self.x, self.other)
            self.look(self.x, self.gradient)

    def climb(self, first: int, last: int, steps: int) -> Tensor:
        """Take all particles up the gradient norm, by steps first..last-1 of all, of two looks.

        Before the first of all is another look, for those that walked begin at the images.
        """
        begin = self._of_rows(np.tile(_FIRST, len(self.row) // PARTICLES))
        if first == 0:
            self.mean.zero_()
            self.to_images(self.walking)
            self.steepest = self.look(self.x, self.gradient)
            self.top.copy_(self.x)
        for step in range(first, last):
            sign = -1.0 if step % 2 else 1.0
            size = begin * _SHRINK ** (step / max(1, steps - 1))
            self.move(self.other, self.x, along=sign * size, directions=self.gradient)
            self.look(self.other, self.at_other)
            remember(self.mean, self.at_other, self.gradient, sign)
            self.move(self.other, self.x, along=size, directions=self.mean)
            self.x, self.other = self.other, self.x
            norms = self.look(self.x, self.gradient)
            steeper = norms > self.steepest
            self.steepest = torch.where(steeper, norms, self.steepest)
            torch.where(each(steeper, self.x), self.x, self.top, out=self.top)
        return self.gained()

    def found(self) -> Steepest:
        """Return what is known now, on the host."""
        before = self.before
        curves = torch.stack(self.curve, dim=1)[:, 1:].cpu().numpy()
        spent = PARTICLES * np.arange(1, len(self.curve))
        witness = before.witness
        if self.witness is not None:
            points = self.witness.flatten(1).double().cpu().numpy()
            moved = self.moved.cpu().numpy()
            witness = [p if m else w for p, m, w in zip(points, moved, witness, strict=True)]
        return Steepest(
            self.best.cpu().numpy(),
            self.largest.cpu().numpy(),
            self.flip.cpu().numpy(),
            before.n_gradients + len(spent) * PARTICLES,
            [np.append(a, b) for a, b in zip(before.curve, curves, strict=True)],
            [np.append(a, a[-1] + spent) for a in before.curve_gradients],
            witness,
        )
