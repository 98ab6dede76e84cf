"""Batch maxima of gradient norms: the loop that samples, differentiates and reduces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..classifier.oracle import GradientOracle, margins_and_gradients
from ..kernels import ops
from ..kernels.balls import as_points, dual_exponent, points_like
from . import graphs
from .plan import Plan

#: Steps before one is captured as a CUDA graph: libraries choose their kernels in the first ones.
_WARM_UP_STEPS = 3
#: Steps that must be left for a capture, which costs about as much as a few, to pay.
_STEPS_WORTH_CAPTURING = 20
#: Steps that the host may be ahead of a GPU: enough to keep it busy, few enough for Ctrl-C.
_STEPS_AHEAD = 16


@dataclass(frozen=True)
class Sampling:
    """How one norm's maxima are sampled."""

    p: float
    radius: float | npt.NDArray[np.float64]  # of all centers, or [I]: of each
    n_batches: int
    batch_samples: int
    seed: int
    clip: tuple[float, float]
    first_batch: int = 0


class Drawn(NamedTuple):
    """What the samples of one image found, for each of its targets.

    Attributes:
        maxima: [T, N_b], the batch maxima of the gradients' norms.
        nearest_flip: [T], the smallest p-norm distance of a sample whose margin was not positive;
            infinite where there was none.
    """

    maxima: npt.NDArray[np.float64]
    nearest_flip: npt.NDArray[np.float64]


class _Work:
    """The samples to be drawn around some images, as a list of jobs, and their maxima.

    Every batch of samples of every image is one job; its number is its slot among the maxima.
    """

    def __init__(
        self,
        centers: Tensor,
        classes: Tensor,
        targets: Tensor,
        image_ids: npt.NDArray[np.int64],
        sampling: Sampling,
    ) -> None:
        self.centers, self.classes, self.targets = as_points(centers, 1), classes, targets
        self.sampling, device = sampling, centers.device
        n_jobs = len(centers) * sampling.n_batches
        slot = np.arange(n_jobs, dtype=np.int64)
        center, batch = np.divmod(slot, sampling.n_batches)
        batch += sampling.first_batch
        jobs = np.stack([center, image_ids[center], batch, slot], axis=1)
        self.jobs = torch.from_numpy(jobs).to(device)
        self.centers_of_jobs = self.jobs[:, 0].contiguous()
        radii = np.broadcast_to(np.asarray(sampling.radius, dtype=np.float64), len(centers))
        self.radii = torch.from_numpy(radii[center]).to(device)
        self.maxima = torch.zeros(targets.shape[1], n_jobs, dtype=torch.float64, device=device)
        shape = targets.shape[1], len(centers)
        self.nearest_flip = torch.full(shape, torch.inf, dtype=torch.float64, device=device)
        self.per_image = sampling.n_batches * sampling.batch_samples
        self.n_samples = n_jobs * sampling.batch_samples

    def of_image(self, number: int) -> Tensor:
        """Return the maxima of one image and its nearest flips behind them, [T, N_b + 1]."""
        first = number * self.sampling.n_batches
        maxima = self.maxima[:, first : first + self.sampling.n_batches]
        return torch.cat([maxima, self.nearest_flip[:, number, None]], dim=1)


class _DeviceBatch:
    """Points in static buffers: which sample each row holds, and which it gets next.

    Rows take sample after sample from the list of jobs, so one batch mixes images and batches of
    samples, and what a row holds does not change any sample.
    """

    def __init__(self, oracle: GradientOracle, work: _Work, size: int, first: int) -> None:
        self.oracle, self.work, self.size = oracle, work, size
        device = work.centers.device
        self.x = points_like(work.centers[0], size)
        self.cursor = torch.arange(first, first + size, device=device)
        self.slots = torch.full((size,), -1, device=device)
        self.distances = torch.zeros(size, dtype=torch.float64, device=device)
        self._resample(None, 0, size)

    @property
    def written(self) -> list[Tensor]:
        """All that a step writes."""
        work = self.work
        return [self.x, self.cursor, self.slots, self.distances, work.maxima, work.nearest_flip]

    def step(self, rows: int) -> None:
        """Differentiate at the first rows, fold the norms into their maxima, draw new samples."""
        work, q = self.work, dual_exponent(self.work.sampling.p)
        held = self.slots[:rows]
        image = work.centers_of_jobs[held]
        targets = work.targets[image]
        margins, gradients = margins_and_gradients(
            self.oracle, self.x[:rows], work.classes[image], targets
        )
        self._note_flips((margins <= 0) & (held >= 0)[:, None], image)
        last = targets.shape[1] - 1
        for target, gradient in enumerate(gradients):
            if target < last:
                maxima = work.maxima[target, None]
                ops.grad_norm_max(gradient[None], [q], maxima, held[None])
            else:
                self._resample(gradient, target, rows)

    def _note_flips(self, flipped: Tensor, image: Tensor) -> None:
        """Fold the distances of the rows in x whose margins [rows, T] are not positive."""
        if not flipped.is_cuda and not flipped.any():  # a GPU is not waited for
            return
        work, rows = self.work, len(flipped)
        index, distances = torch.where(flipped.any(dim=1), image, -1), self.distances[:rows]
        ops.lp_distances(self.x[:rows], work.centers, index, work.sampling.p, distances)
        found = torch.where(flipped, distances[:, None], torch.inf).T
        work.nearest_flip.scatter_reduce_(1, image.expand_as(found), found, "amin")

    def _resample(self, gradient: Tensor | None, target: int, rows: int) -> None:
        work, sampling = self.work, self.work.sampling
        ops.reduce_and_resample(
            gradient, self.x[:rows], work.maxima[target], self.cursor[:rows], self.slots[:rows],
            work.centers, work.jobs, work.radii, sampling.batch_samples, sampling.p,
            dual_exponent(sampling.p), sampling.seed, *sampling.clip,
        )  # fmt: skip


