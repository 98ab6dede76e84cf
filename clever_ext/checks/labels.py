"""Whether there are labels, and whether they can be the model's."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Finding
from ..inputs.labels import of_answers
from .looked import Looked


def of_labels(looked: Looked) -> Iterator[Finding]:
    """Compare the labels with the model's answers, and with other ways to read them."""
    if looked.labels is None:
        yield Finding(
            "labels",
            "no labels: wrong answers of the model are scored as if they were right",
            "give labels if there are some; --labels none of the command line says that there are "
            "not",
        )
        return
    n_classes = looked.subjects.logits.shape[1]
    yield of_answers(looked.labels, looked.subjects.predicted, n_classes, looked.readings)
