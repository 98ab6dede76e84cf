"""CLEVER scores of a fixed set of pictures while Lightning trains."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:  # the same by its other name
    from pytorch_lightning import Callback

from ..inputs.settings import EstimatorName
from .in_training import Pictures

__all__ = ["CleverCallback"]


class CleverCallback(Callback):
    """Scores pictures at the end of each validation, and logs what their scores come to.

    Without a validation they are scored at the end of each training epoch. What is logged are the
    numbers of `CleverResult.summary`, e.g. "clever/l2/score_mean", which other callbacks can
    monitor; in the list of callbacks they stand behind this one.

    The LightningModule itself is called, as `model(images)`, in evaluation mode, in the type of its
    weights and without autocast. The training is not changed by it: modes, statistics, gradients
    and random states are left as they were. The first process scores, and all log the same numbers.
    Before the training all is checked; what cannot be scored later on is said, and not logged.

    Args:
        images: [N, *shape], as the model takes them.
        labels: [N] true classes, or None. A misclassified image gets score 0.
        every_n_epochs: Epochs from one scoring to the next.
        name: What stands before the name of each number.
        estimator: "steepest" is 100 gradients for each image and target; "clever", the paper's, is
            512,000.
        **settings: Those of `clever_score`.

    Raises:
        CleverError: an argument is unfit; where the training begins also: the model or a setting.
        TypeError: a setting is none of `clever_score`.

    Example:
        score = CleverCallback(images, labels, clip=(0, 1))
        stop = EarlyStopping(monitor="clever/l2/score_mean", mode="max")
        Trainer(callbacks=[score, stop]).fit(model, data)
    """

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        *,
        every_n_epochs: int = 1,
        name: str = "clever",
        estimator: EstimatorName = "steepest",
        **settings: Any,
    ) -> None:
        super().__init__()
        settings["estimator"] = estimator
        self._pictures = Pictures(images, labels, every_n_epochs, name, settings)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Check model and pictures."""
        self._pictures.check(pl_module)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Score and log."""
        if not trainer.sanity_checking:
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Score and log where there is no validation."""
        if not trainer.enable_validation:
            self._log(trainer, pl_module)

    def _log(self, trainer: Any, pl_module: Any) -> None:
        if self._pictures.due(trainer.current_epoch + 1):
            numbers = self._pictures.numbers(pl_module)
            # All processes have the same numbers; without the mean over them Lightning warns.
            pl_module.log_dict(numbers, batch_size=1, sync_dist=True)
