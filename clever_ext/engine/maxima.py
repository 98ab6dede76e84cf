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
from .graphs import CannotCaptureError
from .host import Ring
from .plan import Plan

#: Steps before one is captured as a CUDA graph: libraries choose their kernels in the first ones.
_WARM_UP_STEPS = 3
#: Steps that must be left for a capture, which costs about as much as a few, to pay.
_STEPS_WORTH_CAPTURING = 20
#: Jobs that a graph has room for at least: they are small.
_FEWEST_JOBS = 1024
#: Column of the jobs that holds their slots.
_SLOT = 3
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
    """The samples to be drawn around some images, as a list of jobs, and what they find.

    Every batch of samples of every image is one job; its number is its slot among the maxima.

    Attributes:
        centers, classes, targets: [I, *shape], [I], [I, T].
        jobs: [J, 4], see `reduce_and_resample`; center_of_slot: [J], the center of each.
        radii: [J] float64.
        maxima: [T, J] float64; nearest_flip: [T, I] float64.
    """

    def __init__(
        self,
        centers: Tensor,
        classes: Tensor,
        targets: Tensor,
        image_ids: npt.NDArray[np.int64],
        sampling: Sampling,
    ) -> None:
        self.centers, self.classes = as_points(centers, 1), classes.contiguous()
        self.targets = targets.contiguous()
        self.sampling, device = sampling, centers.device
        n_jobs = len(centers) * sampling.n_batches
        slot = np.arange(n_jobs, dtype=np.int64)
        center, batch = np.divmod(slot, sampling.n_batches)
        batch += sampling.first_batch
        jobs = np.stack([center, image_ids[center], batch, slot], axis=1)
        self.jobs = torch.from_numpy(jobs).to(device)
        self.center_of_slot = self.jobs[:, 0].contiguous()
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

    def own_results(self) -> None:
        """Go on in tensors of this work alone, where it has been in a room."""
        self.maxima, self.nearest_flip = self.maxima.contiguous(), self.nearest_flip.contiguous()


class _Room:
    """Tensors at fixed places, with room for the work that one graph serves after another.

    They are named as those of `_Work`. A graph repeats the number of jobs that it was recorded
    with: those past the end of the list have no slot, so that nothing is made of their samples.
    """

    def __init__(self, like: _Work) -> None:
        images = self.images = _power_of_two(len(like.centers))
        jobs = self.n_jobs = max(_FEWEST_JOBS, _power_of_two(len(like.jobs)))
        self.sampling = like.sampling
        device, n_targets = like.centers.device, like.targets.shape[1]
        self.centers = points_like(like.centers[0], images)
        self.classes = torch.zeros(images, dtype=torch.int64, device=device)
        self.targets = torch.zeros(images, n_targets, dtype=torch.int64, device=device)
        self.jobs = torch.zeros(jobs, 4, dtype=torch.int64, device=device)
        self.center_of_slot = torch.zeros(jobs, dtype=torch.int64, device=device)
        self.radii = torch.ones(jobs, dtype=torch.float64, device=device)
        self.maxima = torch.zeros(n_targets, jobs, dtype=torch.float64, device=device)
        self.nearest_flip = torch.zeros(n_targets, images, dtype=torch.float64, device=device)

    def fits(self, work: _Work) -> bool:
        """Tell whether there is room for some work."""
        return len(work.centers) <= self.images and len(work.jobs) <= self.n_jobs

    def take_in(self, work: _Work) -> None:
        """Take the contents of some work, whose results are those of this room from now on."""
        n_images, n_jobs = len(work.centers), len(work.jobs)
        for name in ("centers", "classes", "targets"):
            getattr(self, name)[:n_images].copy_(getattr(work, name))
        for name in ("jobs", "center_of_slot", "radii"):
            getattr(self, name)[:n_jobs].copy_(getattr(work, name))
        self.jobs[n_jobs:, _SLOT] = -1
        for name, n in (("maxima", n_jobs), ("nearest_flip", n_images)):
            results = getattr(self, name)[:, :n]
            results.copy_(getattr(work, name))
            setattr(work, name, results)


def _power_of_two(n: int) -> int:
    """Return the smallest that is at least n."""
    return 1 << (n - 1).bit_length()


