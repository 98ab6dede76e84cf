"""What is to be scored: the images, what the model makes of them, and the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engine.at_points import in_batches, norms_at
from ..engine.engine import Engine
from ..engine.plan import Plan
from ..inputs.batch import Batch, check_labels
from ..inputs.targets import resolve_targets
from ..kernels.balls import as_layout

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Width of the values of an image that is all of one colour, where nothing is known of the others.
_LEAST_WIDTH = 1e-3
#: Ways across the range of values that a margin would last for where gradients vanish.
_ACROSS = 3


def all_logits(engine: Engine, batch: Batch) -> Floats:
    """Return the logits [N, K] at the images, by the model as it was given."""
    parts: dict[int, Tensor] = {}

    def work(part: slice) -> None:
        # A copy, since the model may write the next ones to the same place.
        parts[part.start] = engine.own.oracle.logits(batch.images[part]).clone()

    in_batches(engine.own, len(batch.images), work)
    return torch.cat(list(parts.values())).double().cpu().numpy()


@dataclass(frozen=True)
class Rows:
    """Rows of a table to come, [rows] each.

    Attributes:
        image: Place of the image in the batch.
        target: Class number.
        norm: p.
        radius: R.
    """

    image: Ints
    target: Ints
    norm: Floats
    radius: Floats

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Any) -> Rows:
        """Return some of the rows, by an index."""
        return Rows(*(getattr(self, f.name)[which] for f in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """Join rows."""
        names = [f.name for f in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Held(NamedTuple):
    """What the rows have from an earlier run.

    Attributes:
        maxima: Of each row, of its first batches.
        nearest_flip: [rows], seen among them.
        radius: [rows], of their balls.
        pilots: [rows], gradients that were spent to find these.
        capped: [rows], whether the radius is their score.
    """

    maxima: list[Floats]
    nearest_flip: Floats
    radius: Floats
    pilots: Ints
    capped: npt.NDArray[np.bool_]

    def take(self, part: slice) -> Held:
        """Return some of the rows."""
        return Held(
            self.maxima[part],
            self.nearest_flip[part],
            self.radius[part],
            self.pilots[part],
            self.capped[part],
        )


class HeldEnds(NamedTuple):
    """What brackets have from an earlier run; all are of the rows of the images that are scored.

    Attributes:
        lower: [rows], and upper: their ends.
        at_image: [rows], the gradient norms at the images.
        largest: [rows], the largest of all.
        flips: The nearest flip of each row, flattened; nothing where it is not kept.
        steepest: The same of the points that decided the lower ends.
        spent: [rows], gradients, those of screening among them.
        curves: Of each row, the lower ends, falling, and after how many gradients each was so.
        budget: Gradients that each row had.
    """

    lower: Floats
    upper: Floats
    at_image: Floats
    largest: Floats
    flips: list[Floats]
    steepest: list[Floats]
    spent: Ints
    curves: tuple[list[Floats], list[Floats]]
    budget: int


@dataclass(frozen=True)
class Screened:
    """What the gradients told by which an image's targets were chosen.

    Attributes:
        norms: Of each p the gradient norms of the targets at the images, [N, T]; NaN where an image
            is not scored.
        left_out_by: Of each p, [N], the smallest first-order distance of a class that was left out,
            over the smallest of the targets.
        gradients_left_out: [N], gradients of classes that were looked at and left out.
    """

    norms: dict[float, Floats]
    left_out_by: dict[float, Floats]
    gradients_left_out: Ints


class Subjects:
    """The images of one call, with predictions, targets and margins.

    Args:
        engine: Makes the passes.
        batch: Checked images.
        targets: As `clever_score` takes them.
        seed: For random targets.
        held: What the rows of the images that are scored have already; None: nothing.
        logits: [N, K] at the images, where they are known.

    Raises:
        CleverError: labels or targets do not fit the model's classes.

    Attributes:
        predicted: [N] classes.
        scored: Places of the images that are to be scored.
        skipped: Places of the others: misclassified, or without a target that can be reached.
        targets: [N, T] class numbers.
        screened: How they were chosen, where it was by gradients.
        logits: [N, K].
        correct: [N], False for misclassified images.
        reachable: [N, T], False where the target is the predicted class, or one that a logit of
            -inf rules out.
    """

    def __init__(
        self,
        engine: Engine,
        batch: Batch,
        targets: Any,
        seed: int,
        held: Held | HeldEnds | None = None,
        logits: Floats | None = None,
    ) -> None:
        self.engine, self.batch = engine, batch
        self.held = held if isinstance(held, Held) else None
        self.held_ends = held if isinstance(held, HeldEnds) else None
        self.logits = all_logits(engine, batch) if logits is None else logits
        check_labels(batch.labels, self.logits.shape[1])
        self.predicted = np.argmax(self.logits, axis=1).astype(np.int64)
        self.correct = np.ones(len(self.logits), dtype=bool)
        if batch.labels is not None:
            self.correct = self.predicted == batch.labels
        self.take_targets(resolve_targets(targets, self.logits, seed, batch.image_ids))

    def take_targets(self, targets: Ints, screened: Screened | None = None) -> None:
        """Take classes [N, T] for the targets."""
        self.targets, self.screened = targets, screened
        ruled_out = np.isneginf(np.take_along_axis(self.logits, targets, axis=1))
        self.reachable = (targets != self.predicted[:, None]) & ~ruled_out
        scored = self.correct & self.reachable.any(axis=1)
        self.scored, self.skipped = np.flatnonzero(scored), np.flatnonzero(~scored)

    @cached_property
    def n_targets(self) -> int:
        """Targets of each image."""
        return int(self.targets.shape[1])

    @property
    def left_out(self) -> Ints:
        """How many classes [N] of each image can be reached and are no targets."""
        left = ~np.isneginf(self.logits)
        left[np.arange(len(left)), self.predicted] = False
        np.put_along_axis(left, self.targets, False, axis=1)
        counts: Ints = left.sum(axis=1)
        return counts

    def by_margin(self, image: Ints) -> tuple[Ints, Floats]:
        """Return all classes but the predicted one, [I, K - 1], and their margins, ascending.

        What is no number comes first.
        """
        own = np.arange(self.logits.shape[1]) == self.predicted[image, None]
        with np.errstate(invalid="ignore"):  # logits that are infinite
            margins = np.take_along_axis(self.logits, self.predicted[:, None], 1)[image]
            margins = margins - self.logits[image]
        key = np.where(np.isnan(margins), -np.inf, margins)
        order = np.lexsort((key, own), axis=1)[:, :-1]
        return order, np.take_along_axis(margins, order, axis=1)

    def margins(self, image: Ints, target: Ints) -> Floats:
        """Return margins at the images, [rows], by places of images and class numbers.

        Where there is nothing to reach, the margin of an image that is right is infinite.
        """
        with np.errstate(invalid="ignore"):  # logits that are infinite
            margins: Floats = self.logits[image, self.predicted[image]] - self.logits[image, target]
        own = (target == self.predicted[image]) & self.correct[image] & ~np.isnan(margins)
        return np.where(own, np.inf, margins)

    @cached_property
    def _extremes(self) -> tuple[Floats, Floats]:
        """The least and the largest value of each image, [N]."""
        least, most = torch.aminmax(self.batch.images.flatten(1), dim=1)
        return least.double().cpu().numpy(), most.double().cpu().numpy()

    def vanishing(self, rows: Rows, max_norm: Floats) -> npt.NDArray[np.bool_]:
        """Tell where gradients, [rows], are far too small to explain that there are other classes.

        At the steepest that was seen, the margin would last for several times the way, in the
        row's norm, from one end of the images' values to the other. Trained networks are far from
        that, whatever the radius: docs/concepts/method.md.
        """
        least, most = (each[rows.image] for each in self._extremes)
        length = np.maximum(most, 0) - np.minimum(least, 0)
        across = length * self.batch.images[0].numel() ** (1 / rows.norm)
        margin = self.margins(rows.image, rows.target)
        far: npt.NDArray[np.bool_] = margin > _ACROSS * across * max_norm
        return far

    def widths(self, image: Ints, clip: tuple[float, float]) -> Floats:
        """Return how far valid data may be from images in an element, [rows].

        Without a range of its own, data is taken to be within the image's and as much again.
        """
        least, most = (each[image] for each in self._extremes)
        low, high = clip
        if np.isfinite(clip).all():
            return np.maximum(most - low, high - least)
        return np.maximum(most - least, _LEAST_WIDTH)

    def reach(self, image: Ints, norm: Any, clip: tuple[float, float]) -> Floats:
        """Return how far valid data may be from images in a norm, or in that of each, [rows]."""
        reach: Floats = self.widths(image, clip) * self.batch.images[0].numel() ** (1 / norm)
        return reach

    def rows(self, balls: list[tuple[float, float]], of: npt.NDArray[np.intp]) -> Rows:
        """Return a row for each of some images, each of its targets and each (norm, radius)."""
        n_balls = len(balls)
        image = np.repeat(of.astype(np.int64), self.n_targets * n_balls)
        target = np.repeat(self.targets[of].ravel(), n_balls)
        norm, radius = np.tile(np.array(balls, dtype=np.float64).T, len(of) * self.n_targets)
        return Rows(image, target, norm, radius)

    def tensors(self, image: Ints, targets: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """Return images [I, *shape] as the passes want them, classes [I] and targets [I, T]."""
        images, classes, of_images = self._as_given(image, targets)
        return as_layout(images, self.engine.memory_format), classes, of_images

    def _as_given(self, image: Ints, targets: Ints) -> tuple[Tensor, Tensor, Tensor]:
        device = self.batch.images.device
        images = self.batch.images[torch.from_numpy(image).to(device)]
        classes = torch.from_numpy(self.predicted[image]).to(device)
        return images, classes, torch.from_numpy(targets).to(device)

    def candidates(self, image: Ints) -> Tensor:
        """Return the points [I, M, *shape] that a search shall look at too."""
        points = self.batch.candidates
        assert points is not None
        return points[torch.from_numpy(image).to(points.device)]

    def at_image(self, balls: list[tuple[float, float]], of: npt.NDArray[np.intp]) -> Floats:
        """Return the gradient norms at images, [rows], of what `rows` gives for the same."""
        return self.of_targets(of, [p for p, _ in balls]).transpose(1, 2, 0).ravel()

    def of_targets(self, image: npt.NDArray[np.intp], norms: list[float]) -> Floats:
        """Return the gradient norms of the targets of images there, [len(norms), I, T]."""
        if self.screened is not None:
            return np.stack([self.screened.norms[p][image] for p in norms])
        return self.norms_at(image, self.targets[image], norms)

    def norms_at(self, image: Ints, targets: Ints, norms: list[float]) -> Floats:
        """Return the gradient norms at images themselves, [len(norms), I, T]."""
        return self.norms_by(self.engine.own, image, targets, norms)

    def norms_by(self, plan: Plan, image: Ints, targets: Ints, norms: list[float]) -> Floats:
        """Return the same by passes that are made as a plan says."""
        tensors = self._as_given if plan is self.engine.own else self.tensors
        return norms_at(plan, *tensors(image, targets), norms)
