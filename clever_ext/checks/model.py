"""What the model makes of some images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..classifier.bpda import approximates
from ..findings import Finding
from .looked import Looked

#: Images of which all are one class before that is strange.
_SAME_CLASS = 10


def of_model(looked: Looked) -> Iterator[Finding]:
    """Tell of the model's output and how it is computed, and what its checks saw."""
    subjects = looked.subjects
    engine, images, logits = subjects.engine, subjects.batch.images, subjects.logits
    n, n_classes = logits.shape
    dtype = str(images.dtype).removeprefix("torch.")
    yield Finding("model", f"{n_classes:,} logits, computed in {dtype} on {images.device}")
    yield Finding("model", "the same logits each time, and rows that do not influence each other")
    finite = logits[np.isfinite(logits)]
    if len(finite):
        yield Finding("model", f"logits from {finite.min():.4g} to {finite.max():.4g}")
    yield from engine.findings
    if approximates(engine.model):
        yield Finding(
            "model",
            "gradients are approximate: BPDA passes those of the model straight through the "
            "transformation before it",
        )
    if n >= _SAME_CLASS and len(np.unique(subjects.predicted)) == 1:
        yield Finding(
            "model",
            f"all {n} images that were tried are predicted as class {subjects.predicted[0]}",
            "see that the weights are loaded, and that the images have the range and the "
            "normalisation (mean, std) that the model was trained with",
        )
