"""The fits of finished images, made in a thread of their own beside the next images' passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..engine.maxima import Drawn
from ..evt.reverse_weibull import ReverseWeibullFit, fit_reverse_weibull

Floats = npt.NDArray[np.float64]

#: Rows that are fitted together: each fit alone costs several times as much.
_ROWS = 64


class Fitted(NamedTuple):
    """Rows in the order in which their images were added."""

    keys: list[tuple[int, int]]  # one for each image added
    maxima: Floats  # [rows, N_b]
    nearest_flip: Floats  # [rows]
    fit: ReverseWeibullFit  # of [rows]


class BackgroundFits:
    """Collects the maxima of images and fits them; a context manager, which ends its thread.

    Args:
        n_targets: Rows of each image.
        n_batches: N_b, maxima of each row.
    """

    def __init__(self, n_targets: int, n_batches: int) -> None:
        self.n_targets, self.n_batches = n_targets, n_batches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clever-fit")
        self._keys: list[tuple[int, int]] = []
        self._waiting: list[Callable[[], Drawn]] = []
        self._fits: list[Future[tuple[Drawn, ReverseWeibullFit]]] = []

    def __enter__(self) -> BackgroundFits:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, key: tuple[int, int], drawn: Callable[[], Drawn]) -> None:
        """Take one image.

        Args:
            key: What to call it.
            drawn: Waits for what its samples found and returns it; called in the other thread.
        """
        self._keys.append(key)
        self._waiting.append(drawn)
        if len(self._waiting) * self.n_targets >= _ROWS:
            self._submit()

    def _submit(self) -> None:
        group, self._waiting = self._waiting, []
        self._fits.append(self._thread.submit(_fit, group, self.n_batches))

    def finish(self) -> Fitted:
        """Wait for all the fits and return them."""
        if self._waiting or not self._fits:
            self._submit()
        parts = [future.result() for future in self._fits]
        fit = ReverseWeibullFit.concatenate([part[1] for part in parts])
        return Fitted(self._keys, *_joined([part[0] for part in parts]), fit)


def _joined(parts: Sequence[Drawn]) -> Drawn:
    return Drawn(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _fit(group: list[Callable[[], Drawn]], n_batches: int) -> tuple[Drawn, ReverseWeibullFit]:
    none = Drawn(np.empty((0, n_batches)), np.empty(0))
    drawn = _joined([none, *(of_image() for of_image in group)])
    return drawn, fit_reverse_weibull(drawn.maxima)
