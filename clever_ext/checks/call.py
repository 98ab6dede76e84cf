"""`check`: what `clever_score` would be given, looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from ..arguments import Arrays, Integers
from ..classifier.pixels import beyond_pixels, of_pixels
from ..cost import of_cost
from ..engine.engine import Engine
from ..engine.preparation import Prepare
from ..errors import CleverError
from ..estimators.table import check_settings
from ..findings import Finding, Topic
from ..inputs.batch import (
    Batch,
    Device,
    DeviceBatch,
    check_batch,
    check_candidates,
    check_device_batch,
)
from ..inputs.images import Images
from ..inputs.settings import EstimatorName
from ..inputs.targets import Targets
from ..kernels.balls import Norms, Radii
from .labels import of_labels
from .looked import Looked, look
from .masking import of_masking
from .model import of_model
from .report import Checked
from .units import of_units

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of `typing` from Python 3.11 on

#: Images that are looked at, spread over those that were given.
SAMPLE = 64


class How(TypedDict, total=False):
    """Arguments of `clever_score` that `check` passes on."""

    estimator: EstimatorName
    max_gradients: int | None
    keep_witness: bool
    candidates: Arrays | None
    race: bool
    tolerance: float | None
    confidence: float
    seed: int
    prepare: Prepare


def check(
    model: Any,
    images: Images,
    norm: Norms = 2,
    radius: Radii = None,
    targets: Targets | None = None,
    labels: Integers | None = None,
    n_batches: int = 500,
    batch_samples: int = 1024,
    clip: tuple[float, float] | None = None,
    device: Device | None = None,
    device_batch: DeviceBatch = "auto",
    dtype: torch.dtype | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **how: Unpack[How],
) -> Checked:
    """Look at what `clever_score` would be given, without one sample, in seconds.

    Told are: the model's output, whether it can be scored and in what precision; the range of the
    images; whether gradients say how margins change, and a search without them finds no nearer
    flips; how many of up to 64 images it classifies right, against chance and against other
    readings of the labels; what the scores will take and, where that is long, what would be
    cheaper. Nothing is raised for what `clever_score` refuses: it is a finding too.

    Args:
        model: As for `clever_score`, like all arguments.
        images: [N, *shape].
        norm: p, or several.
        radius: R; None or "auto": it is found.
        targets: Classes.
        labels: [N] true classes, or None.
        n_batches: N_b.
        batch_samples: N_s.
        clip: (low, high) of valid data.
        device: Where to run.
        device_batch: How many points go through the model at once.
        dtype: Of images and samples.
        mean: With `std`, what the model's input is normalised by.
        std: As `mean`.
        how: estimator, max_gradients, race, tolerance, confidence, seed and prepare.

    Returns:
        The findings; `print` shows them as a table.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    >>> told = check(model, torch.rand(20, 3, 2, 2), n_batches=20)
    >>> told.refused, [each.topic for each in told.concerns]
    (False, ['labels'])
    """
    rest: dict[str, Any] = {**how}
    prepare, seed = rest.pop("prepare", "auto"), rest.pop("seed", 0)
    topic: Topic = "cost"
    try:
        settings = check_settings(
            norm, radius, targets, n_batches, batch_samples, clip, seed, **rest
        )
        topic = "model"
        model = of_pixels(model, mean, std)
        engine = Engine(model, prepare, check_device_batch(device_batch))
        topic = "pictures"
        batch = check_batch(images, labels, None, model, device, dtype, settings)
        engine.findings += batch.findings
        if mean is not None:
            engine.findings += beyond_pixels(batch.images)
        if how.get("candidates") is not None:
            points = check_candidates(how["candidates"], batch.images)
            settings = replace(settings, candidates=points.shape[1])
        topic = "model"
        looked = look(engine, _some(batch), settings, len(batch.images))
    except CleverError as error:
        return Checked([Finding.of(error, topic)])
    return Checked(list(findings_of(looked)))


def findings_of(looked: Looked) -> Iterator[Finding]:
    """Yield what a few images show, topic after topic."""
    topics: tuple[Callable[[Looked], Iterator[Finding]], ...] = (
        of_model, of_masking, of_labels, of_units,
    )  # fmt: skip
    for topic in topics:
        yield from topic(looked)
    yield of_cost(looked.settings, looked.n_images, looked.subjects.n_targets, looked.passes)


def _some(batch: Batch) -> Batch:
    """Return images spread over a batch."""
    n = len(batch.images)
    places = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int))
    return Batch(
        batch.images[torch.from_numpy(places).to(batch.images.device)],
        None if batch.labels is None else batch.labels[places],
        batch.image_ids[places],
    )
