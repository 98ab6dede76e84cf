"""Estimators of the Adversarial Robustness Toolbox: `art:module.path:factory`, and their networks.

The toolbox is not imported here: the factory brings it along. As other factories, it is code of a
module that is run.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import check_image_size
from ..errors import CleverError
from ..findings import Finding
from . import factories
from .source import DEFAULT_IMAGE_SIZE, Network, Request
from .weights import load_weights

#: Where the toolbox has the estimator whose network torch can differentiate at once.
_OF_TORCH = "art.estimators.classification.pytorch"
#: What such an estimator has in front of its network, also where there is nothing to do.
_STANDARDISATION = "StandardisationMeanStdPyTorch"


def load(request: Request) -> Network:
    """Load the network of an estimator that a factory makes, and what stands in front of it."""
    description = request.spec.removeprefix("art:")
    estimator: Any = factories.made(description)
    if isinstance(estimator, nn.Module):
        raise CleverError(
            f"{description!r} returned a torch.nn.Module",
            "an estimator of the toolbox, behind art:",
            f"name it {description}, without art:",
        )
    if not is_of_torch(estimator):
        raise CleverError(
            f"{description!r} returned an object of type {type(estimator).__name__}, which torch "
            "alone does not differentiate",
            "a PyTorchClassifier of the toolbox, without defences that are written in NumPy or "
            "change what is predicted",
            "score it in Python by `cx.compat.art.clever`, or give `cx.compat.art.as_model(it)` to "
            "`cx.clever_score`: they use its own gradients",
        )
    findings = load_weights(estimator.model, request.weights) if request.weights else []
    own = estimator.input_shape
    channels, size = (own[0], check_image_size(own[1:])) if len(own) == 3 else (None, None)
    return Network(
        model=network_of(estimator),
        name=request.spec,
        image_size=request.image_size or size or DEFAULT_IMAGE_SIZE,
        channels=channels,
        findings=(*findings, *_of_units(estimator)),
    )


def _of_units(estimator: Any) -> list[Finding]:
    """Say where an estimator's data are no pixels in [0, 1], which pictures become here."""
    held = clip_of(estimator)
    if held in (None, (0.0, 1.0)):
        return []
    said = f"the estimator's clip_values are {held}, and pictures become pixels in [0, 1]"
    fix = "make it with clip_values=(0, 1), or give mean and std that lead from one to the other"
    return [Finding("units", said, fix)]


def network_of(classifier: Any) -> nn.Module:
    """Return the network of a PyTorchClassifier, with preprocessing and defences in front of it."""
    network: nn.Module = classifier.model.eval()  # as its predict has it
    steps = [each for each in classifier.preprocessing_operations if _does_something(each)]
    held = bounds_by_value(classifier)
    return _Prepared(network, steps, held).eval() if steps or held is not None else network


class _Prepared(nn.Module):
    """The network of an estimator, with what is done to its inputs in front of it."""

    def __init__(self, network: nn.Module, steps: list[Any], held: Any) -> None:
        super().__init__()
        self.network, self.steps, self.held = network, steps, held

    def forward(self, x: Tensor) -> Any:
        x = within(x, self.held)
        for step in self.steps:
            x, _ = step.forward(x)
        return self.network(x)


def is_of_torch(classifier: Any) -> bool:
    """Tell whether torch alone computes what an estimator predicts, and its gradients."""
    module = sys.modules.get(_OF_TORCH)  # where it is not imported, nothing is of it
    kind, own = getattr(module, "PyTorchClassifier", None), type(classifier)
    return (
        kind is not None
        and isinstance(classifier, kind)
        and own.predict is kind.predict
        and own.class_gradient is kind.class_gradient
        and classifier.all_framework_preprocessing
        and not classifier.postprocessing_defences
        and not classifier.is_rnn  # a GPU differentiates these in training mode alone
    )


def _does_something(step: Any) -> bool:
    """Tell whether a step changes what is predicted."""
    if type(step).__name__ == _STANDARDISATION and not np.any(step.mean) and np.all(step.std == 1):
        return False
    return bool(step.apply_predict)


def bounds_by_value(classifier: Any) -> tuple[Any, Any] | None:
    """Return the ends of valid data, as arrays, where they differ from value to value."""
    bounds = _bounds(classifier)
    return None if _one_range(bounds) else bounds


def clip_of(classifier: Any) -> tuple[float, float] | None:
    """Return the range that samples are held in; None where there is none, or not one for all."""
    bounds = _bounds(classifier)
    if bounds is None or not _one_range(bounds):
        return None
    return float(bounds[0].flat[0]), float(bounds[1].flat[0])


def _bounds(classifier: Any) -> tuple[Any, Any] | None:
    """Return the ends of an estimator's valid data, as arrays; None where it has none."""
    given = getattr(classifier, "clip_values", None)
    return None if given is None else (np.asarray(given[0]), np.asarray(given[1]))


def _one_range(bounds: tuple[Any, Any] | None) -> bool:
    return bounds is None or all(np.all(each == each.flat[0]) for each in bounds)


def within(x: Tensor, held: tuple[Any, Any] | None) -> Tensor:
    """Return points held within bounds of their own; gradients are those of the held points."""
    if held is None:
        return x
    low, high = (torch.as_tensor(each).to(x) for each in held)
    return x + (x.clamp(low, high) - x).detach()
