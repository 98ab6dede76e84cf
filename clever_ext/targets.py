"""Which classes a score is taken against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import reference
from .errors import CleverError

Ints = npt.NDArray[np.int64]

#: The domain of the words that draw random targets; samples of images use small numbers.
_TARGET_DOMAIN = 0xFFFFFFFF


def _random_targets(classes: Ints, n_classes: int, seed: int, image_ids: Ints) -> Ints:
    """A class other than the predicted one, by counter: a function of seed and image id alone."""
    words = [
        int(reference.philox4x32_10((0, 0, 0, _TARGET_DOMAIN), reference.stream_key(seed, u, 0))[0])
        for u in image_ids.tolist()
    ]
    offsets = np.array([1 + word * (n_classes - 1) // 2**32 for word in words], dtype=np.int64)
    return (classes + offsets)[:, None] % n_classes


def _checked(targets: Ints, classes: Ints, n_classes: int, scored: npt.NDArray[np.bool_]) -> Ints:
    if ((targets < 0) | (targets >= n_classes)).any():
        bad = int(targets[(targets < 0) | (targets >= n_classes)][0])
        raise CleverError(
            f"target {bad} is out of range",
            f"classes from 0 to {n_classes - 1}",
            "number the classes as the model's logits do",
        )
    equal = (targets == classes[:, None]) & scored[:, None]
    if equal.any():
        row = int(np.argwhere(equal)[0, 0])
        raise CleverError(
            f"the target of image {row} is the class predicted for it, {classes[row]}",
            "targets other than the predicted class",
            'choose another target, or "top2", "random", "least-likely" or "all"',
        )
    return targets


def resolve_targets(
    targets: Any,
    logits: npt.NDArray[np.floating[Any]],
    seed: int,
    image_ids: Ints,
    scored: npt.NDArray[np.bool_],
) -> Ints:
    """Turn a choice of targets into class numbers.

    Args:
        targets: "all" (every class but the predicted one), "top-K" (the classes ranked 2 to K;
            "top2" is the runner-up alone), "random" (one, by seed and image id), "least-likely",
            one class or several for all images, or [N, T] class numbers.
        logits: [N, K] at the images; the largest is the predicted class.
        seed: For "random".
        image_ids: [N].
        scored: [N], whether an image will be scored: of others (misclassified ones) the target may
            be the predicted class.

    Returns:
        [N, T] int64.

    Raises:
        CleverError: an unknown name, a class out of range or equal to the predicted one, or an
            array of another shape.

    >>> import numpy as np
    >>> logits = np.array([[0.1, 3.0, 2.0, -1.0]])
    >>> resolve_targets("top-3", logits, 0, np.array([0]), np.array([True])).tolist()
    [[2, 0]]
    """
    n, n_classes = logits.shape
    order = np.argsort(-logits, axis=1, kind="stable").astype(np.int64)
    classes = order[:, 0]
    if isinstance(targets, str):
        top = re.fullmatch(r"top-?(\d+)", targets)
        if targets == "all":
            others = np.arange(n_classes)[None] != classes[:, None]
            return np.nonzero(others)[1].reshape(n, -1).astype(np.int64)
        if targets == "random":
            return _random_targets(classes, n_classes, seed, image_ids)
        if targets == "least-likely":
            return order[:, -1:]
        if top and 2 <= int(top[1]) <= n_classes:
            return order[:, 1 : int(top[1])]
        raise CleverError(
            f"targets={targets!r} is unknown",
            f'"all", "top2", "top-K" with K from 2 to {n_classes}, "random", "least-likely", class '
            "numbers, or an [N, T] array of them",
            "choose one of these",
        )
    given = np.asarray(targets)
    if given.dtype.kind not in "iu" or given.size == 0:
        raise CleverError(
            f"targets={targets!r} are no class numbers", "integers", "give e.g. 3, [3, 5] or 'all'"
        )
    given = given.astype(np.int64)
    if given.ndim <= 1:
        given = np.broadcast_to(given.reshape(1, -1), (n, given.size))
    if given.ndim != 2 or given.shape[0] != n:
        raise CleverError(
            f"targets of shape {list(np.shape(targets))} do not fit {n} images",
            f"a number, a sequence of numbers for all images, or [{n}, T]",
            "give one row of targets per image",
        )
    return _checked(np.ascontiguousarray(given), classes, n_classes, scored)


def parse_targets(text: str | Sequence[int]) -> Any:
    """Read the command line's form of targets: a name, or class numbers joined by commas.

    >>> parse_targets("3,5")
    [3, 5]
    """
    if isinstance(text, str) and re.fullmatch(r"\d+(,\d+)*", text):
        return [int(part) for part in text.split(",")]
    return text
