"""Memory of the CPU: keeping what a model frees for its next pass, and how much is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


def resident() -> int:
    """Return the bytes that this process holds in memory; 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def available() -> float:
    """Return the bytes that this process may still take; infinite where the system tells nothing.

    The smaller of what the machine has left and what the process's control group allows.
    """
    left = [float("inf")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        left.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError, ValueError):  # ValueError: "max", no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        left.append(limit - int((group / "memory.current").read_text()))
    return min(left)
