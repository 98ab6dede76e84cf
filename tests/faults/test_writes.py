"""Every write of a run fails once: the run stops with a message, and goes on to the same bits."""

import errno
import os

import pytest
from small_run import SmallRun, assert_same_bits

from clever_ext import CleverError

CALLS = ("open", "write", "fsync", "replace", "pwrite", "ftruncate")


class Failing:
    """Fails the n-th of the calls that write to a run's folder."""

    def __init__(self, monkeypatch, n: int, code: int) -> None:
        self.left, self.code = n, code
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name), name))

    def wrapped(self, real, name):
        def call(*args, **named):
            if name == "open" and (len(args) < 2 or not args[1] & (os.O_WRONLY | os.O_RDWR)):
                return real(*args, **named)
            self.left -= 1
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **named)

        return call


def writes_fail(small: SmallRun, monkeypatch, code: int, step: int) -> int:
    """Let each write of a run fail, or every step-th, one in each run; return the last one."""
    small.score("whole")
    whole = small.table("whole")
    n = 1 - step
    while True:
        n += step
        out = f"run{code}-{n}"
        with monkeypatch.context() as patched:
            failing = Failing(patched, n, code)
            if failing_run(small, out):
                assert failing.left > 0
                return n - step
            assert failing.left <= 0
        assert small.score(out) == 0
        assert_same_bits(whole, small.table(out))
        names = {path.name for path in small.folder(out).parts.iterdir()}
        assert names == {f"part-{number:05d}.parquet" for number in small.folder(out).finished()}


def failing_run(small: SmallRun, out: str) -> bool:
    """Return whether the run came to its end; if not it must have said why."""
    try:
        return small.score(out) == 0
    except CleverError as error:
        said = error.wrong
    assert "cannot be" in said
    assert os.strerror(errno.ENOSPC) in said or os.strerror(errno.EIO) in said
    return False


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.faults)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_write_of_a_run(small, monkeypatch, code, step):
    n = writes_fail(small, monkeypatch, code, step)
    print(f"{n} writes, each failed with {errno.errorcode[code]}")
    assert n > 20
