"""Scores of a model that is being trained, which is left as it was found.

What the modules beside this one share; no library is needed here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from torch import distributed
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ..classifier.oracle import parts_of
from ..errors import CleverError
from ..findings import Finding, warn
from ..kernels.balls import check_integer
from ..results.result import CleverResult
from ..scoring import clever_score

T = TypeVar("T")


class _Checked(Exception):
    """Ends a call whose arguments have passed all checks."""


def place() -> tuple[int, int]:
    """Return which of the processes of a training this is, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a module and all inside it into evaluation mode for a block, and each back as it was.

    Only flags are set: of what a model's own `train` or `eval` does besides, nothing is done.
    """
    training = [part for _, part in parts_of(model).values() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def score(model: Any, images: Any, labels: Any, **settings: Any) -> CleverResult:
    """Score a model in evaluation mode, whatever mode it is in.

    Of a model that is wrapped for several GPUs the model itself is scored: a pass of the wrapper
    would wait for the other processes.

    Raises:
        CleverError: an argument or the model is unfit.
        KeyboardInterrupt: it was interrupted, as the training is then, too.
    """
    while isinstance(model, (DataParallel, DistributedDataParallel)):
        model = model.module
    _check_whole(model)
    with evaluating(model):
        result = clever_score(model, images, labels=labels, **settings)
    if not result.metadata["complete"]:
        raise KeyboardInterrupt
    return result


def _check_whole(model: Any) -> None:
    """Refuse a model of which each process holds a part: one process alone would wait forever."""
    if place()[1] == 1:
        return
    for _, part in parts_of(model).values():
        weights = part._parameters.values()
        kinds = {type(part).__name__, *(type(each).__name__ for each in weights)}
        if kinds & {"FullyShardedDataParallel", "DTensor"} or any(
            hasattr(each, "ds_id") for each in weights
        ):
            raise CleverError(
                "the model's weights are spread over several processes",
                "a model that each process holds as a whole, as under DistributedDataParallel",
                "score checkpoints of it after the training",
            )


class Pictures:
    """A fixed set of pictures, scored again and again while a model is trained.

    The first process scores them, and the others wait for the numbers, which all get.

    Args:
        images: [N, *shape].
        labels: [N] true classes, or None.
        every_n_epochs: Epochs from one scoring to the next.
        name: What stands before the name of each number.
        settings: Of `clever_score`.

    Raises:
        CleverError: every_n_epochs is unfit.
        TypeError: a setting is none of `clever_score`.
    """

    def __init__(
        self, images: Any, labels: Any, every_n_epochs: int, name: str, settings: dict[str, Any]
    ) -> None:
        inspect.signature(clever_score).bind(None, images, labels=labels, **settings)
        self._every = check_integer("every_n_epochs", every_n_epochs, 1, 2**31)
        self._name, self._settings = name, settings
        self._images, self._labels = images, labels

    def check(self, model: Any) -> None:
        """Refuse what cannot be scored, before the training.

        Raises:
            CleverError: an argument or the model is unfit.
        """

        def begun(*_: int) -> None:
            raise _Checked

        def begin() -> None:
            with suppress(_Checked):
                score(model, self._images, self._labels, **self._settings | {"progress": begun})

        _by_the_first(begin)

    def due(self, epoch: int) -> bool:
        """Tell whether pictures are scored in an epoch; the first is 1."""
        return epoch % self._every == 0

    def numbers(self, model: Any) -> dict[str, float]:
        """Return what the scores come to, as `CleverResult.summary` explains it.

        A model that can no longer be scored does not end its training: this is said, and there are
        no numbers.
        """

        def made() -> dict[str, float]:
            return score(model, self._images, self._labels, **self._settings).summary()

        try:
            found = _by_the_first(made)
        except CleverError as error:
            warn([Finding("model", f"no scores of this epoch: {error.wrong}", error.fix)])
            return {}
        return {f"{self._name}/{key}": value for key, value in found.items()}


def _by_the_first(make: Callable[[], T]) -> T:
    """Let the first process make something, which all return, or raise its error."""
    rank, ranks = place()
    if ranks == 1:
        return make()
    said: list[Any] = [None]
    if rank == 0:
        try:
            said = [make()]
        except CleverError as error:
            said = [error]
    distributed.broadcast_object_list(said, src=0)
    if isinstance(said[0], CleverError):
        raise said[0]
    made: T = said[0]
    return made
