"""The parts of a step around the model: before the passes, between them, and after them."""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import draw_sample
from .folds import grad_norm_max


def assign_targets(
    slots: Tensor,
    center_of_slot: Tensor,
    classes: Tensor,
    targets: Tensor,
    row_image: Tensor,
    row_classes: Tensor,
    row_targets: Tensor,
) -> None:
    """Write the image of each row's slot [B], the image's class and its targets [B, T].

    A slot belongs to the image center_of_slot[slot]; classes are [I], targets [I, T]. A row of a
    negative slot holds no sample, and gets image 0.
    """
    row_image.copy_(torch.where(slots < 0, 0, center_of_slot[slots.clamp(min=0)]))
    row_classes.copy_(classes[row_image])
    row_targets.copy_(targets[row_image])


def margin_seeds(
    logits: Tensor, classes: Tensor, targets: Tensor, margins: Tensor, seeds: Tensor
) -> None:
    """Write the margins of logits [B, K], and what a backward pass of each begins with.

    margins [B, T + O] are the logits of classes [B] minus those of targets [B, T + O]. The slopes
    of the first T of them in the logits are the seeds [T, B, K]: 1 at the class, -1 at the target,
    0 elsewhere.
    """
    margins.copy_(logits.gather(1, classes[:, None]) - logits.gather(1, targets))
    index = torch.arange(logits.shape[1], device=logits.device)
    of_class = index == classes[:, None]
    for number, seed in enumerate(seeds):
        seed.copy_(of_class.to(seed) - (index == targets[:, number, None]).to(seed))


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
            point = draw_sample(centers[center], p, float(radii[job]), seed, image_id, sample)
            x[row] = point.clamp(low, high).to(x)
            slots[row] = slot
    cursor += len(x)