class _Runner:
    """Takes one device batch through the samples from a given one on."""

    def __init__(self, plan: Plan, work: _Work, first: int) -> None:
        left = work.n_samples - first
        size = plan.device_batch if plan.fixed_batch else min(plan.device_batch, left)
        self.plan, self.work, self.next = plan, work, first
        self.batch = _DeviceBatch(plan.oracle, work, size, first)
        self.steps = 0
        self.replay: Callable[[], None] | None = None
        self.ahead: deque[torch.cuda.Event] = deque()

    def step(self) -> int:
        """Make one step; return for how many samples."""
        samples = min(self.batch.size, self.work.n_samples - self.next)
        if self.replay is not None:
            self.replay()
        elif not (self._worth_capturing() and self._capture()):
            rows = self.batch.size if self.plan.fixed_batch else samples
            self.plan.sizes.add(rows)
            self.batch.step(rows)
        self.steps += 1
        self.next += samples
        self._wait_for_an_older_step()
        return samples

    def _worth_capturing(self) -> bool:
        left = (self.work.n_samples - self.next) // self.batch.size
        ready = self.plan.capture and self.steps == _WARM_UP_STEPS
        return ready and left >= _STEPS_WORTH_CAPTURING

    def _capture(self) -> bool:
        """Make one step and record it; False: nothing was done."""
        try:
            self.replay = graphs.capture(
                lambda: self.batch.step(self.batch.size), self.batch.written
            )
        except graphs.CannotCaptureError as error:
            self.plan.capture = False
            self.plan.notes["cuda_graph"] = str(error)
            return False
        return True

    def _wait_for_an_older_step(self) -> None:
        if self.batch.x.is_cuda:
            self.ahead.append(torch.cuda.current_stream(self.batch.x.device).record_event())
            if len(self.ahead) > _STEPS_AHEAD:
                self.ahead.popleft().synchronize()


def sample_maxima(
    plan: Plan,
    centers: Tensor,
    classes: Tensor,
    targets: Tensor,
    image_ids: npt.NDArray[np.int64],
    sampling: Sampling,
    progress: Callable[[int], None],
) -> Iterator[Callable[[], Drawn]]:
    """Yield the batch maxima of image after image, each as soon as its last step is on its way.

    Nothing is copied from the device until an image is finished, and then beside the next steps.
    Where a pass fails, and the plan knows another way, that goes on from the same sample.

    Args:
        plan: How the passes are made.
        centers: [I, *shape], the images, on the oracle's device.
        classes: [I] int64, their predicted classes.
        targets: [I, T] int64.
        image_ids: [I].
        sampling: Norm, radius, counts, seed and clip.
        progress: Called with the number of gradient evaluations of each step.

    Yields:
        For each image, in order, a function that waits for what its samples found and returns
        it; it may be called from another thread.
    """
    work = _Work(centers, classes, targets, image_ids, sampling)
    runner: _Runner | None = None
    done = finished = 0
    while done < work.n_samples:
        try:
            runner = runner or _Runner(plan, work, done)
            samples = runner.step()
        except Exception as error:  # whatever a model raises
            plan.recover(error, runner.batch.size if runner else plan.device_batch)
            samples, runner = 0, None
        done += samples
        progress(samples * targets.shape[1])
        while (finished + 1) * work.per_image <= done:
            yield _on_host(work.of_image(finished))
            finished += 1


def _on_host(values: Tensor) -> Callable[[], Drawn]:
    """Start to copy what `of_image` gives to the host; the function returned waits for it."""
    if not values.is_cuda:
        return lambda: _drawn(values)
    host = torch.empty(values.shape, dtype=values.dtype, device="cpu", pin_memory=True)
    stream = torch.cuda.Stream(values.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(values.device))
    with torch.cuda.stream(stream):
        host.copy_(values, non_blocking=True)
        copied = stream.record_event()

    def wait(_: Tensor = values) -> Drawn:  # keeps the source until it is copied
        copied.synchronize()
        return _drawn(host)

    return wait


def _drawn(values: Tensor) -> Drawn:
    return Drawn(values[:, :-1].numpy(), values[:, -1].numpy())
