"""Scores pictures together; one that cannot be scored becomes a row that says why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..classifier.calling import PassFailedError
from ..data import ImageRecord, ImageSource
from ..data.loading import Loaded, Loader
from ..engine.choice import Choice
from ..engine.engine import Engine
from ..engine.preparation import Prepare
from ..engine.trials import pass_seconds
from ..errors import CleverError
from ..estimators.subjects import Subjects, all_logits
from ..estimators.table import check_settings, names, settled
from ..inputs.batch import Batch, DeviceBatch, check_batch, check_candidates, check_device_batch
from ..inputs.settings import EstimatorName, Settings
from ..kernels.balls import as_layout
from ..models.loaded import LoadedModel
from ..progress import Progress
from ..results.brackets import with_deciding_points
from ..results.result import CleverResult, make_table
from ..scoring import score_batch
from .candidates import Candidates
from .outcome import NothingScoredError

#: What the paper draws for a score: N_b and N_s.
_BATCHES, _SAMPLES = 500, 1024
#: Pictures that are loaded at a time, in search of one that can be read.
_SEARCHED = 16
#: Of a pass that tells the speed: points at first, and targets, at most; seconds at least.
_TRIED, _ENOUGH = 8, 0.1


@dataclass
class Scorer:
    """A model, and how to score with it.

    Attributes:
        model: Where it is to run.
        settings: Of the scores.
        device_batch: How many points go through the model at once, or "auto".
        dtype: Of images and samples; None: the model's.
        prepare: As for `clever_score`.
        threads: Of the CPU, where a number was asked for: a run that goes on uses those that it
            began with, since they share out sums.
        candidates: Points that a search looks at too; checked when the first picture is read.
    """

    model: LoadedModel
    settings: Settings
    device_batch: DeviceBatch = "auto"
    dtype: torch.dtype | None = None
    prepare: Prepare = "auto"
    threads: int | None = None
    candidates: Candidates | None = None

    @classmethod
    def of(
        cls,
        model: LoadedModel,
        *,
        estimator: EstimatorName | None = None,
        n_batches: int | None = None,
        batch_samples: int | None = None,
        tolerance: float | None = None,
        race: bool = False,
        candidates: str | os.PathLike[str] | None = None,
        device_batch: DeviceBatch = "auto",
        dtype: torch.dtype | None = None,
        prepare: Prepare = "auto",
        threads: int | None = None,
        called: Callable[[str], str] = str,
        **settings: Any,
    ) -> Scorer:
        """Return a model and how to score with it, where a bracket is what is meant by default.

        Args:
            model: Where it is to run.
            estimator: None: "steepest", or "clever" where one of the next four is given.
            n_batches: As for `clever_score`, like what is not named here.
            batch_samples: Likewise.
            tolerance: Likewise.
            race: Likewise.
            candidates: A file of points.
            device_batch: Of the scorer, like the next three.
            dtype: Likewise.
            prepare: Likewise.
            threads: Likewise.
            called: From the name of an argument to what the user calls it.
            settings: Of `check_settings`.

        Raises:
            CleverError: one of them is something else than it should be.
        """
        of_clever = {
            "n_batches": n_batches,
            "batch_samples": batch_samples,
            "tolerance": tolerance,
            "race": race or None,
        }
        given = [called(name) for name, value in of_clever.items() if value is not None]
        if estimator is None:
            estimator = "clever" if given else "steepest"
        elif given and estimator in names() and estimator != "clever":
            raise CleverError(
                f"{' '.join(given)} with {called('estimator')} {estimator}",
                "options of that estimator",
                f"leave them out, or give {called('estimator')} clever",
            )
        found = check_settings(
            **settings,
            estimator=estimator,
            n_batches=_BATCHES if n_batches is None else n_batches,
            batch_samples=_SAMPLES if batch_samples is None else batch_samples,
            tolerance=tolerance,
            race=race,
            candidates=candidates,
        )
        points = None if candidates is None else Candidates(candidates)
        return cls(model, found, device_batch, dtype, prepare, threads, points)

    @cached_property
    def engine(self) -> Engine:
        """What makes the passes, for all the pieces."""
        device_batch = check_device_batch(self.device_batch)
        return Engine(self.model, self.prepare, device_batch)

    def first(self, source: ImageSource, loader: Loader) -> Batch:
        """Return the first picture that can be read, as the model gets it.

        Raises:
            NothingScoredError: there is none.
            CleverError: the model does not take it, or candidates do not suit the pictures.
        """
        channels = self.model.preprocessing.channels
        if source.of_files and channels not in (None, 1, 3):
            raise CleverError(
                f"channels is {channels}, and the pictures are files",
                "3 for RGB or 1 for grey",
                "leave --channels out, or save the model's inputs as numbers in a .npy file",
            )
        why: CleverError | None = None
        for start in range(0, len(source), _SEARCHED):
            records = [source[n] for n in range(start, min(start + _SEARCHED, len(source)))]
            for loaded in loader.submit(records).result():
                if loaded.pixels is not None:
                    first = self.batch([loaded], labels=False)
                    self._check_candidates(source, first)
                    return first
                why = why or loaded.error
        assert why is not None
        raise NothingScoredError(
            f"none of the {len(source)} pictures can be read; the first: {why.wrong}",
            "at least one picture",
            f"{why.fix}; or check --images and the place where they are stored",
        )

    def _check_candidates(self, source: ImageSource, first: Batch) -> None:
        if self.candidates is not None:
            self.candidates.check(source, tuple(first.images.shape[1:]), self.settings.clip)
            self.settings = replace(self.settings, candidates=self.candidates.most)

    def look(self, first: Batch) -> Subjects:
        """Check the model, and the settings against it, by one picture.

        The settings become those that are meant for the model's classes.

        Raises:
            CleverError: the model cannot be scored, or a setting does not suit it.
        """
        with self.engine.running(first.images.device):
            try:
                self.engine.check(first.images, self.settings.balls, self.settings.clip)
            except PassFailedError as error:
                fix = (
                    "give --image-size, and --channels 1 for grey, as the model was trained; or "
                    + error.fix
                )
                raise CleverError(error.wrong, error.expected, fix) from error
            # As if it were misclassified: a target that is its class concerns this picture alone.
            logits = all_logits(self.engine, first)
            n_classes = logits.shape[1]
            settings = self.settings = settled(self.settings, n_classes)
            wrong = (logits.argmax(axis=1) + 1) % n_classes
            other = replace(first, labels=wrong)
            return Subjects(self.engine, other, settings.targets, settings.seed, logits=logits)

    def choose(self, subjects: Subjects, n_gradients: int) -> Choice:
        """Find the fastest way to make the passes of so many gradients, by trials."""
        engine, these = self.engine, np.array([0])
        with engine.running(subjects.batch.images.device):
            engine.ready(*subjects.tensors(these, subjects.targets[these]), n_gradients)
        assert engine.choice is not None
        return engine.choice

    def speed(self, subjects: Subjects) -> float:
        """Measure gradients per second, by passes like those to come, of a tenth of a second."""
        engine, these = self.engine, np.array([0])
        with engine.running(subjects.batch.images.device):
            image, classes, targets = subjects.tensors(these, subjects.targets[these, :_TRIED])
            most, oracle = engine.plan.device_batch, engine.plan.oracle
            n = most if engine.plan.fixed_batch else min(most, _TRIED)
            while True:
                points = as_layout(image.expand(n, *image.shape[1:]), engine.memory_format)
                how = oracle, points, classes.expand(n), targets.expand(n, -1)
                seconds = min(pass_seconds(*how) for _ in range(2))
                if n == most or seconds > _ENOUGH:
                    return n * targets.shape[1] / max(seconds, 1e-9)
                n = min(4 * n, most)

    def batch(self, loaded: Sequence[Loaded], labels: bool = True) -> Batch:
        """Return pictures that were read as the model gets them."""
        of_records = [each.record.label for each in loaded] if labels else [None]
        return check_batch(
            torch.stack([each.pixels for each in loaded if each.pixels is not None]),
            None if None in of_records else np.array(of_records),
            np.array([each.record.image_id for each in loaded]),
            self.model.model,
            None,
            self.dtype,
            self.settings,
            [each.record.name for each in loaded],
        )

    def _score(self, loaded: Sequence[Loaded], progress: Progress) -> CleverResult:
        """Score pictures of which all are labelled or none, and have as many candidates."""
        batch = self.batch(loaded)
        if self.candidates is not None and self.candidates.count(loaded[0].record):
            points = np.stack([self.candidates.of(each.record) for each in loaded])
            batch = replace(batch, candidates=check_candidates(points, batch.images))
        with warnings.catch_warnings():
            # What an interrupted call keeps is of no use here: a piece is whole or it is not.
            warnings.filterwarnings("ignore", message="interrupted")
            result = score_batch(self.engine, batch, self.settings, progress, self.model.name)
        if self.settings.keep_witness:
            result = with_deciding_points(result)
        return result

    def _score_or_error(self, loaded: Sequence[Loaded], progress: Progress) -> list[CleverResult]:
        """Score pictures together; where that is refused, one by one, to keep what can be kept."""
        try:
            return [self._score(loaded, progress)] if loaded else []
        except CleverError as error:
            if len(loaded) == 1:
                return [self._error_row(loaded[0].record, error)]
        return [part for each in loaded for part in self._score_or_error([each], progress)]

    def piece(self, loaded: Sequence[Loaded], progress: Progress) -> CleverResult:
        """Score some pictures, or say of each why it has no score.

        The rows stand in the order of the pictures.

        Raises:
            KeyboardInterrupt: it was stopped before all were scored.
        """
        good = [each for each in loaded if each.pixels is not None]
        bad = [
            self._error_row(each.record, each.error) for each in loaded if each.error is not None
        ]
        alike: dict[int, list[Loaded]] = {}
        for each in good:
            count = 0 if self.candidates is None else self.candidates.count(each.record)
            alike.setdefault(count, []).append(each)
        parts = [part for some in alike.values() for part in self._score_or_error(some, progress)]
        if not all(part.metadata.get("complete", True) for part in parts):
            raise KeyboardInterrupt
        result = CleverResult.concatenate(parts + bad)
        place = {each.record.image_id: n for n, each in enumerate(loaded)}
        order = np.argsort(result.table["image_id"].map(place).to_numpy(), kind="stable")
        return CleverResult(result.table.iloc[order].reset_index(drop=True), result.metadata)

    def _error_row(self, record: ImageRecord, error: CleverError) -> CleverResult:
        rows: dict[str, Any] = {
            "image_id": [record.image_id],
            "image": [record.name],
            "label": [record.label],
            "status": ["error"],
            "estimator": [self.settings.estimator],
            "error": [str(error)],
        }
        return CleverResult(make_table(rows))
