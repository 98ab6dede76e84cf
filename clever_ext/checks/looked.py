"""What a few images show of a model, its labels and what scores will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..cost import Passes, measure_passes
from ..engine.engine import Engine
from ..estimators.subjects import Ints, Subjects, all_logits
from ..estimators.table import settled
from ..inputs.batch import Batch
from ..inputs.settings import Settings


@dataclass(frozen=True)
class Looked:
    """A model's passes at some of the images.

    Attributes:
        settings: Of the scores, with the targets that are meant for the model's classes.
        subjects: The images and their logits; none counts as misclassified.
        labels: [n] true classes, or None.
        readings: Other ways to read them; see `of_answers`.
        n_images: Of the whole, from which these were taken.
    """

    settings: Settings
    subjects: Subjects
    labels: Ints | None
    readings: Mapping[str, tuple[Ints, str]]
    n_images: int

    @cached_property
    def passes(self) -> Passes:
        """What the passes take, which is timed when it is asked for."""
        with self.subjects.engine.running(self.subjects.batch.images.device):
            return measure_passes(self.subjects)


def look(
    engine: Engine,
    batch: Batch,
    settings: Settings,
    n_images: int,
    readings: Mapping[str, tuple[Ints, str]] | None = None,
) -> Looked:
    """Check the model by some images.

    Args:
        engine: Of the model.
        batch: Some of the images, with their labels where they have some.
        settings: Of the scores.
        n_images: Of the whole.
        readings: See `Looked`.

    Raises:
        CleverError: the model cannot be scored, or the settings do not suit it.
    """
    with engine.running(batch.images.device):
        engine.check(batch.images, settings.balls, settings.clip)
        unlabelled = replace(batch, labels=None)
        logits = all_logits(engine, unlabelled)
        settings = settled(settings, logits.shape[1])
        subjects = Subjects(engine, unlabelled, settings.targets, settings.seed, logits=logits)
    return Looked(settings, subjects, batch.labels, readings or {}, n_images)
