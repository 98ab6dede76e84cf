"""Processes that end with all that they started: `python processes.py PARENT PROGRAM ...`.

Run so, it waits for a program, and ends it and its descendants when the process PARENT ends, in
whatever way that does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds that the killed are waited for: one that a hung GPU holds never ends.
DYING = 5.0
_SIGNAL_AT_DEATH_OF_PARENT, _BECOME_SUBREAPER = 1, 36  # of prctl(2)


def adopt() -> None:
    """Become the parent of descendants whose own parent ends."""
    with contextlib.suppress(OSError):  # else some of them may outlive a step
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)


def children() -> Iterator[int]:
    """Yield the processes whose parent is this one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            # Its name, in parentheses, may hold anything.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(stat.parent.name)


def kill_children() -> None:
    """Kill all descendants: children of the killed become children of this process."""
    until = time.monotonic() + DYING
    while (pids := list(children())) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def main() -> int:
    """Run a program; return its status as a shell does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    adopt()
    ctypes.CDLL(None).prctl(_SIGNAL_AT_DEATH_OF_PARENT, signal.SIGTERM, 0, 0, 0)
    parent, *command = sys.argv[1:]
    if os.getppid() != int(parent):  # it ended before this process asked to be told
        return 128 + signal.SIGTERM
    try:
        status = subprocess.call(command)
    except OSError as error:
        print(error)
        return 127
    finally:
        kill_children()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
