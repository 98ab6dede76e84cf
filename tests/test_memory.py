import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from clever_ext import memory

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")


def faults_of_passes() -> int:
    """Page faults of five passes: of one of them at least where freed memory was given back."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x = torch.ones(16 * 2**20)  # 64 MiB: 16,384 pages
        del x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_of_one_holder() -> list[int]:
    """Before, while and after memory is held."""
    found = [faults_of_passes()]
    with memory.held():
        faults_of_passes()
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
    faults_of_passes()
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
