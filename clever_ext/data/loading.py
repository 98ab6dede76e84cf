"""Reads pictures in processes of their own.

A decoder may crash, loop or take all the memory over a damaged picture. It does so in a worker
process, which is then replaced; the picture gets an error and the run goes on. Each worker is
driven by a thread over a pipe of its own, one picture at a time: so it is known which picture it
died of, and nothing that other workers do is lost.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import CleverError
from .decoding import Stored, decode
from .preprocessing import Preprocessing
from .records import ImageRecord, ImageSource

if TYPE_CHECKING:
    import torch

_Read = tuple[npt.NDArray[np.float32] | None, CleverError | None, Stored | None]

MEMORY = 3 * 2**30
"""Bytes that a worker may take beyond those that it starts with, on Linux. Of pictures at Pillow's
limit of pixels a WebP file with transparency took most, 2.0 GiB."""

_MOST_WORKERS = 1024

SECONDS = 60.0
"""Time that one picture may take."""

#: Bytes of a folder's path that leave room for the name of a socket below it; where that is more,
#: other folders that all systems have.
_LONGEST_FOLDER, _SHORT_FOLDERS = 60, ("/tmp", "/var/tmp", "/dev/shm")


@dataclass(frozen=True)
class Loaded:
    """A picture that was read, or could not be.

    Attributes:
        record: Which one.
        pixels: What `load` returned, or None.
        error: Why there are no pixels, or None.
        stored: How it was stored, where it is a file.
    """

    record: ImageRecord
    pixels: torch.Tensor | None
    error: CleverError | None
    stored: Stored | None = None


class Pending:
    """Pictures that are being read."""

    def __init__(self, calls: Sequence[Callable[[], Loaded]]) -> None:
        self._calls = calls

    def result(self) -> list[Loaded]:
        """Wait for the pictures.

        Returns:
            All of them, in the order in which they were submitted.

        Raises:
            CleverError: If worker processes cannot be started.
            concurrent.futures.CancelledError: If the loader was closed meanwhile.
        """
        return [call() for call in self._calls]


class Loader:
    """Reads the pictures of a source; use it in a `with` statement.

    Args:
        source: Where the pictures are from. The rows of an array need no decoding, and a data set
            is held by this process: they are read here, whatever `workers` says.
        preprocessing: What the model wants.
        workers: Number of processes. 0: none; pictures are read by `Pending.result` itself, and one
            that crashes its decoder ends the program.

    Raises:
        CleverError: For a negative number of workers.

    >>> from clever_ext.data import Preprocessing, sample_pictures
    >>> source = sample_pictures()
    >>> with Loader(source, Preprocessing(64, 64), workers=0) as loader:
    ...     loaded = loader.submit(source[:2]).result()
    >>> [tuple(each.pixels.shape) for each in loaded]
    [(3, 64, 64), (3, 64, 64)]
    """

    def __init__(self, source: ImageSource, preprocessing: Preprocessing, workers: int = 1) -> None:
        if not 0 <= workers <= _MOST_WORKERS:
            raise CleverError(
                f"workers is {workers}", f"0 to {_MOST_WORKERS} processes", "give as many as CPUs"
            )
        workers = min(workers, len(source))
        self._preprocessing = preprocessing
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._closed = False
        self._threads: ThreadPoolExecutor | None = None
        if workers and source.of_files:
            self._threads = ThreadPoolExecutor(workers, "clever_ext loader")
            for _ in range(workers):  # they start while the model is loaded
                self._threads.submit(self._worker)

    def submit(self, records: Sequence[ImageRecord]) -> Pending:
        """Begin to read pictures; returns at once."""
        if self._threads is None:
            return Pending([partial(_load, record, self._preprocessing) for record in records])
        futures = [self._threads.submit(self._load_apart, record) for record in records]
        return Pending([future.result for future in futures])

    def close(self) -> None:
        """End the workers; pictures that are not read yet stay so."""
        if self._threads is not None:
            with self._lock:
                self._closed = True
            for worker in self._workers:
                worker.kill()  # the thread that waits for it finds the pipe closed
            self._threads.shutdown(cancel_futures=True)
            for worker in self._workers:
                worker.end()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load_apart(self, record: ImageRecord) -> Loaded:
        """Read a picture in this thread's worker."""
        for _ in range(2):  # a worker may have been killed for a reason that is not the picture
            worker = self._worker()
            try:
                return worker.load(record)
            except (EOFError, OSError):
                self._own.worker = None
                status = self._end(worker)
            if status == -signal.SIGALRM:
                break
        return Loaded(record, None, _lost(record, status))

    def _worker(self) -> _Worker:
        """This thread's worker, ready to read."""
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            try:
                with self._lock:
                    if self._closed:
                        raise CancelledError
                    worker = _Worker(self._preprocessing)
                    self._workers.add(worker)
                worker.wait_until_ready()
            except (EOFError, OSError) as error:
                status = self._end(worker) if worker else None
                raise CleverError(
                    f"a process that reads pictures did not start ({status=}, {error})",
                    "processes that import clever_ext, and the main script without running it",
                    'put what the script does under `if __name__ == "__main__":`, '
                    "or read pictures in the main process (--workers 0)",
                ) from error
            self._own.worker = worker
        return worker

    def _end(self, worker: _Worker) -> int | None:
        """Remove a worker; its exit status."""
        with self._lock:
            if self._closed:
                raise CancelledError
            self._workers.discard(worker)
            return worker.end()


