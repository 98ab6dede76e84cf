"""Keeping a model's freed memory for its next pass, on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from . import _C

_lock = threading.Lock()
_holders = 0


def _user_has_tuned_malloc() -> bool:
    return any(
        name.startswith("MALLOC_") or (name == "GLIBC_TUNABLES" and "malloc" in value)
        for name, value in os.environ.items()
    )


@contextmanager
def held() -> Iterator[None]:
    """Make the C library keep freed memory while the block runs, and give it back afterwards.

    By default glibc returns every large activation to the system as soon as it is freed, and the
    next pass pays a page fault for each 4 KiB of it again: up to half of the time of a
    convolutional network. Nothing is done where the user has tuned malloc by its environment
    variables, or where the C library is another.
    """
    global _holders
    if _user_has_tuned_malloc():
        yield
        return
    with _lock:
        _holders += 1
        if _holders == 1:
            _C.hold_freed_memory(True)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _C.hold_freed_memory(False)
