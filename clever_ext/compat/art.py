"""CLEVER scores with the signatures of the Adversarial Robustness Toolbox, `art.metrics`.

Change the import, and nothing else::

    from clever_ext.compat.art import clever, clever_t, clever_u  # was: from art.metrics import ...

What differs, and why: docs/guide/from-art.md. The toolbox is not imported here, nor needed: an
estimator of its own brings it along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..arguments import integers, is_several, number, shown
from ..classifier.oracle import GradientOracle
from ..errors import CleverError
from ..kernels.balls import Norm, check_norm, check_radius
from ..models.art_estimators import bounds_by_value, clip_of, is_of_torch, network_of, within
from ..scoring import clever_score

__all__ = ["as_model", "clever", "clever_t", "clever_u"]


def clever(
    classifier: Any,
    x: Any,
    nb_batches: int,
    batch_size: int,
    radius: float,
    norm: Norm,
    target: Any = None,
    target_sort: bool = False,
    c_init: float = 1.0,  # noqa: ARG001
    pool_factor: int = 10,
    verbose: bool = True,
) -> npt.NDArray[Any]:
    """Score one input against each of several classes.

    Args:
        classifier: An estimator with `predict` and `class_gradient`; see `as_model`. Samples are
            held within its `clip_values`.
        x: [*shape], one input; scores are in its units.
        nb_batches: N_b, the number of batch maxima.
        batch_size: N_s, the fresh samples of each.
        radius: R, of the ball that is sampled; no score is larger.
        norm: p with 1 <= p <= inf.
        target: A class, or several; None: all but the predicted one.
        target_sort: Whether, without a target, the classes are in the order of their logits, the
            least likely first; otherwise they are in the order of their numbers.
        c_init: Used for nothing. In the toolbox the fit's first guess of the law's shape; our fit
            looks at all shapes.
        pool_factor: Used for nothing, and at least 1. In the toolbox batch_size times so many
            samples are drawn in all, and every maximum is taken over some of them; here each has
            samples of its own, nb_batches times batch_size of them.
        verbose: Whether a bar is shown.

    Returns:
        [T], a score for each class; of type object where one is the predicted class: its score is
        None. NaN where a gradient is NaN or infinite.

    Raises:
        CleverError: an argument or the estimator is unfit.
    """
    _check_pool(pool_factor)
    predicted, logits = _predicted(classifier, x)
    if target is not None:
        classes = _classes(target if is_several(target) else [target])
    elif target_sort:
        classes = [int(j) for j in np.argsort(logits)[:-1]]
    else:
        classes = [j for j in range(len(logits)) if j != predicted]
    others = [j for j in classes if j != predicted]
    scores = _scores(classifier, x, others, nb_batches, batch_size, radius, norm, bool(verbose))
    return np.array([scores.get(j) for j in classes])


def clever_u(
    classifier: Any,
    x: Any,
    nb_batches: int,
    batch_size: int,
    radius: float,
    norm: Norm,
    c_init: float = 1.0,  # noqa: ARG001
    pool_factor: int = 10,
    verbose: bool = True,
) -> float:
    """Score one input against all other classes: the smallest of their scores.

    Args:
        classifier: See `clever`; so do all that follow.
        x: [*shape], one input.
        nb_batches: N_b.
        batch_size: N_s.
        radius: R.
        norm: p.
        c_init: Used for nothing.
        pool_factor: Used for nothing.
        verbose: Whether a bar is shown.

    Returns:
        The score; NaN where one of the scores is.

    Raises:
        CleverError: an argument or the estimator is unfit.
    """
    _check_pool(pool_factor)
    predicted, logits = _predicted(classifier, x)
    others = [j for j in range(len(logits)) if j != predicted]
    scores = _scores(classifier, x, others, nb_batches, batch_size, radius, norm, bool(verbose))
    return np.min(list(scores.values()))  # type: ignore[no-any-return]


def clever_t(
    classifier: Any,
    x: Any,
    target_class: int,
    nb_batches: int,
    batch_size: int,
    radius: float,
    norm: Norm,
    c_init: float = 1.0,  # noqa: ARG001
    pool_factor: int = 10,
) -> float:
    """Score one input against one class.

    Args:
        classifier: See `clever`; so do all that follow.
        x: [*shape], one input.
        target_class: The class; not the predicted one.
        nb_batches: N_b.
        batch_size: N_s.
        radius: R.
        norm: p.
        c_init: Used for nothing.
        pool_factor: Used for nothing.

    Returns:
        The score; NaN where a gradient is NaN or infinite.

    Raises:
        CleverError: the target is the predicted class, or an argument or the estimator is unfit.
    """
    _check_pool(pool_factor)
    predicted, _ = _predicted(classifier, x)
    (target,) = _classes([target_class])
    if target == predicted:
        raise CleverError(
            f"target_class={shown(target_class)} is the class predicted for x",
            "another class",
            "choose another target, or clever_u for the smallest score of all others",
        )
    scores = _scores(classifier, x, [target], nb_batches, batch_size, radius, norm, False)
    return scores[target]


def as_model(classifier: Any) -> torch.nn.Module | GradientOracle:
    """Return what `clever_score` scores of an estimator of the toolbox, with all that it offers.

    Of a PyTorchClassifier it is the network in evaluation mode, with the estimator's preprocessing
    and defences in front of it. It is the network and the gradients that the estimator has by
    itself: `predict` and `class_gradient`, where these are not torch's alone, as with TensorFlow,
    Keras, scikit-learn, ensembles, and defences that are written in NumPy or change what is
    predicted. Clip values that differ from value to value are in it; one range for all is given to
    `clever_score` as `clip`.

    Example:
        model = cx.compat.art.as_model(classifier)
        result = cx.clever_score(model, images, clip=(0, 1), targets="top2", estimator="steepest")

    Args:
        classifier: An estimator with `predict` and `class_gradient`.

    Raises:
        CleverError: it has not both.
    """
    missing = [name for name in ("predict", "class_gradient") if not hasattr(classifier, name)]
    if missing:
        raise CleverError(
            f"classifier of type {type(classifier).__name__} has no {' and no '.join(missing)}",
            "an estimator of the toolbox with gradients",
            "wrap the network in PyTorchClassifier or its like; of trees and black boxes there are "
            "no gradients",
        )
    if is_of_torch(classifier):
        return network_of(classifier)
    return _EstimatorOracle(classifier, bounds_by_value(classifier))


class _EstimatorOracle:
    """Logits and gradients as an estimator gives them, in float32 and by way of NumPy."""

    def __init__(self, estimator: Any, held: Any) -> None:
        self.estimator, self.held = estimator, held

    def logits(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.estimator.predict(self._points(x))).to(x)

    def margin_gradients(self, x: Tensor, classes: Tensor, targets: Tensor) -> Iterator[Tensor]:
        points = self._points(x)
        of_class = self._gradients(points, classes)
        for target in targets.T:
            yield torch.from_numpy(of_class - self._gradients(points, target)).to(x)

    def _points(self, x: Tensor) -> npt.NDArray[np.float32]:
        return within(x, self.held).float().cpu().numpy()

    def _gradients(self, points: npt.NDArray[Any], classes: Tensor) -> npt.NDArray[Any]:
        """Return the gradient [B, *shape] of each point's class; each estimator takes integers."""
        of_rows, found = classes.cpu().numpy(), np.empty_like(points)
        for one in np.unique(of_rows):
            rows = of_rows == one
            gradients = self.estimator.class_gradient(points[rows], label=int(one))
            found[rows] = np.reshape(gradients, points[rows].shape)
        return found


