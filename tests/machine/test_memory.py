import errno
import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from clever_ext.machine import memory
from clever_ext.machine.memory import is_out_of_memory

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")


def faults_of_passes() -> int:
    """Page faults of five passes: of one of them at least where freed memory was given back."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x = torch.ones(16 * 2**20)  # 64 MiB: 16,384 pages
        del x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _settle() -> None:
    """Make passes until small blocks, which come to lie among the large ones, have their place."""
    for _ in range(3):
        faults_of_passes()


def faults_of_one_holder() -> list[int]:
    """Before, while and after memory is held."""
    found = [faults_of_passes()]
    with memory.held():
        _settle()
        found.append(faults_of_passes())
    return [*found, faults_of_passes()]


def faults_of_several_holders() -> list[int]:
    """Before any holds memory, while another thread does, and after the last has stopped."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with memory.held():
            inside.set()
            leave.wait()

    found = [faults_of_passes()]
    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    with memory.held(), memory.held():
        pass
    _settle()
    found.append(faults_of_passes())
    leave.set()
    other.join()
    return [*found, faults_of_passes()]


@pytest.fixture(autouse=True)
def untuned(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)


@glibc
@pytest.mark.parametrize("count", [faults_of_one_holder, faults_of_several_holders])
def test_pages_are_faulted_in_once_while_memory_is_held(count: Callable[[], list[int]]):
    # In a new process: this one's heap may have a hole that takes every pass without a fault.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        before, held, after = process.submit(count).result()
    assert held < before / 10  # of 160 where pages are huge, of 80,000 where they are small
    assert after > before / 10


def test_a_tuned_malloc_is_left_alone(monkeypatch):
    def no_call(_: bool) -> bool:
        raise AssertionError("malloc was touched")

    monkeypatch.setattr(memory._C, "hold_freed_memory", no_call)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    with memory.held():
        pass


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        MemoryError(),
        MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000, 1000000)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("[Errno 12] Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("bad allocation"),
        RuntimeError("CUDA error: out of memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        torch.AcceleratorError("CUDA error: cudaErrorMemoryAllocation"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: not enough workspace"),
        RuntimeError("could not create a primitive"),
        RuntimeError("HIP error: hipErrorOutOfMemory"),
        RuntimeError("unable to mmap 9 bytes from file </x>: Cannot allocate memory (12)"),
        RuntimeError("Failed to allocate 9 bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_a_lack_of_memory_has_many_names(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape '[3, -1]' is invalid for input of size 100"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        ValueError("the word memory in a message: out of memory"),
        OSError(errno.ENOENT, "No such file or directory"),
        KeyError("memory"),
    ],
    ids=str,
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not is_out_of_memory(error)


def test_what_is_available_is_positive_and_no_more_than_the_machine_has():
    assert memory.available() > 0
