"""Copies from a GPU to the host that nobody waits for before they are wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

#: Copies under way, or not yet taken out of the pinned memory, at most.
_PLACES = 8


class Ring:
    """Brings tensors of one shape to the host, on a stream of its own, by one pinned buffer.

    Args:
        like: A tensor of that shape and type, on the GPU.
    """

    def __init__(self, like: Tensor) -> None:
        self._stream = torch.cuda.Stream(like.device)  # type: ignore[no-untyped-call]
        self._places = _pinned(_PLACES, like)
        self._last: list[_Copy | None] = [None] * _PLACES
        self._next = 0

    def fetch(self, values: Tensor) -> Callable[[], Floats]:
        """Start to copy values, which stay as they are; the function returned waits for them.

        It may be called from another thread.
        """
        place, self._next = self._next, (self._next + 1) % _PLACES
        last = self._last[place]
        if last is not None:
            last.wait()  # long there: it makes room, whether or not anybody has asked for it
        host = self._places[place]
        self._stream.wait_stream(torch.cuda.current_stream(values.device))
        with torch.cuda.stream(self._stream):
            host.copy_(values, non_blocking=True)
            copied = self._stream.record_event()
        copy = self._last[place] = _Copy(values, host, copied)
        return copy.wait


class _Copy:
    """One copy; it holds its source, whose memory would be used again, until it is there."""

    def __init__(self, source: Tensor, host: Tensor, copied: Any) -> None:
        self._under_way: tuple[Tensor, Tensor, Any] | None = (source, host, copied)
        self._lock = threading.Lock()

    def wait(self) -> Floats:
        """Wait for the copy, take it out of the pinned memory and return it."""
        with self._lock:
            if self._under_way is not None:
                _, host, copied = self._under_way
                copied.synchronize()
                self._found: Floats = host.numpy().copy()
                self._under_way = None
            return self._found


def _pinned(places: int, like: Tensor) -> Tensor:
    return torch.empty(places, *like.shape, dtype=like.dtype, device="cpu", pin_memory=True)
