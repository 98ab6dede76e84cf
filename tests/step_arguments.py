"""Arguments of the ops around the model, as the tests give them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from op_arguments import INF, WritesLast, laid_out, random
from torch import Tensor


@dataclass
class Assigned(WritesLast):
    """The arguments of assign_targets, in order."""

    OP, WRITTEN = "assign_targets", 3

    slots: Tensor
    center_of_slot: Tensor
    classes: Tensor
    targets: Tensor
    row_image: Tensor
    row_classes: Tensor
    row_targets: Tensor


def assigned(rows: int, n_targets: int, images: int = 4, n_slots: int = 11, seed: int = 0):
    """Rows of slots of images; one in four holds no sample."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    slots = numbers(0, n_slots, rows)
    slots[::4] = numbers(-3, 0, len(slots[::4]))
    return Assigned(
        slots=slots,
        center_of_slot=numbers(0, images, n_slots),
        classes=numbers(0, 1000, images),
        targets=numbers(0, 1000, images, n_targets),
        row_image=torch.full((rows,), 77),
        row_classes=torch.full((rows,), 77),
        row_targets=torch.full((rows, n_targets), 77),
    )


@dataclass
class Seeds(WritesLast):
    """The arguments of margin_seeds, in order."""

    OP, WRITTEN = "margin_seeds", 2

    logits: Tensor
    classes: Tensor
    targets: Tensor
    margins: Tensor
    seeds: Tensor


def seeds(rows: int, n_logits: int, n_seeds: int, others: int = 0, dtype=torch.float32) -> Seeds:
    """Logits, and targets of which one in five is the class itself."""
    generator = torch.Generator().manual_seed(rows + n_logits)
    classes = torch.randint(0, n_logits, (rows,), generator=generator)
    shape = rows, n_seeds + others
    targets = torch.randint(0, n_logits, shape, generator=generator)
    same = torch.rand(shape, generator=generator) < 0.2
    return Seeds(
        logits=10 * random((rows, n_logits), dtype),
        classes=classes,
        targets=torch.where(same, classes[:, None], targets),
        margins=torch.full(shape, 7.0, dtype=dtype),
        seeds=torch.full((n_seeds, rows, n_logits), 7.0, dtype=dtype),
    )


@dataclass
class Flips(WritesLast):
    """The arguments of note_flips, in order."""

    OP, WRITTEN = "note_flips", 1

    margins: Tensor
    x: Tensor
    slots: Tensor
    centers: Tensor
    row_image: Tensor
    p: float
    nearest_flip: Tensor


def flips(
    rows: int = 9,
    shape=(3, 5, 7),
    n_targets: int = 3,
    p: float = 2.0,
    dtype=torch.float32,
    layout: str = "contiguous",
    margins_dtype=torch.float32,
    images: int = 3,
    seed: int = 0,
) -> Flips:
    """Points near images; half of the margins are not positive, one row in four holds no sample."""
    generator = torch.Generator().manual_seed(seed)
    slots = torch.randint(0, 5, (rows,), generator=generator)
    slots[2::4] = -1
    some = torch.rand((n_targets, images), generator=generator, dtype=torch.float64)
    near = 2 * float(sum(size > 1 for size in shape)) ** 0.5
    margins = random((rows, n_targets), margins_dtype, seed=seed + 3)
    margins[1::3] = margins[1::3].abs() + 0.5
    return Flips(
        margins=margins,
        x=laid_out(random((rows, *shape), dtype, seed=seed + 1), layout),
        slots=slots,
        centers=laid_out(random((images, *shape), dtype, seed=seed + 2), layout),
        row_image=torch.randint(0, images, (rows,), generator=generator),
        p=p,
        nearest_flip=torch.where(some < 0.6, INF, near * some),
    )
