"""A CLEVER score as a metric of TorchMetrics."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ..arguments import is_several, shown
from ..errors import CleverError
from ..findings import Finding, warn
from ..inputs.settings import EstimatorName
from ..scoring import clever_score
from .in_training import place, score

__all__ = ["CleverScore"]

_numbers = itertools.count()


class _Reference:
    """Holds a model that is no part of its holder: a copy of the holder holds the same model.

    Where the model itself is being copied, with the holder inside it, the copies belong together.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> _Reference:
        return _Reference(memo.get(id(self.model), self.model))


class CleverScore(Metric):
    """The mean score of all images, each one's smallest over its targets.

    `update` scores a batch, and `compute` returns the mean as a float64 tensor without axes. The
    model is scored as it is at each update, in evaluation mode; modes, statistics, gradients and
    random states are left as they were. It is no part of the metric: not of its `state_dict`, and a
    copy of the metric scores the same model.

    Images count on from update to update, from 0 after each reset, and image k of R processes that
    is the n-th of process r has the id n R + r. It is the place that a DistributedSampler without
    shuffling took it from. So the scores depend neither on batches nor on the number of processes.

    Args:
        model: See `clever_score`; so is all that is not explained here.
        estimator: "steepest" is 100 gradients for each image and target; "clever", the paper's, is
            512,000.
        **settings: Those of `clever_score`, with one norm, and those of `torchmetrics.Metric`.

    Raises:
        CleverError: there are several norms.
        ValueError: a setting is of neither.

    Example:
        >>> import torch
        >>> from clever_ext.compat.torchmetrics import CleverScore
        >>> metric = CleverScore(torch.nn.Linear(4, 3), clip=(0, 1))
        >>> for batch in torch.rand(6, 4).split(2):
        ...     metric.update(batch)
        >>> metric.compute().shape
        torch.Size([])
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    scored: Tensor
    images: Tensor

    def __init__(
        self, model: Any, *, estimator: EstimatorName = "steepest", **settings: Any
    ) -> None:
        ours = inspect.signature(clever_score).parameters.keys() - {"labels", "image_ids"}
        super().__init__(**{name: settings[name] for name in settings.keys() - ours})
        if is_several(settings.get("norm")):
            raise CleverError(
                f"norm={shown(settings['norm'])} are several",
                "one norm: a metric is one number",
                "make a CleverScore of each, and put them into a MetricCollection",
            )
        self._model = _Reference(model)
        self._settings = {name: settings[name] for name in settings.keys() & ours}
        self._settings["estimator"] = estimator
        self._before: int | None = None
        for name in ("total", "scored", "images"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        # Collections update but one of the metrics whose states are equal after the first batch, as
        # those of two norms are where all scores are 0. This keeps each apart.
        self.add_state("number", torch.tensor(next(_numbers)), dist_reduce_fx="max")

    def update(self, images: Any, labels: Any = None) -> None:
        """Score a batch.

        Args:
            images: [N, *shape].
            labels: [N] true classes, or None. A misclassified image gets score 0.

        Raises:
            CleverError: an argument or the model is unfit.
        """
        rank, ranks = place()
        first = int(self.images) if self._before is None else self._before
        ids = (first + np.arange(len(images))) * ranks + rank
        result = score(self._model.model, images, labels, image_ids=ids, **self._settings)
        (scores,) = result.scores.values()
        known = scores[~np.isnan(scores)]
        # Not in place: states may have been made in inference mode.
        self.total = self.total + float(known.sum())
        self.scored = self.scored + len(known)
        self.images = self.images + len(scores)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Score a batch, and return the mean of its scores."""
        self._before = int(self.images)  # torchmetrics resets the states for the batch's own value
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._before = None

    def compute(self) -> Tensor:
        """Return the mean of the scores of all images that have one, which is said of the others.

        It is NaN where none has.
        """
        lost = int(self.images - self.scored)
        if lost:
            said = f"{lost} of {int(self.images)} images have no score: the mean is of the others"
            warn([Finding("model", said, "see the statuses in the table of clever_score for them")])
        return self.total / self.scored

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value or several over the steps, as other metrics do; needs matplotlib.

        Args:
            val: What `compute` or `forward` returned, or a list of these; None: `compute()`.
            ax: Axes to draw on; None: new ones.

        Returns:
            The figure and its axes.
        """
        return self._plot(val, ax)
