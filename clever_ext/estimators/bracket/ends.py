"""Both ends of some rows' brackets, and what each look tells of them.

For a point x at the distance r = ||x - x0||_p, with gradient d and margin g(x), let its slope be
max(||d||_q, |g(x0) - g(x)| / r). Then

    lower = min over points of max(r, g(x0) / slope),    upper = min over those with g(x) <= 0 of r.

Both are minima, so that neither the order of the looks nor who makes them matters. Proofs are in
docs/concepts/bracket.md.
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
from ..subjects import Rows, Subjects

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
        rows: Each (image, target) once, of one norm.
        norm_at_image: [rows], gradient norms at the images themselves.
        settings: Seed and clip.
        count: Called with the gradients of each look.

    Attributes:
        lower: [rows], and upper: the two ends so far.
        flip: [rows, *shape], the nearest point whose margin was not positive; the image where there
            is none.
        steepest: [rows, *shape], the point that decided the lower end, the image at first; None
            where witnesses are not kept.
        largest: [rows], the largest gradient norm.
        spent: [rows], gradients, that at the image among them.
        widths: [rows], how far away valid data may be in an element.
        reach: [rows], the same in the norm.
    """

    def __init__(
        self,
        subjects: Subjects,
        rows: Rows,
        norm_at_image: Floats,
        settings: Settings,
        count: Callable[[int], None],
    ) -> None:
        self.plan, self.settings, self.count = subjects.engine.plan, settings, count
        self.p = float(rows.norm[0])
        self.q = dual_exponent(self.p)
        images, self.classes, self.targets = subjects.tensors(rows.image, rows.target[:, None])
        self.centers, self.device = as_points(images, 1), images.device
        self.n = len(rows)
        self.row = torch.arange(self.n, device=self.device)
        self.ids = torch.from_numpy(subjects.batch.image_ids[rows.image]).to(self.device)
        self.margin = self._of_rows(subjects.margins(rows.image, rows.target))
        logits = subjects.logits[rows.image]
        self.rise = self._of_rows(SHORTEST_RISE * np.abs(logits).max(axis=1))
        self.largest = self._of_rows(norm_at_image).clone()  # the array is the caller's
        self.lower = self._bound(torch.zeros_like(self.margin), self.largest, self.margin)
        self.upper = torch.full_like(self.lower, math.inf)
        self.spent = torch.ones(self.n, dtype=torch.int64, device=self.device)
        self.flip = self.centers.clone()
        self.steepest = self.centers.clone() if settings.keep_witness else None
        self.curve = [self.lower.clone()]
        self.curve_spent = [self.spent.clone()]
        self.widths, self.reach = self._reaches()

    def _of_rows(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _reaches(self) -> tuple[Tensor, Tensor]:
        """Return how far valid data may be from the images: in an element, and in the norm.

        Without bounds of its own, data is taken to be within the image's range and as much again.
        """
        flat = self.centers.flatten(1).double()
        low, high = self.settings.clip
        least, most = torch.aminmax(flat, dim=1)
        if math.isfinite(low) and math.isfinite(high):
            widths = torch.maximum(most - low, high - least)
        else:
            widths = (most - least).clamp(min=1e-3)
        return widths, widths * flat.shape[1] ** (1 / self.p)

    @staticmethod
    def _bound(distance: Tensor, slope: Tensor, margin: Tensor) -> Tensor:
        """Return max(r, g(x0) / slope); a margin of 0 or less gives r."""
        ratio = torch.where(margin > 0, margin / slope, 0.0)
        return torch.maximum(distance, torch.where(slope.isnan(), slope, ratio))

    def lanes(self, row: Tensor, x: Tensor) -> Lanes:
        """Look at points [lanes, *shape] of some rows: both ends take note."""
        gradient = points_like(self.centers[0], len(row))
        margin = gradients_at(self.plan, x, self.classes[row], self.targets[row], gradient)
        norm = torch.zeros(1, len(row), dtype=torch.float64, device=self.device)
        ops.grad_norm_max(gradient[:, None], [self.q], norm)
        distance = self.distances(row, x)
        self._note(row, x, margin, distance, norm[0])
        self.largest.scatter_reduce_(0, row, norm[0], "amax")
        self.spent += torch.bincount(row, minlength=self.n)
        self.curve.append(self.lower.clone())
        self.curve_spent.append(self.spent.clone())
        self.count(len(row))
        return Lanes(row, x, gradient, margin, norm[0], distance)

    def curves(self) -> tuple[list[Floats], list[Floats]]:
        """Return for each row its lower ends, falling, and after how many gradients each was so."""
        ends = torch.stack(self.curve, dim=1).cpu().numpy()
        spent = torch.stack(self.curve_spent, dim=1).double().cpu().numpy()
        return list(ends), list(spent)

    def margins(self, row: Tensor, x: Tensor) -> Tensor:
        """Return the margins at points, by forward passes alone; both ends take note."""
        margin = margins_at(self.plan, x, self.classes[row], self.targets[row])
        self._note(row, x, margin, self.distances(row, x), torch.zeros_like(margin))
        return margin

    def distances(self, row: Tensor, x: Tensor) -> Tensor:
        """Return the distances [lanes] of points from their images."""
        distance = torch.empty(len(row), dtype=torch.float64, device=self.device)
        ops.lp_distances(x, self.centers, row, self.p, distance)
        return distance

    def _note(self, row: Tensor, x: Tensor, margin: Tensor, distance: Tensor, norm: Tensor) -> None:
        flipped = margin <= 0
        change = (self.margin[row] - margin).abs()
        counts = (distance > 0) & (flipped | (change > self.rise[row]))
        slope = torch.maximum(norm, torch.where(counts, change / distance, 0.0))
        bounds = self._bound(distance, slope, self.margin[row])
        self.lower = self._least(self.lower, row, bounds, x, self.steepest)
        flips = torch.where(flipped, distance, math.inf)
        self.upper = self._least(self.upper, row, flips, x, self.flip)

    def _least(
        self, ends: Tensor, row: Tensor, values: Tensor, x: Tensor, points: Tensor | None
    ) -> Tensor:
        """Return ends [rows] with the values [lanes] taken in; points go where an end falls."""
        least = ends.scatter_reduce(0, row, values, "amin")
        if points is not None:
            lane = torch.arange(len(row), device=self.device)
            first = self._first(row, torch.where(values == least[row], lane, len(row)))
            fallen = (least < ends).nonzero()[:, 0]
            points[fallen] = x[first[fallen]]
        return least

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
        sample: int | None = None,
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
            sample: Number of the noise, another one for each use; lanes of a row differ by theirs.
            p: Of moves and ball, where it is not the rows' own.
        """
        n, lane = len(row), torch.arange(len(row), device=self.device)
        out = points_like(self.centers[0], n)
        number = lane if sample is None else lane - self._first(row, lane)[row] + (sample << 8)
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

    def _first(self, row: Tensor, lane: Tensor) -> Tensor:
        """Return the smallest of the numbers [lanes] of each row; their count where it has none."""
        return torch.full_like(self.row, len(row)).scatter_reduce(0, row, lane, "amin")
