"""Signals to a run that is under way, and a second process beside it."""

import json
import signal
import time

import pytest
from small_run import SmallRun, assert_same_bits

from clever_ext.runs import stopping
from clever_ext.runs.stopping import stopper


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A run of pieces that take some tenths of a second, and its undisturbed result."""
    small = SmallRun(tmp_path_factory.mktemp("stopping"), n_images=16, n_batches=400)
    assert small.start("whole").wait() == 0
    return small


def start(small, out):
    """Start a run and wait until its first piece is finished."""
    process = small.start(out)
    deadline = time.monotonic() + 120
    while not small.folder(out).finished():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def events(small, out):
    return [json.loads(line) for line in small.folder(out).log.read_text().splitlines()]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_stops_after_the_piece_at_hand(slow, number, status):
    out = f"once{number}"
    process = start(slow, out)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert "stopping when the piece at hand is scored and kept" in errors
    assert "Traceback" not in errors
    assert events(slow, out)[-1]["event"] == "stopped"
    assert 1 <= len(slow.folder(out).finished()) < 8
    assert slow.start(out).wait() == 0
    assert_same_bits(slow.table("whole"), slow.table(out))


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup, or in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopper() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop
            signal.raise_signal(signal.SIGTERM)
            assert stop.status == 143
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_interrupts_and_an_echo_of_the_first_does_not(monkeypatch):
    """A terminal may send Ctrl-C to a shell's whole group, and the shell again to its child."""
    with stopper() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.status == 143
        monkeypatch.setattr(stopping, "_SAME", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_two_signals_stop_at_once(slow):
    process = start(slow, "twice")
    process.send_signal(signal.SIGINT)
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)  # not a third: Python reports one that meets it leaving
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
    assert slow.start("twice").wait() == 0
    assert_same_bits(slow.table("whole"), slow.table("twice"))


def test_a_second_process_is_told_who_works_there(slow):
    process = start(slow, "busy")
    second = slow.start("busy")
    _, errors = second.communicate(timeout=120)
    assert process.wait(120) == 0
    # The first may have come to its end while the second was starting.
    assert second.returncode in (0, 2)
    if second.returncode == 2:
        assert f"being worked at by process {process.pid}" in errors
    assert_same_bits(slow.table("whole"), slow.table("busy"))