class _DeviceBatch:
    """Points in static buffers: which sample each row holds, and which it gets next.

    Rows take sample after sample from the list of jobs, so one batch mixes images and batches of
    samples, and what a row holds does not change any sample.

    Attributes:
        steps: How many it has made.
        replay: What repeats its step, once that is recorded.
    """

    def __init__(self, oracle: GradientOracle, work: _Work | _Room, size: int) -> None:
        self.oracle, self.work, self.size = oracle, work, size
        device = work.centers.device
        self.x = points_like(work.centers[0], size)
        self.cursor = torch.empty(size, dtype=torch.int64, device=device)
        self.slots = torch.empty(size, dtype=torch.int64, device=device)
        self.image, self.classes = torch.zeros_like(self.slots), torch.zeros_like(self.slots)
        n_targets = work.targets.shape[1]
        self.targets = torch.zeros(size, n_targets, dtype=torch.int64, device=device)
        self.steps = 0
        self.replay: Callable[[], None] | None = None

    def begin(self, first: int) -> None:
        """Draw the first samples of the work, from a given one on."""
        torch.arange(first, first + self.size, device=self.cursor.device, out=self.cursor)
        self.slots.fill_(-1)
        self._resample(None, 0, self.size)

    @property
    def written(self) -> list[Tensor]:
        """All that a step writes."""
        work = self.work
        return [
            self.x, self.cursor, self.slots, self.image, self.classes, self.targets, work.maxima,
            work.nearest_flip,
        ]  # fmt: skip

    def step(self, rows: int) -> None:
        """Differentiate at the first rows, fold the norms into their maxima, draw new samples."""
        work, p = self.work, self.work.sampling.p
        x, slots, image = self.x[:rows], self.slots[:rows], self.image[:rows]
        classes, targets = self.classes[:rows], self.targets[:rows]
        ops.assign_targets(
            slots, work.center_of_slot, work.classes, work.targets, image, classes, targets
        )
        margins, gradients = margins_and_gradients(self.oracle, x, classes, targets)
        ops.note_flips(margins, x, slots, work.centers, image, p, work.nearest_flip)
        last = targets.shape[1] - 1
        for target, gradient in enumerate(gradients):
            if target < last:
                maxima = work.maxima[target, None]
                ops.grad_norm_max(gradient[None], [dual_exponent(p)], maxima, slots[None])
            else:
                self._resample(gradient, target, rows)

    def _resample(self, gradient: Tensor | None, target: int, rows: int) -> None:
        work, sampling = self.work, self.work.sampling
        ops.reduce_and_resample(
            gradient, self.x[:rows], work.maxima[target], self.cursor[:rows], self.slots[:rows],
            work.centers, work.jobs, work.radii, sampling.batch_samples, sampling.p,
            dual_exponent(sampling.p), sampling.seed, *sampling.clip,
        )  # fmt: skip


class _Runner:
    """Takes one device batch through the samples from a given one on.

    Where steps are recorded, batches of the plan's full size are kept for the next work of their
    kind: a recording costs about as much as twenty steps, and searches come with a few of them at a
    time.
    """

    def __init__(self, plan: Plan, work: _Work, first: int) -> None:
        left = work.n_samples - first
        self.plan, self.work, self.next = plan, work, first
        self.ahead: deque[torch.cuda.Event] = deque()
        self.kept = plan.kept  # of these passes; a plan that has changed keeps others
        if plan.capture and left >= plan.device_batch:
            self.batch = self._kept_batch(plan.device_batch)
        else:
            size = plan.device_batch if plan.fixed_batch else min(plan.device_batch, left)
            work.own_results()
            self.batch = _DeviceBatch(plan.oracle, work, size)
        self.batch.begin(first)

    def _kept_batch(self, size: int) -> _DeviceBatch:
        work, sampling = self.work, self.work.sampling
        center = work.centers[0]
        self.kind = (
            size, center.shape, center.stride(), center.dtype, center.device, work.targets.shape[1],
            sampling.p, sampling.batch_samples, sampling.seed, sampling.clip,
        )  # fmt: skip
        batch: _DeviceBatch | None = self.kept.take(self.kind)
        room = None if batch is None else batch.work
        if batch is None or not isinstance(room, _Room) or not room.fits(work):
            room = _Room(work)
            batch = _DeviceBatch(self.plan.oracle, room, size)
        room.take_in(work)
        return batch

    def step(self) -> int:
        """Make one step; return for how many samples."""
        samples = min(self.batch.size, self.work.n_samples - self.next)
        if self.batch.replay is not None:
            self.batch.replay()
        elif not (self._worth_capturing() and self._capture()):
            rows = self.batch.size if self.plan.fixed_batch else samples
            self.plan.sizes.add(rows)
            self.batch.step(rows)
        self.batch.steps += 1
        self.next += samples
        self._wait_for_an_older_step()
        return samples

    def leave(self) -> None:
        """Keep the batch for the next work of its kind."""
        if isinstance(self.batch.work, _Room) and self.plan.capture:
            self.kept.put(self.kind, self.batch)

    def _worth_capturing(self) -> bool:
        left = (self.work.n_samples - self.next) // self.batch.size
        ready = self.plan.capture and isinstance(self.batch.work, _Room)
        # As many as were made may well come again.
        worth = max(left, self.batch.steps) >= _STEPS_WORTH_CAPTURING
        return ready and self.batch.steps >= _WARM_UP_STEPS and worth

    def _capture(self) -> bool:
        """Make one step and record it; False: nothing was done."""
        batch, options = self.batch, self.plan.options
        shorter = [name for name in ("bfloat16", "float16") if name in options]
        computes_in = getattr(torch, shorter[0]) if shorter else batch.x.dtype
        try:
            batch.replay = self.kept.recorder(batch.x.device).capture(
                lambda: batch.step(batch.size), batch.written, computes_in
            )
        except CannotCaptureError as error:
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
    fetch = _fetcher(work)
    runner: _Runner | None = None
    done = finished = 0
    while done < work.n_samples:
        try:
            runner = runner or _Runner(plan, work, done)
            samples = runner.step()
        except Exception as error:  # whatever a model raises
            size = runner.batch.size if runner else plan.device_batch
            samples, runner = 0, None
            plan.recover(error, size)
        done += samples
        progress(samples * targets.shape[1])
        while (finished + 1) * work.per_image <= done:
            yield _as_drawn(fetch(work.of_image(finished)))
            finished += 1
    if runner is not None:
        runner.leave()


def _fetcher(work: _Work) -> Callable[[Tensor], Callable[[], npt.NDArray[np.float64]]]:
    """Return what brings results of one image after another to the host."""
    if work.centers.is_cuda:
        return Ring(work.of_image(0)).fetch
    return lambda values: values.numpy


def _as_drawn(wait: Callable[[], npt.NDArray[np.float64]]) -> Callable[[], Drawn]:
    def drawn() -> Drawn:
        found = wait()
        return Drawn(found[:, :-1], found[:, -1])

    return drawn
