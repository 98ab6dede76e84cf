"""How a run is stopped: first after the pictures at hand, then at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A second signal within so many seconds is the first again: a terminal and torchrun both send it.
_SAME = 0.5
_SAID = (
    b"\nclever-ext: stopping when the piece at hand is scored and kept; a second signal stops at "
    b"once, and its pictures are scored anew when the run goes on\n"
)


class Stopper:
    """Whether a run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._when = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status of a process that a signal has stopped; 0 if none has."""
        return 0 if self.signal is None else 128 + self.signal

    def handle(self, number: int, _: FrameType | None) -> None:
        """Note the first signal; raise KeyboardInterrupt at the second."""
        if self.signal is None:
            self.signal, self._when = number, time.monotonic()
            with suppress(OSError):  # nobody may be listening any longer
                os.write(2, _SAID)  # past Python's buffer, which the signal may have interrupted
        elif time.monotonic() - self._when > _SAME:
            raise KeyboardInterrupt


@contextmanager
def stopper() -> Iterator[Stopper]:
    """Catch SIGINT and SIGTERM while the block runs, in the main thread; elsewhere do nothing.

    One that is ignored stays so: a shell or nohup has set the run apart from the terminal's Ctrl-C.
    """
    found = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, found.handle) for number in heard}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
