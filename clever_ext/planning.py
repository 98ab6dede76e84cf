"""What a run will take, told from a short pilot."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .classifier.pixels import of_pixels
from .cost import measure_passes
from .engine.engine import Engine
from .engine.maxima import Drawn
from .engine.preparation import Prepare
from .estimators.batches import draw
from .estimators.radius import find_radii
from .estimators.subjects import Rows, Subjects
from .estimators.table import check_settings
from .estimators.tolerance import FIRST_LOOK, PAPER_GRADIENTS, PILOTS_FOR, half_widths
from .evt.credible import predicted_fit
from .inputs.batch import Device, DeviceBatch, check_batch, check_device_batch
from .inputs.images import Images
from .inputs.settings import Settings
from .inputs.targets import Targets
from .kernels.balls import AUTO, Norms, Radii
from .machine import memory
from .markup import as_html
from .progress import Counter, duration, silent

#: Images and targets of the pilot, spread over those that were given.
_PILOT_IMAGES, _PILOT_TARGETS = 4, 4
#: Seconds that the pilot may take, and those of a run of which trials may take their share.
_PILOT_SECONDS, _READY_SECONDS = 4.0, 60.0


@dataclass(frozen=True)
class RunPlan:
    """What a run will take, as a pilot tells it; printing it tells all.

    Attributes:
        n_gradients: Gradient evaluations of all rows.
        seconds: Wall time of them, without reading files.
        memory_bytes: What the process, or the GPU, will have taken.
        tolerance: Half-width of a score's interval relative to the score, median over the pilot's
            rows, that this many gradients buy.
        rows: Rows of the result.
        pilot_gradients: Gradients that were spent to tell.
    """

    n_gradients: int
    seconds: float
    memory_bytes: int
    tolerance: float
    rows: int
    pilot_gradients: int

    def __str__(self) -> str:
        return (
            f"{self.n_gradients:,} gradients for {self.rows:,} rows in about "
            f"{duration(self.seconds)} with {self.memory_bytes / 2**30:.2f} GiB; scores to about "
            f"{100 * self.tolerance:.1g} % (told by {self.pilot_gradients:,} gradients)"
        )

    def _repr_html_(self) -> str:
        """Return the same as a table, as notebooks show it."""
        values = {
            "gradients": f"{self.n_gradients:,}",
            "rows": f"{self.rows:,}",
            "time": duration(self.seconds),
            "memory": f"{self.memory_bytes / 2**30:.2f} GiB",
            "scores to about": f"{100 * self.tolerance:.1g} %",
            "told by": f"{self.pilot_gradients:,} gradients",
        }
        return as_html("RunPlan", (), list(values), [list(values.values())])


def plan(
    model: Any,
    images: Images,
    norm: Norms = 2,
    radius: Radii = None,
    targets: Targets | None = None,
    batch_samples: int = 1024,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
    *,
    tolerance: float | None = None,
    max_gradients: int = PAPER_GRADIENTS,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    dtype: torch.dtype | None = None,
    prepare: Prepare = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> RunPlan:
    """Tell what the paper's scores will take, from a pilot of seconds.

    It draws a few batches of up to four images and targets, of fewer samples where gradients are
    slow. The half-width of an interval is taken to fall with the root of the number of samples.
    What it takes to find radii is told from the pilot, too.

    Args:
        model: As for `clever_score`, like all that is not named here.
        images: [N, *shape], all of the run's, or some with which to multiply the answer.
        norm: As for `clever_score`.
        radius: As for `clever_score`.
        targets: As for `clever_score`. Those of smallest margin stand in for the nearest.
        batch_samples: N_s.
        clip: As for `clever_score`.
        seed: As for `clever_score`; the pilot's samples are the run's first ones.
        tolerance: That of the run; None: each row gets max_gradients in batches.
        max_gradients: Of each image, target and norm, at most.
        device: As for `clever_score`.
        device_batch: As for `clever_score`.
        dtype: As for `clever_score`.
        prepare: As for `clever_score`.
        mean: As for `clever_score`.
        std: As for `clever_score`.

    Raises:
        CleverError: as `clever_score` does.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> told = plan(net.eval(), torch.rand(2, 8), radius=1, batch_samples=16, max_gradients=1600)
    >>> told.n_gradients, told.rows
    (6400, 4)
    """
    pilot_settings = check_settings(
        norm, radius, targets, FIRST_LOOK, batch_samples, clip, seed, tolerance=tolerance or 0.5,
        max_gradients=max_gradients,
    )  # fmt: skip
    model = of_pixels(model, mean, std)
    engine = Engine(model, prepare, check_device_batch(device_batch))
    batch = check_batch(images, None, None, model, device, dtype, pilot_settings)
    with engine.running(batch.images.device):
        engine.check(batch.images, pilot_settings.balls, pilot_settings.clip)
        subjects = Subjects(engine, batch, targets, seed)
        n_images = len(batch.images)
        n_rows = n_images * subjects.n_targets * len(pilot_settings.balls)
        pilot = _pilot(subjects, pilot_settings, n_rows * max_gradients)
    rows, samples = pilot.rows, pilot.samples
    fit = predicted_fit(pilot.drawn.maxima, samples, 0.95)
    width = half_widths(subjects.margins(rows.image, rows.target), rows.radius, fit)
    width *= math.sqrt(samples / batch_samples)
    limit = max_gradients // batch_samples
    each = _batches(width, tolerance, limit) * batch_samples
    searched = each if tolerance is None else min(limit, PILOTS_FOR) * batch_samples
    pilots = pilot.searching * searched
    n_gradients = round(n_rows * float((each + pilots).mean()))
    return RunPlan(
        n_gradients,
        pilot.seconds * n_gradients / pilot.spent,
        _memory(batch.images.device),
        float(np.median(width * np.sqrt(FIRST_LOOK * batch_samples / each))),
        n_rows,
        pilot.spent,
    )


class _Pilot(NamedTuple):
    """A few batches of some rows.

    Attributes:
        drawn: They.
        rows: Whose they are.
        samples: Of each batch.
        searching: [rows], what finding its radius added, as a share of the batches.
        spent: Gradients.
        seconds: That it took.
    """

    drawn: Drawn
    rows: Rows
    samples: int
    searching: npt.NDArray[np.float64]
    spent: int
    seconds: float


def _pilot(subjects: Subjects, settings: Settings, n_gradients: int) -> _Pilot:
    """Draw a few batches of some rows.

    Of few images and targets, and of fewer samples where gradients are slow: a plan is wanted in
    seconds, and gradients of one kind take one time.
    """
    of = subjects.scored if len(subjects.scored) else np.arange(len(subjects.predicted))
    images = of[np.unique(np.linspace(0, len(of) - 1, min(_PILOT_IMAGES, len(of))).astype(int))]
    places = np.linspace(0, subjects.n_targets - 1, min(_PILOT_TARGETS, subjects.n_targets))
    targets = np.ascontiguousarray(subjects.targets[images][:, places.astype(int)])
    each = max(1e-9, measure_passes(subjects).of(targets.shape[1]) / targets.shape[1])
    tensors = subjects.tensors(images, targets)
    subjects.engine.ready(*tensors, min(n_gradients, round(_READY_SECONDS / each)))
    rows = Rows.concatenate(
        [
            Rows(
                np.repeat(images, targets.shape[1]),
                targets.ravel(),
                np.full(targets.size, norm),
                np.full(targets.size, radius),
            )
            for norm, radius in settings.balls
        ]
    )
    batches = FIRST_LOOK + (PILOTS_FOR // 2 if AUTO in settings.radii else 0)
    affordable = int(_PILOT_SECONDS / each / (len(rows) * batches))
    samples = max(1, min(settings.batch_samples, affordable))
    begin, counter = time.perf_counter(), Counter(silent, n_gradients)
    at_image = subjects.norms_at(images, targets, [p for p, _ in settings.balls]).ravel()
    short = replace(settings, batch_samples=samples)
    found = find_radii(subjects, short, rows, at_image, PILOTS_FOR, counter)
    drawn = draw(
        subjects, rows, range(FIRST_LOOK), samples, settings.seed, settings.clip, counter.add
    )
    searching = found.pilots / (PILOTS_FOR * samples)
    return _Pilot(drawn, rows, samples, searching, counter.done, time.perf_counter() - begin)


def _batches(width: Any, tolerance: float | None, limit: int) -> Any:
    """Batches of each row: all, or as many as bring its interval's half-width to the tolerance."""
    if tolerance is None:
        return np.full(len(width), limit)
    return np.clip(np.ceil(FIRST_LOOK * (width / tolerance) ** 2), FIRST_LOOK, limit)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return math.ceil(memory.resident())
