import resource
import sys
import threading

import pytest
import torch

from clever_ext import memory

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")


def faults_of_passes() -> int:
    """Page faults of five passes: of all five where freed memory is given back, else of few.

    A pass may fault once more where a small block has come to lie in what the last one freed.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x = torch.ones(16 * 2**20)  # 64 MiB: 16,384 pages
        del x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def untuned(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)


@glibc
def test_pages_are_faulted_in_once():
    usual = faults_of_passes()  # 160 where pages are huge, 80,000 where they are small
    with memory.held():
        faults_of_passes()
        assert faults_of_passes() < usual / 2
    assert faults_of_passes() > usual / 2


@glibc
def test_the_last_of_several_holders_gives_back():
    usual = faults_of_passes()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with memory.held():
            inside.set()
            leave.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    try:
        with memory.held(), memory.held():
            pass
        faults_of_passes()
        assert faults_of_passes() < usual / 2
    finally:
        leave.set()
        other.join()
    assert faults_of_passes() > usual / 2


def test_a_tuned_malloc_is_left_alone(monkeypatch):
    def no_call(_: bool) -> bool:
        raise AssertionError("malloc was touched")

    monkeypatch.setattr(memory._C, "hold_freed_memory", no_call)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    with memory.held():
        pass
