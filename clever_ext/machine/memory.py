"""Memory: keeping what a model frees for its next pass, how much is left, and the lack of it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ..kernels.ops import _C  # which says what to do where it is missing
from . import limits

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
    left = [limits.memory_left()]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        left.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1]))
    return min(left)


def left_on(device: torch.device) -> int:
    """Return the bytes of a GPU that tensors may still take: free ones, and those torch keeps."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


#: How a lack of memory is told by torch, its libraries and systems, in lower case.
_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, HIP and their allocators
    "outofmemory",
    "cudaerrormemoryallocation",
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
