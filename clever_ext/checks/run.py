"""What a run would be given, looked at before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..cost import of_cost
from ..data import ImageSource, resolve
from ..data.loading import Loader
from ..errors import CleverError
from ..estimators.subjects import Ints
from ..findings import Finding, Topic, of_concern
from ..runs.estimate import run_bytes
from ..runs.pieces import Pieces, piece_size
from ..runs.scorer import Scorer
from .call import SAMPLE
from .labels import of_labels
from .looked import Looked, look
from .masking import of_masking
from .model import of_model
from .pictures import of_pictures
from .place import of_machine, of_place
from .report import Checked
from .units import of_units

#: Values of the pictures that are looked at, at most.
_VALUES = 2**26


def check_run(
    source: ImageSource,
    scorer: Scorer,
    loader: Loader,
    out: str | os.PathLike[str],
    shard: tuple[int, int] = (0, 1),
) -> Checked:
    """Look at what a run would be given; nothing is written.

    Args:
        source: The pictures.
        scorer: Model and settings.
        loader: Of those pictures.
        out: The run's folder, which need not be there.
        shard: As for the run.
    """
    return Checked(_found(source, scorer, loader, out, shard, by_itself=True))


def look_at_run(
    source: ImageSource,
    scorer: Scorer,
    out: str | os.PathLike[str],
    shard: tuple[int, int],
    loader: Loader,
) -> list[Finding]:
    """Return what `check_run` finds that a run which begins all the same does not say by itself."""
    found = _found(source, scorer, loader, out, shard, by_itself=False)
    return [each for each in of_concern(found) if not each.refused]


def _found(
    source: ImageSource,
    scorer: Scorer,
    loader: Loader,
    out: str | os.PathLike[str],
    shard: tuple[int, int],
    by_itself: bool,
) -> list[Finding]:
    """Look; a check by itself goes on with masking and cost, which take passes of a few images."""
    found: list[Finding] = []
    topic: Topic = "pictures"
    try:
        first = scorer.first(source, loader)
        places = _places(len(source), first.images.numel())
        tried = loader.submit([source[place] for place in places]).result()
        found += of_pictures(source, scorer.model, tried, scorer.candidates)
        topic = "model"
        size = piece_size(scorer.look(first), scorer.settings)
        good = [each for each in tried if each.pixels is not None]
        batch = scorer.batch(good, labels=False) if good else first
        looked = look(scorer.engine, batch, scorer.settings, len(source))
        found += [*of_model(looked), *of_units(looked), *of_machine(batch.images.device)]
        pieces = Pieces(len(source), size, shard)
        n_images, n_targets = pieces.images(pieces.numbers), looked.subjects.n_targets
        if by_itself:
            found += of_masking(looked)
            found.append(of_cost(looked.settings, n_images, n_targets, looked.passes))
        n_rows = n_images * n_targets * len(looked.settings.balls)
        n_values, n_pieces = first.images.numel(), len(pieces.numbers)
        expected = run_bytes(looked.settings, n_images, n_rows, n_pieces, n_values)
        found += of_place(out, expected)
        topic = "labels"
        found += _of_labels(source, scorer, looked)
    except CleverError as error:
        found += [*source.findings, Finding.of(error, topic)]
    return found


def _places(n_images: int, values: int) -> Ints:
    """Places of pictures that are looked at, spread over all."""
    n = max(1, min(n_images, SAMPLE, _VALUES // max(1, values)))
    return np.unique(np.linspace(0, n_images - 1, n).astype(np.int64))


def _of_labels(source: ImageSource, scorer: Scorer, looked: Looked) -> Iterator[Finding]:
    """Tell where labels are from, and hold them against the model's answers."""
    n_classes = looked.subjects.logits.shape[1]
    resolved = resolve(source, n_classes, scorer.model.class_names)
    yield from resolved.findings
    if all(record.label is None for record in resolved):
        return
    place = {record.image_id: n for n, record in enumerate(resolved)}
    of_tried = [place[u] for u in looked.subjects.batch.image_ids.tolist()]
    (_, used), *others = resolved.readings().items()
    readings = {
        f"labels are read as {name!r}": (_numbers(labels, of_tried), f"say --label-order {name}")
        for name, labels in others
    }
    yield from of_labels(replace(looked, labels=_numbers(used, of_tried), readings=readings))


def _numbers(labels: Sequence[int | None], places: Sequence[int]) -> Ints:
    found = (labels[place] for place in places)
    return np.array([-1 if label is None else label for label in found], dtype=np.int64)
