"""Both ends of some rows' brackets, and what each look tells of them.

For a point x at the distance r = ||x - x0||_p, with gradient d and margin g(x), let its slope be
max(||d||_q, |g(x0) - g(x)| / r). Then

    lower = min over points of max(r, g(x0) / slope),    upper = min over those with g(x) <= 0 of r.

Both are minima, so that neither the order of the looks nor who makes them matters. Proofs are in
docs/concepts/bracket.md. A look makes the gradient of one row's margin and knows the margins of all
targets: the other rows of the image take note of secants and flips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...inputs.settings import Settings
from ...kernels import ops
from ...kernels.balls import as_points, dual_exponent, points_like
from ..at_points import SHORTEST_RISE, gradients_at, margins_at, sharpness
from ..subjects import HeldEnds, Rows, Subjects

Floats = npt.NDArray[np.float64]


@dataclass
class Lanes:
    """Points of rows, one a lane, and what a look told of them.

    Attributes:
        row: [lanes], the row that each belongs to.
        x: [lanes, *shape].
        gradient: [lanes, *shape].
        margin: [lanes].
        norm: [lanes], of the gradients.
        distance: [lanes], from the image.
    """

    row: Tensor
    x: Tensor
    gradient: Tensor
    margin: Tensor
    norm: Tensor
    distance: Tensor

    def take(self, which: Tensor) -> Lanes:
        """Return some of the lanes."""
        return Lanes(
            self.row[which], self.x[which], self.gradient[which],
            self.margin[which], self.norm[which], self.distance[which],
        )  # fmt: skip


class Ends:
    """The brackets of rows of one norm, of which all are worked on in step.

    Args:
        subjects: The images; their engine is running.
        rows: Each (image, target) once, of one norm; those of an image stand together.
        n_targets: How many these are.
        norm_at_image: [rows], gradient norms at the images themselves.
        settings: Seed and clip.
        count: Called with the gradients of each look.

    Attributes:
        lower: [rows], and upper: the two ends so far.
        flip: [rows, *shape], the nearest point whose margin was not positive.
        steepest: [rows, *shape], the point that decided the lower end; None where witnesses are not
            kept.
        has_flip: [rows], and has_steepest: whether these points are known; else they are the image.
        largest: [rows], the largest gradient norm.
        spent: [rows], gradients, that at the image among them.
        widths: [rows], how far away valid data may be in an element.
        reach: [rows], the same in the norm.
    """

    def __init__(
        self,
        subjects: Subjects,
        rows: Rows,
        n_targets: int,
        norm_at_image: Floats,
        settings: Settings,
        count: Callable[[int], None],
    ) -> None:
        self.plan, self.settings, self.count = subjects.engine.plan, settings, count
        self.p = float(rows.norm[0])
        self.q = dual_exponent(self.p)
        images, self.classes, targets = subjects.tensors(rows.image, rows.target[:, None])
        self.centers, self.device = as_points(images, 1), images.device
        self.n = len(rows)
        self.row = torch.arange(self.n, device=self.device)
        self.related = _related(self.row, n_targets)
        self.targets = targets[:, 0][self.related]
        self.ids = torch.from_numpy(subjects.batch.image_ids[rows.image]).to(self.device)
        self.margin = self._of_rows(subjects.margins(rows.image, rows.target))
        logits = subjects.logits[rows.image]
        self.rise = self._of_rows(SHORTEST_RISE * np.abs(logits).max(axis=1))
        self.largest = self._of_rows(norm_at_image).clone()  # the array is the caller's
        self.lower = torch.full_like(self.margin, math.inf)
        self.upper = self.lower.clone()
        self.spent = torch.ones(self.n, dtype=torch.int64, device=self.device)
        self.flip = self.centers.clone()
        self.steepest = self.centers.clone() if settings.keep_witness else None
        self.has_flip = torch.zeros(self.n, dtype=torch.bool, device=self.device)
        self.has_steepest = ~self.has_flip
        here = torch.zeros_like(self.margin)
        no_flip = self.margin.new_full(self.targets.shape, math.inf)
        self._note(self.row, self.centers, no_flip, here, self.largest)
        self.earlier: list[tuple[Floats, Floats]] | None = None
        self.curve = [self.lower.clone()]
        self.curve_spent = [self.spent.clone()]
        self.widths = self._of_rows(subjects.widths(rows.image, settings.clip))
        self.reach = self._of_rows(subjects.reach(rows.image, self.p, settings.clip))

    def _of_rows(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def lanes(self, row: Tensor, x: Tensor) -> Lanes:
        """Look at points [lanes, *shape] of some rows: both ends take note."""
        gradient = points_like(self.centers[0], len(row))
        margin = gradients_at(self.plan, x, self.classes[row], self.targets[row], gradient)
        (norm,) = self.norms(gradient, (self.q,))
        distance = self.distances(row, x)
        # Beyond the lower end no slope counts, and so none that is no number either.
        norm.masked_fill_(norm.isnan() & (distance >= self.lower[row]), 0.0)
        self._note(row, x, margin, distance, norm)
        self.largest.scatter_reduce_(0, row, norm, "amax")
        self.spent += torch.bincount(row, minlength=self.n)
        self.curve.append(self.lower.clone())
        self.curve_spent.append(self.spent.clone())
        self.count(len(row))
        return Lanes(row, x, gradient, margin[:, 0], norm, distance)

    def take_up(self, held: HeldEnds, places: list[int]) -> None:
        """Go on from what an earlier run has found.

        Args:
            held: Of all rows.
            places: [rows], of these rows among them.
        """
        self.lower.copy_(self._of_rows(held.lower[places]))
        self.upper.copy_(self._of_rows(held.upper[places]))
        self.largest.copy_(self._of_rows(held.largest[places]))
        self.spent.copy_(torch.from_numpy(held.spent[places]))
        for row, place in enumerate(places):
            for points, known, kept in (
                (self.flip, self.has_flip, held.flips[place]),
                (self.steepest, self.has_steepest, held.steepest[place]),
            ):
                if points is not None:
                    known[row] = len(kept) > 0
                    if len(kept):
                        points[row] = torch.from_numpy(kept).view_as(points[row]).to(points)
        self.earlier = [(held.curves[0][place], held.curves[1][place]) for place in places]
        self.curve, self.curve_spent = [], []

    def curves(self) -> tuple[list[Floats], list[Floats]]:
        """Return for each row its lower ends, falling, and after how many gradients each was so."""
        ends, spent = np.empty((self.n, 0)), np.empty((self.n, 0))
        if self.curve:
            # Forward passes after the last gradient may have lowered the ends.
            ends = torch.stack([*self.curve[:-1], self.lower], dim=1).cpu().numpy()
            spent = torch.stack(self.curve_spent, dim=1).double().cpu().numpy()
        if self.earlier is None:
            return list(ends), list(spent)
        return (
            [np.append(own[0], more) for own, more in zip(self.earlier, ends, strict=True)],
            [np.append(own[1], more) for own, more in zip(self.earlier, spent, strict=True)],
        )

    def learn(self, other: Ends) -> None:
        """Take note of the nearest flips of the same rows in another norm."""
        row = other.has_flip.nonzero()[:, 0]
        if len(row):
            self.margins(row, other.flip[row])

    def margins(self, row: Tensor, x: Tensor) -> Tensor:
        """Return the margins at points, by forward passes alone; both ends take note."""
        margin = margins_at(self.plan, x, self.classes[row], self.targets[row])
        self._note(row, x, margin, self.distances(row, x), torch.zeros_like(margin[:, 0]))
        return margin[:, 0]

    def distances(self, row: Tensor, x: Tensor, p: float | None = None) -> Tensor:
        """Return the distances [lanes] of points from their images; `p`: not in the rows' norm."""
        distance = torch.empty(len(row), dtype=torch.float64, device=self.device)
        ops.lp_distances(x, self.centers, row, p or self.p, distance)
        return distance

    def norms(self, gradient: Tensor, of: tuple[float, ...]) -> Tensor:
        """Return norms [len(of), lanes] of gradients [lanes, *shape]."""
        norms = torch.zeros(len(of), len(gradient), dtype=torch.float64, device=self.device)
        ops.grad_norm_max(gradient[:, None], list(of), norms)
        return norms

    def _note(self, row: Tensor, x: Tensor, margin: Tensor, distance: Tensor, norm: Tensor) -> None:
        """Let all rows of the images take note of points.

        Args:
            row: [lanes].
            x: [lanes, *shape].
            margin: [lanes, T], of the row's own target and the image's others.
            distance: [lanes].
            norm: [lanes], of the own margin's gradient; 0 where there is none.
        """
        n_targets = margin.shape[1]
        norms = torch.zeros_like(margin)
        norms[:, 0] = norm
        nearest, steepest = torch.empty_like(self.row), torch.empty_like(self.row)
        ops.bracket_ends(
            distance.repeat_interleave(n_targets), norms.flatten(), margin.flatten(),
            self.related[row].flatten(), self.margin, self.rise,
            self.lower, self.upper, nearest, steepest,
        )  # fmt: skip
        for points, known, look in (
            (self.flip, self.has_flip, nearest),
            (self.steepest, self.has_steepest, steepest),
        ):
            if points is not None:
                changed = (look >= 0).nonzero()[:, 0]
                points[changed], known[changed] = x[look[changed] // n_targets], True

    def move(
        self,
        row: Tensor,
        bases: Tensor,
        radius: Tensor,
        *,
        along: float | Tensor = 0.0,
        directions: Tensor | None = None,
        sharp: float | None = None,
        noise: float | Tensor = 0.0,
        sample: tuple[int, int] | None = None,
        p: float | None = None,
    ) -> Tensor:
        """Return bases + along * unit directions + noise, within radius [lanes] of the images.

        Args:
            row: [lanes].
            bases: [lanes, *shape], or the images where there are none of these.
            radius: [lanes].
            along: [lanes], in the norm.
            directions: [lanes, *shape] gradients; the unit vector is that of steepest ascent.
            sharp: Exponent of the directions, where it is not that of p.
            noise: [lanes], the radius of uniform noise.
            sample: Numbers of round and use that the noise has; lanes of a row differ by theirs.
            p: Of moves and ball, where it is not the rows' own.
        """
        n, lane = len(row), torch.arange(len(row), device=self.device)
        out = points_like(self.centers[0], n)
        number = lane
        if sample is not None:
            of_round, use = sample
            number = self.numbers(row) + (use << 8) + (of_round << 16)
        moves = torch.stack([lane, lane, row, self.ids[row], number], dim=1)
        if bases is self.centers:
            moves[:, 0] = row
        if directions is None:
            moves[:, 1] = -1
        scales = torch.zeros(n, 4, dtype=torch.float64, device=self.device)
        scales[:, 0], scales[:, 1], scales[:, 2] = along, noise, radius
        p = self.p if p is None else p
        ops.move_in_lp_ball(
            out, bases, directions, self.centers, moves, scales, p, sharp or sharpness(p),
            self.settings.seed, *self.settings.clip,
        )  # fmt: skip
        return out

    def toward_boundary(self, lanes: Lanes, beyond: Tensor, share: float, p: float) -> Tensor:
        """Return points a share of the way to where linear margins vanish, nearest to the images.

        Args:
            lanes: Where the margins and their gradients are known.
            beyond: [lanes], by how many margins they shall fall: more than 1 to pass the boundary.
            share: Of the way.
            p: In which these are nearest.
        """
        x = points_like(self.centers[0], len(lanes.row))
        scales = torch.stack([lanes.margin, beyond, torch.full_like(beyond, share)], dim=1)
        ops.step_to_boundary(
            x, lanes.x, lanes.gradient, self.centers, lanes.row, scales, p, *self.settings.clip
        )
        return x

    def free(self, lanes: Lanes) -> Tensor:
        """Return the gradients, 0 where the end of valid data is in the way down; overwritten."""
        low, high = self.settings.clip
        x, gradient = lanes.x, lanes.gradient
        stuck = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        return gradient.masked_fill_(stuck, 0.0)

    def numbers(self, row: Tensor) -> Tensor:
        """Number the lanes [lanes] of each row, from 0."""
        lane = torch.arange(len(row), device=self.device)
        first = torch.full_like(self.row, len(row)).scatter_reduce(0, row, lane, "amin")
        return lane - first[row]


def _related(row: Tensor, n_targets: int) -> Tensor:
    """Return for each of the rows [rows] itself and the others of its image, [rows, n_targets]."""
    first = row - row % n_targets
    place = torch.arange(n_targets, device=row.device)
    return first[:, None] + (row[:, None] + place) % n_targets
