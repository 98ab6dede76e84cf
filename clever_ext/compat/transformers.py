"""CLEVER scores of a fixed set of pictures while the Trainer of transformers trains."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from ..inputs.settings import EstimatorName
from .in_training import Pictures

__all__ = ["CleverTrainerCallback"]


class CleverTrainerCallback(TrainerCallback):
    """Scores pictures after each evaluation, and logs what their scores come to.

    Without evaluations in the training they are scored at the end of each epoch. What is logged are
    the numbers of `CleverResult.summary`, e.g. "eval_clever/l2/score_mean", and `evaluate` returns
    them among its metrics: `metric_for_best_model="clever/l2/score_mean"`. Callbacks that look at
    them are added behind this one. A search of hyperparameters adds up all metrics, unless it is
    told otherwise by `compute_objective`.

    The model is called as the Trainer calls it (under bf16 or fp16, where that is set), with the
    images as its first argument, in evaluation mode. The training is not changed by it: modes,
    statistics, gradients and random states are left as they were. The first process scores, and all
    get the same numbers. Before the training all is checked; what cannot be scored later on is
    said, and not logged.

    Args:
        trainer: The Trainer, to whose log the numbers go.
        images: [N, *shape], pixel values as the model takes them.
        labels: [N] true classes, or None. A misclassified image gets score 0.
        every_n_epochs: Epochs from one scoring to the next; all evaluations of an epoch count.
        name: What stands before the name of each number, after "eval_".
        estimator: "steepest" is 100 gradients for each image and target; "clever", the paper's, is
            512,000.
        **settings: Those of `clever_score`.

    Raises:
        CleverError: an argument is unfit; where the training begins also: the model or a setting.
        TypeError: a setting is none of `clever_score`.

    Example:
        trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=test)
        trainer.add_callback(CleverTrainerCallback(trainer, images, labels))
    """

    def __init__(
        self,
        trainer: Any,
        images: Any,
        labels: Any = None,
        *,
        every_n_epochs: int = 1,
        name: str = "clever",
        estimator: EstimatorName = "steepest",
        **settings: Any,
    ) -> None:
        settings["estimator"] = estimator
        self._trainer = trainer
        self._pictures = Pictures(images, labels, every_n_epochs, f"eval_{name}", settings)
        self._step = -1

    def on_train_begin(
        self,
        args: Any,  # noqa: ARG002
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Check model and pictures."""
        self._step = -1
        self._pictures.check(given["model"])

    def on_evaluate(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Score and log, once at a step: there is an evaluation of each of several data sets."""
        if self._trainer.is_in_train and state.global_step == self._step:
            return
        self._step = state.global_step
        given["metrics"].update(self._logged(state, given["model"]))

    def on_epoch_end(
        self,
        args: Any,
        state: Any,
        control: Any,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Score and log where there are no evaluations."""
        if args.eval_strategy == "no":
            self._logged(state, given["model"])

    def _logged(self, state: Any, model: Any) -> dict[str, float]:
        if not self._pictures.due(math.ceil(state.epoch or 0)):
            return {}
        numbers = self._pictures.numbers(model)
        if numbers:
            self._trainer.log(dict(numbers))
        return numbers
