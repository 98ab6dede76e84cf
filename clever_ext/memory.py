"""Memory: keeping what a model frees for its next pass, how much is left, and the lack of it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from .ops import _C  # which says what to do where it is missing

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

    The smallest of what the machine has left and what the process's control group and those above
    it allow.
    """
    left = [float("inf")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        left.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError):
        left += _left_in_groups(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min(left)


def _left_in_groups(membership: str, mounted: Path) -> list[float]:
    """Return what each memory control group of a process has left; those without a limit tell none.

    Args:
        membership: Lines number:controllers:path; the path is below `mounted`, but for a container,
            whose group is mounted there itself.
        mounted: Where the groups are.
    """
    left = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        names = ("memory.max", "memory.current", "inactive_file") if not controllers else None
        if "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        if names is None:
            continue
        top = mounted / "memory" if controllers else mounted
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top or top in folder.parents:
                with suppress(OSError, ValueError):  # ValueError: "max", no limit
                    left.append(_left_in(folder, *names))
    return left


def _left_in(group: Path, limit: str, used: str, of_files: str) -> float:
    """Return what a group has left, where the pages of files that nobody needs count as free."""
    taken = int((group / used).read_text())
    with suppress(OSError):
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        taken -= sum(int(value) for name, value in lines if name == of_files)
    return int((group / limit).read_text()) - taken


#: How a lack of memory is told by torch, its libraries and systems, in lower case.
_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, HIP and their allocators
    "outofmemory",
    "can't allocate memory",  # DefaultCPUAllocator
    "cannot allocate memory",  # errno 12
    "not enough memory",  # DefaultCPUAllocator on Windows
    "failed to allocate",
    "unable to allocate",  # NumPy
    "bad_alloc",
    "bad allocation",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED and others
    "allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "could not create a primitive",  # oneDNN, where a buffer of its own cannot be had
    "not enough workspace",
    "insufficient memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory could not be had, on a GPU or on the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(x in said for x in _OUT_OF_MEMORY)