def _predicted(classifier: Any, x: Any) -> tuple[int, npt.NDArray[Any]]:
    """Return the class predicted for one input [*shape], and its logits [K]."""
    as_model(classifier)  # says what is missing
    logits = np.asarray(classifier.predict(np.asarray(x, dtype=np.float32)[None]))[0]
    return int(np.argmax(logits)), logits


def _scores(
    classifier: Any,
    x: Any,
    targets: list[int],
    nb_batches: int,
    batch_size: int,
    radius: float,
    norm: Norm,
    progress: bool,
) -> dict[int, float]:
    """Return the score of each target."""
    if not targets:
        return {}
    p = check_norm(norm)
    result = clever_score(
        as_model(classifier), np.asarray(x, dtype=np.float32)[None], norm=p,
        radius=check_radius(radius, p), targets=[list(dict.fromkeys(targets))],
        n_batches=nb_batches, batch_samples=batch_size, clip=clip_of(classifier), progress=progress,
        model_name=type(classifier).__name__,
    )  # fmt: skip
    rows = result.table
    return dict(zip(rows["target"].astype(int), rows["score"].to_numpy(), strict=True))


def _classes(targets: Iterable[Any]) -> list[int]:
    """Return class numbers as a list."""
    given = list(targets)
    found = integers(given) if given else np.empty(0, np.int64)
    if found is None or found.ndim != 1:
        raise CleverError(
            f"{shown(given)} are no classes", "integers", "give the numbers of classes, e.g. 3"
        )
    return [int(j) for j in found]


def _check_pool(pool_factor: Any) -> None:
    """Refuse what the toolbox refuses."""
    if not number(pool_factor) >= 1:
        raise CleverError(
            f"pool_factor={shown(pool_factor)} is less than 1",
            "a number of at least 1",
            "leave it out: it changes nothing here",
        )
