"""Batch maxima of gradient norms: the loop that samples, differentiates and reduces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import ops
from .errors import CleverError
from .gradients import GradientOracle
from .sampling import FLOATS, as_points, check_norm, dual_exponent, points_like

#: Elements of a device batch of points, where the batch is chosen here: on a CPU about what its
#: caches hold of the first layers' activations, on a GPU what keeps one busy.
_AUTO_ELEMENTS = {"cpu": 2**20, "cuda": 2**25}


def grad_norm_max(grads: Tensor, q: float = 2) -> Tensor:
    """Return the largest q-norm of each group of gradients.

    Norms accumulate in float32 (float64 for float64 gradients) and are combined in float64; a row
    that under- or overflows there is taken again, scaled. The same bits on each run.

    Args:
        grads: [G, B, *shape], any strides; float64, float32, float16 or bfloat16.
        q: The norm, 1 <= q <= inf; for an l_p ball its dual, 1/p + 1/q = 1.

    Returns:
        [G] float64: max over B of the q-norm over all of shape. A NaN or an infinity in a group is
        never dropped: its maximum is NaN (which wins) or inf.

    Raises:
        CleverError: a wrong rank or dtype, an empty group, or q < 1.

    >>> import torch
    >>> grad_norm_max(torch.tensor([[[3.0, 4.0], [1.0, 0.0]]]), q=2)
    tensor([5.], dtype=torch.float64)
    """
    if not isinstance(grads, Tensor) or grads.dim() < 3 or grads.dtype not in FLOATS:
        given = (
            f"{grads.dtype} of shape {list(grads.shape)}"
            if isinstance(grads, Tensor)
            else type(grads).__name__
        )
        raise CleverError(
            f"grads is {given}",
            "a floating point tensor [G, B, *shape]",
            "give single vectors as grads[None, :, :]",
        )
    if grads[0:1].numel() == 0 and len(grads):
        raise CleverError(
            f"grads of shape {list(grads.shape)} has empty groups",
            "at least one gradient of one element in each group",
            "leave the empty groups out",
        )
    maxima = torch.zeros(1, len(grads), dtype=torch.float64, device=grads.device)
    ops.grad_norm_max(grads.detach(), [check_norm(q)], maxima)
    return maxima[0]


@dataclass(frozen=True)
class Sampling:
    """How one norm's maxima are sampled."""

    p: float
    radius: float
    n_batches: int
    batch_samples: int
    seed: int
    clip: tuple[float, float]
    device_batch: int


def automatic_device_batch(shape: torch.Size, device: torch.device) -> int:
    """Choose how many points go through the model at once, from their size."""
    elements = _AUTO_ELEMENTS.get(device.type, _AUTO_ELEMENTS["cpu"])
    return max(8, min(1024, elements // max(1, shape.numel())))


def sample_maxima(
    oracle: GradientOracle,
    centers: Tensor,
    classes: Tensor,
    targets: Tensor,
    image_ids: npt.NDArray[np.int64],
    sampling: Sampling,
    progress: Callable[[int], None],
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the batch maxima of image after image, each as soon as it is finished.

    Every batch of samples of every image is one job. Rows of the device batch take sample after
    sample from the list of jobs, so one batch mixes images and batches of samples, and what a row
    holds does not change any sample. Nothing is copied from the device until an image is finished.

    Args:
        oracle: Gives the margin gradients.
        centers: [I, *shape], the images, on the oracle's device.
        classes: [I] int64, their predicted classes.
        targets: [I, T] int64.
        image_ids: [I].
        sampling: Norm, radius, counts, seed, clip and device batch.
        progress: Called with the number of gradient evaluations of each step.

    Yields:
        [T, N_b] float64 for each image, in order.
    """
    centers = as_points(centers, 1)
    device, n_targets = centers.device, targets.shape[1]
    jobs = _jobs(len(centers), image_ids, sampling.n_batches, device)
    radii = torch.full((len(jobs),), sampling.radius, dtype=torch.float64, device=device)
    n_samples = len(jobs) * sampling.batch_samples
    batch = min(sampling.device_batch, n_samples)
    x = points_like(centers[0], batch)
    cursor = torch.arange(batch, device=device)
    slots = torch.full((batch,), -1, device=device)
    maxima = torch.zeros(n_targets, len(jobs), dtype=torch.float64, device=device)
    q = dual_exponent(sampling.p)

    def resample(gradient: Tensor | None, target: int, rows: int) -> None:
        ops.reduce_and_resample(
            gradient, x[:rows], maxima[target], cursor[:rows], slots[:rows], centers, jobs, radii,
            sampling.batch_samples, sampling.p, q, sampling.seed, *sampling.clip,
        )  # fmt: skip

    resample(None, 0, batch)
    finished = 0
    for start in range(0, n_samples, batch):
        rows = min(batch, n_samples - start)
        held = slots[:rows]
        image = jobs[:, 0][held]
        gradients = oracle.margin_gradients(x[:rows], classes[image], targets[image])
        for target, gradient in enumerate(gradients):
            if target < n_targets - 1:
                ops.grad_norm_max(gradient[None], [q], maxima[target, None], held[None])
            else:
                resample(gradient, target, rows)
        progress(rows * n_targets)
        while (finished + 1) * sampling.n_batches * sampling.batch_samples <= start + rows:
            first = finished * sampling.n_batches
            yield maxima[:, first : first + sampling.n_batches].cpu().numpy()
            finished += 1


def _jobs(
    n_images: int, image_ids: npt.NDArray[np.int64], n_batches: int, device: torch.device
) -> Tensor:
    """One row (center, image id, batch, slot) for each batch of each image, [I * N_b, 4]."""
    center, batch = np.divmod(np.arange(n_images * n_batches, dtype=np.int64), n_batches)
    slot = np.arange(n_images * n_batches, dtype=np.int64)
    table = np.stack([center, image_ids[center], batch, slot], axis=1)
    return torch.from_numpy(table).to(device)


def norms_at(
    oracle: GradientOracle,
    images: Tensor,
    classes: Tensor,
    targets: Tensor,
    norms: list[float],
    device_batch: int,
) -> npt.NDArray[np.float64]:
    """Return the gradient norms at the images themselves, [len(norms), I, T] float64."""
    duals = [dual_exponent(p) for p in norms]
    out = torch.zeros(len(norms), len(images), targets.shape[1], dtype=torch.float64)
    for start in range(0, len(images), device_batch):
        part = slice(start, start + device_batch)
        gradients = oracle.margin_gradients(images[part], classes[part], targets[part])
        for target, gradient in enumerate(gradients):
            for first in range(0, len(duals), ops.MAX_NORMS):
                group = slice(first, first + ops.MAX_NORMS)
                found = torch.zeros(
                    len(duals[group]), len(gradient), dtype=torch.float64, device=gradient.device
                )
                ops.grad_norm_max(gradient[:, None], duals[group], found)
                out[group, part, target] = found.cpu()
    return out.numpy()
