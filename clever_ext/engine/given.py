"""The model as it was given, and a copy of it where its weights are changed under way."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..classifier.calling import check_kind
from ..classifier.oracle import CheckedOracle, GradientOracle, TorchOracle
from ..classifier.process_state import check_no_transform, usable, weight_versions
from ..errors import CleverError
from .plan import Plan
from .preparation import CannotPrepareError, Prepared, apply


class GivenModel:
    """What passes go through.

    Args:
        model: A module or callable, [B, *shape] -> logits [B, K], or a GradientOracle.

    Raises:
        CleverError: it is something else, or is given where nothing can be scored.

    Attributes:
        name: Of its class.
        model: The model; what returns its logits alone, once it is known to return more.
        passed: What passes go through: the model, or a copy since its weights were changed.
        is_oracle: Whether it is a GradientOracle, which computes gradients by itself.
        one_forward: Whether one forward pass serves all the targets, as far as is known.
    """

    def __init__(self, model: Any) -> None:
        check_no_transform()
        check_kind(model)
        self.name = type(model).__name__
        self.model = self.passed = usable(model)
        module = isinstance(self.model, torch.nn.Module)
        self.is_oracle = isinstance(self.model, GradientOracle) and not module
        self.one_forward = True
        self._weights: tuple[int, ...] = ()

    def take(self, classifier: Any, one_forward: bool) -> None:
        """Take a classifier that was made of `passed`, and was checked, for the model."""
        if self.model is self.passed:
            self.model = classifier
        self.passed, self.one_forward = classifier, one_forward

    def watch_weights(self) -> None:
        """Tell changes of the weights from now on."""
        self._weights = weight_versions(self.model)

    def weights_changed(self) -> bool:
        """Tell whether the model's weights were written to since they are watched."""
        return weight_versions(self.model) != self._weights

    def copied_since_weights_changed(self) -> bool:
        """Tell whether passes go through a copy, which is made now where weights have changed."""
        if self.passed is self.model and self.weights_changed():
            self.passed = copy.deepcopy(self.model)
        return self.passed is not self.model

    def oracle(self, model: Any, batched_backward: bool = False) -> GradientOracle:
        """Return what gives gradients of the model, or of what was made of it."""
        if self.is_oracle:
            return CheckedOracle(model)
        return TorchOracle(model, batched_backward=batched_backward, one_forward=self.one_forward)

    def own_plan(self, size: int, clipped: bool) -> Plan:
        """Return passes through the model as it is."""
        oracle = self.oracle(self.passed)
        return Plan(oracle, size, clipped=clipped, otherwise=self.through_a_copy)

    def through_a_copy(self, plan: Plan, _: Exception) -> GradientOracle | None:
        """Go on by a copy where the model's weights are changed under way, as by training it."""
        oracle = plan.oracle
        if not self.copied_since_weights_changed():
            return None
        if isinstance(oracle, TorchOracle) and oracle.model is self.passed:
            return None
        return self.oracle(self.passed)

    def prepared(self, options: tuple[str, ...], points: Tensor) -> Prepared:
        """Apply options that were asked for.

        Raises:
            CleverError: they do not suit the model.
        """
        if self.is_oracle:
            return Prepared(self.model)
        try:
            return apply(self.passed, options, points)
        except CannotPrepareError as error:
            if self.passed is self.model and self.copied_since_weights_changed():
                return self.prepared(options, points)  # they may have changed on the way
            raise CleverError(
                f"the model cannot be prepared by {', '.join(options)}: {error}",
                "options that suit the model",
                'leave it out of prepare, or write prepare="auto"',
            ) from error