class _Worker:
    """A process that reads pictures, and this end of the pipe to it."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        # Forking this process would copy torch's and CUDA's state without their threads. The
        # server imports what workers need once: neither torch, which takes seconds, nor the user's
        # script.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pipe, its_end = context.Pipe()
        with its_end, _short_temporary_folder():
            self._process = context.Process(
                target=_serve, args=(its_end, preprocessing, MEMORY, SECONDS), daemon=True
            )
            self._process.start()

    def wait_until_ready(self) -> None:
        self._pipe.recv()

    def load(self, record: ImageRecord) -> Loaded:
        self._pipe.send(record)
        return _loaded(record, self._pipe.recv())

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int | None:
        self._process.kill()
        self._process.join()
        self._pipe.close()
        return self._process.exitcode


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Let the server's socket lie where its path is not too long for the system.

    TMPDIR may be long, as batch systems and containers set it; the name of a socket is 107 bytes at
    most. The server has one folder for as long as the process lives.
    """
    before = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER:
        tempfile.tempdir = next(
            (path for path in _SHORT_FOLDERS if os.access(path, os.W_OK)), before
        )
    try:
        yield
    finally:
        tempfile.tempdir = before


def _serve(pipe: Connection, preprocessing: Preprocessing, memory: int, seconds: float) -> None:
    """Answer records with pixels or errors until the other end of the pipe is closed.

    That is also how a worker ends whose main process was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    if sys.platform == "linux":
        _limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            record = pipe.recv()
            # The signal ends the process, in whatever code it is.
            signal.setitimer(signal.ITIMER_REAL, seconds)
            read = _read(record, preprocessing)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(read)


def _limit_memory(memory: int) -> None:
    """Let allocations fail beyond some more bytes; files mapped for reading do not count."""
    status = Path("/proc/self/status").read_text()
    taken = int(status.partition("VmData:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (taken + memory, taken + memory))


def _read(record: ImageRecord, preprocessing: Preprocessing) -> _Read:
    """Read a picture without torch, which takes a worker seconds to import."""
    try:
        pixels, stored = decode(record, preprocessing)
        return pixels, None, stored
    except CleverError as error:
        return None, error, None


def _loaded(record: ImageRecord, read: _Read) -> Loaded:
    import torch

    pixels, error, stored = read
    return Loaded(record, None if pixels is None else torch.from_numpy(pixels), error, stored)


def _load(record: ImageRecord, preprocessing: Preprocessing) -> Loaded:
    return _loaded(record, _read(record, preprocessing))


def _lost(record: ImageRecord, status: int | None) -> CleverError:
    """The error for a picture that ended its worker twice."""
    by_signal: dict[int | None, str] = {
        -signal.SIGALRM: f"took longer than {SECONDS:g} seconds",
        -signal.SIGKILL: "was killed, as a system does that runs out of memory",
    }
    why = by_signal.get(status, f"crashed with status {status}")
    return CleverError(
        f"{record.name!r} cannot be decoded (the process that read it {why})",
        "a complete picture",
        "replace the file or leave it out",
    )
