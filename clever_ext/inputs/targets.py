"""Which classes a score is taken against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..arguments import Integers, integers, shown
from ..errors import CleverError
from ..kernels import reference

Ints = npt.NDArray[np.int64]

#: Words for targets as a type checker knows them. `resolve_targets` takes any K.
TargetWord = Literal[
    "all", "random", "least-likely", "top2",
    "top-2", "top-3", "top-4", "top-5", "top-6", "top-7", "top-8", "top-9", "top-10", "top-20",
    "top-50", "top-100",
    "near-1", "near-2", "near-3", "near-4", "near-5", "near-6", "near-7", "near-8", "near-9",
    "near-10", "near-20", "near-50", "near-100",
]  # fmt: skip
Targets = TargetWord | int | Integers

#: Where no targets are named: all of up to so many classes, else so many of the nearest.
FEW_CLASSES, NEAREST = 20, 10
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


def named(targets: Any, n_classes: int) -> Any:
    """Return a choice of targets, where none was made the one that is meant by that.

    >>> named(None, 10), named(None, 1000)
    ('all', 'near-10')
    """
    if targets is not None:
        return targets
    return "all" if n_classes <= FEW_CLASSES else f"near-{NEAREST}"


def nearest(targets: Any) -> int | None:
    """Return the K of "near-K"; None of any other choice, which needs no gradients.

    >>> nearest("near-3"), nearest("top-3")
    (3, None)
    """
    match = re.fullmatch(r"near-?([1-9]\d*)", targets) if isinstance(targets, str) else None
    return int(match[1]) if match else None


def class_numbers(targets: Any) -> Ints:
    """Return class numbers that were given as an array of any shape.

    Raises:
        CleverError: they are none.
    """
    given = integers(targets)
    if given is None or given.size == 0:
        raise CleverError(
            f"targets={shown(targets)} are no class numbers",
            "integers, the same number of them for each image",
            "give e.g. 3, [[3, 5]] or 'all'",
        )
    return given


def _given(targets: Any, n: int, n_classes: int) -> Ints:
    """Read class numbers that were given, as [n, T]."""
    given = class_numbers(targets)
    if given.ndim == 1 and len(given) == n > 1:
        raise CleverError(
            f"{n} targets for {n} images may mean one for each image, or all of them for every "
            "image",
            f"targets of shape [{n}, 1], or [1, {n}]",
            "give np.array(targets)[:, None] for one each, np.array(targets)[None] for all of them",
        )
    if given.ndim > 2 or (given.ndim == 2 and given.shape[0] not in (1, n)):
        raise CleverError(
            f"targets of shape {list(given.shape)} do not fit {n} images",
            f"a number, numbers for all images as [T] or [1, T], or [{n}, T]",
            "give one row of targets per image",
        )
    if ((given < 0) | (given >= n_classes)).any():
        bad = int(given[(given < 0) | (given >= n_classes)][0])
        raise CleverError(
            f"target {bad} is out of range",
            f"classes from 0 to {n_classes - 1}",
            "number the classes as the model's logits do",
        )
    rows = given.reshape(-1, given.shape[-1] if given.ndim else 1)
    return np.ascontiguousarray(np.broadcast_to(rows, (n, rows.shape[1])))


def resolve_targets(
    targets: Any,
    logits: npt.NDArray[np.floating[Any]],
    seed: int,
    image_ids: Ints,
) -> Ints:
    """Turn a choice of targets into class numbers.

    Args:
        targets: "all" (every class but the predicted one), "top-K" (the classes ranked 2 to K;
            "top2" is the runner-up alone), "near-K" (here the K of smallest margins, which stand
            in until `estimators.screening` has the gradients), "random" (one, by seed and image
            id), "least-likely", one class or several for all images, or [N, T] class numbers.
            [1, T] are those of all images where [T] could be taken for one each. None: see `named`.
        logits: [N, K] at the images; the largest is the predicted class.
        seed: For "random".
        image_ids: [N].

    Returns:
        [N, T] int64. Class numbers that were given may be the predicted class of some images.

    Raises:
        CleverError: an unknown name, a class out of range, an array of another shape, or N > 1
            numbers for N images.

    >>> import numpy as np
    >>> logits = np.array([[0.1, 3.0, 2.0, -1.0]])
    >>> resolve_targets("top-3", logits, 0, np.array([0])).tolist()
    [[2, 0]]
    """
    n, n_classes = logits.shape
    targets = named(targets, n_classes)
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
        if (near := nearest(targets)) is not None and near < n_classes:
            return order[:, 1 : near + 1]
        raise CleverError(
            f"targets={shown(targets)} is unknown",
            f'"all", "top2", "top-K" with K from 2 to {n_classes}, "near-K" with K up to '
            f'{n_classes - 1}, "random", "least-likely", class numbers, or an [N, T] array of them',
            "choose one of these",
        )
    return _given(targets, n, n_classes)


def parse_targets(text: str | Sequence[int]) -> Any:
    """Read the command line's form of targets: a name, or class numbers joined by commas.

    >>> parse_targets("3,5")
    [[3, 5]]
    """
    if isinstance(text, str) and re.fullmatch(r"\d+(,\d+)*", text):
        return [[int(part) for part in text.split(",")]]  # those of all images, however many
    return text
