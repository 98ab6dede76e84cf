"""The paper's score: a fixed number of batches for each row (Weng et al. 2018, Algorithms 1, 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..engine.maxima import Sampling, sample_maxima
from ..inputs.settings import EstimatorName, Settings
from ..progress import Counter, Progress
from .background_fits import BackgroundFits, Fitted
from .protocol import Scored
from .subjects import Rows, Subjects
from .tables import score_columns, tabulate

if TYPE_CHECKING:
    import pandas as pd

NAME: EstimatorName = "clever"
OPTIONS: frozenset[str] = frozenset()
AT_MOST = False

#: Batch maxima that are kept on the device at a time, over all images and targets of one norm.
_MAXIMA_ON_DEVICE = 2**23
#: Images whose samples are drawn in one go.
_IMAGES_AT_ONCE = 64


def is_asked(settings: Settings) -> bool:
    """Tell whether settings ask for it, where they ask for no other of its name."""
    return settings.estimator == NAME


def check(_: Settings) -> None:
    """Refuse nothing: all that is left goes together."""


def budget(_: Settings) -> None:
    """Leave it to the number of batches."""


def score(subjects: Subjects, settings: Settings, progress: Progress) -> Scored:
    """Draw all batches of all rows, and fit them."""
    run, complete = _Run(subjects, settings), True
    with BackgroundFits(subjects.n_targets, settings.n_batches) as fits:
        try:
            run.sample(fits, progress)
        except KeyboardInterrupt:
            complete = False
        return Scored(run.table(fits.finish()), complete)


class _Run:
    """One call's fixed number of batches: the fits as they come in."""

    def __init__(self, subjects: Subjects, settings: Settings) -> None:
        self.subjects, self.settings = subjects, settings
        self.balls = settings.balls
        shape = (len(self.balls), *subjects.targets.shape)
        self.at_image = np.full(shape, np.nan)

    def sample(self, fits: BackgroundFits, progress: Progress) -> None:
        """Draw all the maxima, some images at a time, norm after norm."""
        settings, subjects = self.settings, self.subjects
        engine, scored, n_targets = subjects.engine, subjects.scored, subjects.n_targets
        each = settings.n_batches * n_targets
        at_once = max(1, min(_IMAGES_AT_ONCE, _MAXIMA_ON_DEVICE // each))
        total = len(scored) * len(self.balls) * each * settings.batch_samples
        counter = Counter(progress, total)
        for start in range(0, len(scored), at_once):
            these = scored[start : start + at_once]
            targets = subjects.targets[these]
            norms = [p for p, _ in self.balls]
            self.at_image[:, these] = subjects.of_targets(these, norms)
            engine.ready(*subjects.tensors(these, targets), total)
            tensors = subjects.tensors(these, targets)
            for n, (p, radius) in enumerate(self.balls):
                sampling = Sampling(
                    p=p,
                    radius=radius,
                    n_batches=settings.n_batches,
                    batch_samples=settings.batch_samples,
                    seed=settings.seed,
                    clip=settings.clip,
                    first_batch=settings.first_batch,
                )
                ids = subjects.batch.image_ids[these]
                found = sample_maxima(engine.plan, *tensors, ids, sampling, counter.add)
                for image, drawn in zip(these, found, strict=True):
                    fits.add((n, int(image)), drawn)

    def table(self, fitted: Fitted) -> pd.DataFrame:
        """Build the rows: image after image, target after target, ball after ball."""
        settings, subjects = self.settings, self.subjects
        keys = np.array(fitted.keys, dtype=np.int64).reshape(-1, 2)
        ball, image = np.repeat(keys, subjects.n_targets, axis=0).T
        target = np.tile(np.arange(subjects.n_targets), len(keys))
        order = np.lexsort((ball, target, image))
        ball, image, target = ball[order], image[order], target[order]
        norm, radius = np.array(self.balls)[ball].T
        rows = Rows(image, subjects.targets[image, target], norm, radius)
        maxima = fitted.maxima[order]
        largest = maxima.max(axis=1, initial=0.0)
        columns = score_columns(
            margin=subjects.margins(rows.image, rows.target),
            radius=rows.radius,
            max_norm=largest,
            norm_at_image=self.at_image[ball, image, target],
            nearest_flip=fitted.nearest_flip[order],
            vanishing=subjects.vanishing(rows, largest),
            fit=fitted.fit.rows(order),
        )
        n_gradients = settings.n_batches * settings.batch_samples
        columns |= {
            "n_batches": np.full(len(rows), settings.n_batches),
            "batch_samples": np.full(len(rows), settings.batch_samples),
            "n_gradients": np.full(len(rows), n_gradients),
            "maxima": list(maxima),
        }
        return tabulate(subjects, self.balls, rows, columns, NAME)
