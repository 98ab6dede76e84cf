"""What a run will take, told before it begins from a short measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cost import Cost, Passes, cost_of
from ..data import ImageSource, resolve
from ..data.loading import Loaded, Loader
from ..errors import CleverError
from ..estimators.steepest.estimator import FEWEST_GRADIENTS
from ..estimators.table import gradients_of_image
from ..estimators.tolerance import FIRST_LOOK
from ..inputs.settings import Settings
from ..kernels.balls import AUTO
from ..progress import duration, silent
from .pieces import Pieces, piece_size
from .scorer import Scorer

#: Pictures that are read for the measurement, those that are scored, and gradients of their rows.
_READ, _SCORED, _GRADIENTS = 16, 4, 256
#: Bytes of a row beside its maxima, and of a part beside its rows, as files of results have them.
_ROW_BYTES, _PART_BYTES = 120, 13_000
#: Bytes of each value of a point that is kept, compressed: photographs take from 2 to 4.
_POINT_BYTES = 4


@dataclass(frozen=True)
class Estimate:
    """What a run will take; printing it tells all.

    Attributes:
        images: Pictures.
        cost: Rows, gradients and the time of one process, by a measurement.
        images_per_second: That the loading of pictures measured, in this process alone.
        bytes: Of the run's folder.
    """

    images: int
    cost: Cost
    images_per_second: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Of one process."""
        return max(self.cost.seconds, self.images / self.images_per_second)

    def __str__(self) -> str:
        most = "at most " if self.cost.at_most else ""
        rate = self.cost.gradients / self.cost.seconds
        return (
            f"{self.images:,} pictures, {self.cost.rows:,} rows, "
            f"{most}{self.cost.gradients:,} gradients\n"
            f"{rate:,.0f} gradients/s by one process, measured; pictures are "
            f"read at {self.images_per_second:,.0f}/s\n"
            f"{most}{duration(self.seconds)} by one process, n processes with a GPU "
            f"of their own take an n-th\n{self.bytes / 2**20:,.1f} MiB in the run's folder"
        )


def estimate(
    source: ImageSource, scorer: Scorer, loader: Loader, shard: tuple[int, int] = (0, 1)
) -> Estimate:
    """Measure on a few pictures what a run will take; nothing is written.

    Args:
        source: The pictures.
        scorer: Model and settings; a scorer of its own, since its settings are cut short.
        loader: Of those pictures.
        shard: As for the run.

    Raises:
        CleverError: the model cannot be scored, the labels do not fit it, or no picture that was
            tried can be read.
    """
    first = scorer.first(source, loader)
    subjects = scorer.look(first)
    resolve(source, subjects.logits.shape[1], scorer.model.class_names)
    settings = scorer.settings
    pieces = Pieces(len(source), piece_size(subjects, settings), shard)
    images, n_targets = pieces.images(pieces.numbers), subjects.n_targets
    scorer.choose(subjects, max(1, images * gradients_of_image(settings, n_targets)))

    begin = time.monotonic()
    loaded = loader.submit(source[:: max(1, len(source) // _READ)][:_READ]).result()
    images_per_second = len(loaded) / (time.monotonic() - begin)
    cost = cost_of(settings, images, n_targets, Passes(0.0, 1 / _rate(scorer, loaded)))
    return Estimate(
        images=images,
        cost=cost,
        images_per_second=images_per_second,
        bytes=run_bytes(settings, images, cost.rows, len(pieces.numbers), first.images.numel()),
    )


def run_bytes(settings: Settings, n_images: int, n_rows: int, n_pieces: int, n_values: int) -> int:
    """Return about how many bytes a run writes.

    Args:
        settings: Of the run.
        n_images: Pictures.
        n_rows: Rows.
        n_pieces: Parts.
        n_values: Values of one picture, as the model gets it.
    """
    n_maxima = settings.n_batches if settings.estimator == "clever" else 0
    rows = n_rows * (_ROW_BYTES + 8 * n_maxima) + n_pieces * _PART_BYTES
    if not settings.keep_witness:
        return rows
    points = 2 if AUTO in settings.radii else 1
    return rows + n_images * len(settings.norms) * points * n_values * _POINT_BYTES


def _rate(scorer: Scorer, loaded: Sequence[Loaded]) -> float:
    """Return the gradients per second of a short score, once everything is warm."""
    # Without labels: of misclassified pictures there would be nothing to measure.
    good = [
        replace(each, record=replace(each.record, label=None))
        for each in loaded
        if each.pixels is not None
    ][:_SCORED]
    if not good:
        raise CleverError(
            f"none of the {len(loaded)} pictures that were tried can be read",
            "pictures to measure with",
            "check --images, or choose some of them by --include",
        )
    settings = scorer.settings
    samples = min(settings.batch_samples, _GRADIENTS // FIRST_LOOK)
    short = replace(
        settings,
        n_batches=FIRST_LOOK,
        batch_samples=samples,
        max_gradients=max(FEWEST_GRADIENTS, FIRST_LOOK * samples),
    )
    measuring = replace(scorer, settings=short)
    assert scorer.engine.choice is not None
    measuring.engine.settle(scorer.engine.choice)
    for _ in range(2):
        begin = time.monotonic()
        table = measuring.piece(good, silent).table
        rate = float(table["n_gradients"].sum()) / (time.monotonic() - begin)
    return max(rate, 1e-3)
