"""What a run will take, told from a short pilot."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from . import memory
from .adaptive import half_widths
from .credible import predicted_fit
from .drawing import draw
from .engine import Engine, pass_seconds
from .findings import Finding
from .inputs import FIRST_LOOK, PAPER_GRADIENTS, Settings, check_batch, check_device_batch
from .maxima import Drawn
from .sampling import AUTO
from .subjects import Ints, Rows, Subjects

#: Images and targets of the pilot, spread over those that were given.
_PILOT_IMAGES, _PILOT_TARGETS = 4, 4
#: Seconds that the pilot may take, and those of a run of which trials may take their share.
_PILOT_SECONDS, _READY_SECONDS = 4.0, 60.0
#: From how many seconds on a run is long, and the least passes of one that is worth measuring.
_LONG_SECONDS, _LONG_PASSES = 600.0, 50


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
            f"{self.n_gradients:,} gradients for {self.rows:,} rows in about {self.seconds:,.0f} s "
            f"with {self.memory_bytes / 2**30:.2f} GiB; scores to about {100 * self.tolerance:.1g} "
            f"% (told by {self.pilot_gradients:,} gradients)"
        )


def plan(
    model: Any,
    images: Any,
    norm: Any = 2,
    radius: Any = None,
    targets: Any = "all",
    batch_samples: int = 1024,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
    *,
    tolerance: float | None = None,
    max_gradients: int = PAPER_GRADIENTS,
    device: Any = None,
    device_batch: int | str = "auto",
    dtype: torch.dtype | None = None,
    prepare: str | Sequence[str] = "auto",
) -> RunPlan:
    """Tell what `clever_score` will take, from a pilot of seconds.

    It draws a few batches of up to four images and targets, of fewer samples where gradients are
    slow. The half-width of an interval is taken to fall with the root of the number of samples.

    Args:
        model: As for `clever_score`, like all that is not named here.
        images: [N, *shape], all of the run's, or some with which to multiply the answer.
        norm: As for `clever_score`.
        radius: Numbers.
        targets: As for `clever_score`.
        batch_samples: N_s.
        clip: As for `clever_score`.
        seed: As for `clever_score`; the pilot's samples are the run's first ones.
        tolerance: That of the run; None: each row spends max_gradients.
        max_gradients: Of each image, target and norm, at most.
        device: As for `clever_score`.
        device_batch: As for `clever_score`.
        dtype: As for `clever_score`.
        prepare: As for `clever_score`.

    Raises:
        CleverError: as `clever_score` does.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> told = plan(net.eval(), torch.rand(2, 8), batch_samples=16, max_gradients=1600)
    >>> told.n_gradients, told.rows
    (6400, 4)
    """
    pilot_settings = Settings.check(
        norm, radius, targets, FIRST_LOOK, batch_samples, clip, seed, tolerance=tolerance or 0.5,
        max_gradients=max_gradients,
    )  # fmt: skip
    engine = Engine(model, prepare, check_device_batch(device_batch))
    batch = check_batch(images, None, None, model, device, dtype, pilot_settings)
    with engine.running(batch.images.device):
        engine.check(batch.images, pilot_settings.balls, pilot_settings.clip)
        subjects = Subjects(engine, batch, targets, seed)
        n_images = len(batch.images)
        n_rows = n_images * subjects.n_targets * len(pilot_settings.balls)
        drawn, rows, samples, seconds = _pilot(subjects, pilot_settings, n_rows * max_gradients)
    spent = len(rows) * FIRST_LOOK * samples
    fit = predicted_fit(drawn.maxima, samples, 0.95)
    width = half_widths(subjects.margins(rows.image, rows.target), rows.radius, fit)
    width *= math.sqrt(samples / batch_samples)
    each = _batches(width, tolerance, max_gradients // batch_samples) * batch_samples
    n_gradients = round(n_rows * float(each.mean()))
    return RunPlan(
        n_gradients,
        seconds * n_gradients / spent,
        _memory(batch.images.device),
        float(np.median(width * np.sqrt(FIRST_LOOK * batch_samples / each))),
        n_rows,
        spent,
    )


def _pilot(
    subjects: Subjects, settings: Settings, n_gradients: int
) -> tuple[Drawn, Rows, int, float]:
    """Draw a few batches of some rows; return them, the samples of each, and the seconds.

    Of few images and targets, and of fewer samples where gradients are slow: a plan is wanted in
    seconds, and gradients of one kind take one time.
    """
    of = subjects.scored if len(subjects.scored) else np.arange(len(subjects.predicted))
    images = of[np.unique(np.linspace(0, len(of) - 1, min(_PILOT_IMAGES, len(of))).astype(int))]
    places = np.linspace(0, subjects.n_targets - 1, min(_PILOT_TARGETS, subjects.n_targets))
    targets = np.ascontiguousarray(subjects.targets[images][:, places.astype(int)])
    each = max(1e-9, seconds_per_gradient(subjects, images, targets))
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
    affordable = int(_PILOT_SECONDS / each / (len(rows) * FIRST_LOOK))
    samples = max(1, min(settings.batch_samples, affordable))
    begin = time.perf_counter()
    drawn = draw(
        subjects, rows, range(FIRST_LOOK), samples, settings.seed, settings.clip, lambda _: None
    )
    return drawn, rows, samples, time.perf_counter() - begin


def seconds_per_gradient(subjects: Subjects, images: Ints, targets: Ints) -> float:
    """Measure a gradient, by passes over one device batch made of some images and their targets."""
    plan = subjects.engine.own
    rows = np.resize(np.arange(len(images)), plan.device_batch)
    tensors = subjects.tensors(images[rows], targets[rows])
    seconds = [pass_seconds(plan.oracle, *tensors) for _ in range(2)]  # the first warms up
    return min(seconds) / (len(rows) * targets.shape[1])


def long_run(subjects: Subjects, settings: Settings) -> list[Finding]:
    """Tell of a run that will take long, before it begins, and of what would be cheaper."""
    images, n_targets = subjects.scored, subjects.n_targets
    n_gradients, least = _expected_gradients(len(images), n_targets, settings)
    if n_gradients < _LONG_PASSES * subjects.engine.own.device_batch:
        return []
    targets = subjects.targets[images][:, :_PILOT_TARGETS]
    seconds = n_gradients * seconds_per_gradient(subjects, images, targets)
    if seconds < _LONG_SECONDS:
        return []
    cheaper = [
        'estimator="steepest", which takes 2,000 gradients for a row' * (settings.estimator != "steepest"),
        "tolerance=0.05, which stops where a score is exact enough" * (settings.tolerance is None),
        "race=True, which finds the smallest score without the others" * (n_targets > 2),
        'targets="top2", the runner-up alone' * (n_targets > 1),
    ]
    said = (
        f"this run will take {'at least ' if least else 'about '}{_duration(seconds)}: "
        f"{n_gradients:,.0f} gradients of {len(images)} images and {n_targets} targets each"
    )
    fix = "cheaper are " + "; ".join(filter(None, cheaper)) if any(cheaper) else "score fewer images"
    return [Finding("cost", said, fix)]


def _expected_gradients(n_images: int, n_targets: int, settings: Settings) -> tuple[float, bool]:
    """Return the gradients of a run, and whether these are the least that it may take."""
    balls = n_images * len(settings.balls)
    each = settings.n_batches * settings.batch_samples
    if settings.estimator == "steepest":
        return balls * n_targets * settings.max_gradients, False
    if settings.tolerance is not None:
        return balls * n_targets * FIRST_LOOK * settings.batch_samples, True
    if settings.race:
        return balls * (n_targets + each), True
    return balls * n_targets * each, AUTO in settings.radii


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 60:,.0f} minutes"


def _batches(width: Any, tolerance: float | None, limit: int) -> Any:
    """Batches of each row: all, or as many as bring its interval's half-width to the tolerance."""
    if tolerance is None:
        return np.full(len(width), limit)
    return np.clip(np.ceil(FIRST_LOOK * (width / tolerance) ** 2), FIRST_LOOK, limit)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return math.ceil(memory.resident())
