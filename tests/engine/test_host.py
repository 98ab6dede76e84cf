"""Copies to the host by one ring of pinned memory, on a stand-in for a GPU."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import gpu_stand_in
import pytest
import torch

from clever_ext.engine import host


@pytest.fixture(autouse=True)
def pinned(gpus, monkeypatch):
    """Ordinary memory in the place of pinned memory: how often some was asked for."""
    assert gpus.as_new()
    made = Mock(side_effect=lambda places, like: torch.full((places, *like.shape), torch.nan))
    monkeypatch.setattr(host, "_pinned", made)
    return made


def values(n):
    return [torch.full((2, 3), float(k)) for k in range(n)]


@pytest.mark.parametrize("order", [1, -1])
def test_what_comes_is_what_was_sent_whenever_it_is_asked_for(pinned, order):
    sent = values(5 * host._PLACES)
    ring = host.Ring(sent[0])
    waits = [ring.fetch(each) for each in sent]
    for wait, each in list(zip(waits, sent, strict=True))[::order]:
        assert torch.equal(torch.from_numpy(wait()), each)
        assert torch.equal(torch.from_numpy(wait()), each)
    assert pinned.call_count == 1


def test_what_was_taken_out_is_not_written_over():
    sent = values(5 * host._PLACES)
    ring = host.Ring(sent[0])
    found = [ring.fetch(each)() for each in sent]
    for each, there in zip(sent, found, strict=True):
        assert torch.equal(torch.from_numpy(there), each)


def test_other_threads_may_wait():
    sent = values(20 * host._PLACES)
    ring = host.Ring(sent[0])
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(ring.fetch(each)) for each in sent]
    for each, there in zip(sent, found, strict=True):
        assert torch.equal(torch.from_numpy(there.result()), each)


def test_a_copy_is_waited_for_and_its_source_held_as_long(monkeypatch):
    (sent,) = values(1)
    source, alive = weakref.ref(sent), []
    monkeypatch.setattr(
        gpu_stand_in.Event, "synchronize", lambda _: alive.append(source() is not None)
    )
    wait = host.Ring(values(1)[0]).fetch(sent)
    del sent
    gc.collect()
    assert alive == []
    wait()
    assert alive == [True]
    assert source() is None


def test_the_copies_are_made_on_the_device_of_the_work(gpus):
    gpus.home = 1
    (sent,) = values(1)
    assert host.Ring(sent)._stream.number == 1
    assert gpus.as_new()
