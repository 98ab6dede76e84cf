"""Commands of this Python in processes of their own, which need not import torch again.

`start` and `run` do what subprocess.Popen and subprocess.run do. A server imports torch and
clever_ext once, computes nothing, and forks for each command. The fork has the arguments,
environment, folder and streams of the command. It ends as a new process does: by its status, its
traceback or its signal.

Some tests need a new process: those of the interpreter's options, of PYTHON* and OMP_* variables,
and of what is imported. Forks also share one hash seed, which new processes do not.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import IO, Any

_LONGEST = 2**20
"""Bytes of a command and its environment."""
_NUMBER = struct.Struct("i")
_IMPORTED = (
    "clever_ext.cli", "clever_ext.checks.run", "clever_ext.report", "clever_ext.runs.loop",
    "clever_ext.runs.outcome", "clever_ext.runs.ranks", "pandas", "pyarrow.parquet", "rich.table",
    "scipy.stats", "torch", "torch._dynamo",
)  # fmt: skip
"""What commands import."""


class Process:
    """A command that runs, with what tests use of subprocess.Popen.

    Args:
        command: `sys.executable` and a script's path, or `-m` and a module, with their arguments.
        cwd: Its folder.
        env: All of its environment; None: that of this process.
        start_new_session: Whether it leads a group of processes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        assert command[0] == sys.executable
        self.args = command
        self.returncode: int | None = None
        asked = {
            "command": command[1:], "cwd": str(cwd or Path.cwd()), "session": start_new_session,
            "env": dict(os.environ) if env is None else env,
        }  # fmt: skip
        self._told, its_end = socket.socketpair()
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        with its_end, Path(os.devnull).open() as nothing:
            given = [nothing.fileno(), its_out, its_err, its_end.fileno()]
            socket.send_fds(_server()[0], [json.dumps(asked).encode()], given)
        os.close(its_out)
        os.close(its_err)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self.pid = self._number()

    def _number(self) -> int:
        """Receive what is told next: the number of the process, then its status."""
        return int(_NUMBER.unpack(self._told.recv(_NUMBER.size, socket.MSG_WAITALL))[0])

    def poll(self) -> int | None:
        """Return the status of a process that has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = os.waitstatus_to_exitcode(self._number())
            self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; return its status, negative for a signal."""
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait, and return what it says and its errors."""
        with ThreadPoolExecutor(2) as threads:
            said = [threads.submit(_all_of, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return said[0].result(), said[1].result()

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


start = Process


def run(
    command: Sequence[str], timeout: float | None = None, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Start a command and wait for its end."""
    process = start(command, **how)
    said, errors = process.communicate(timeout)
    return subprocess.CompletedProcess(command, process.wait(), said, errors)


def _all_of(stream: IO[str]) -> str:
    """Read a stream to its end."""
    with stream:
        return stream.read()


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the server, and return what it is asked by; it ends when this process has."""
    ours, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its_end:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its_end.fileno())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[its_end.fileno()],
        )  # fmt: skip
    return ours, process


# ---------------------------------------------------------------- in the server and its forks


def _next_command(requests: socket.socket) -> dict[str, Any]:
    """Serve until the other end is closed; a command is returned in the process that is to run it.

    Each has a parent of its own, which tells its number and its status.
    """
    while True:
        message, streams, _, _ = socket.recv_fds(requests, _LONGEST, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for descriptor in streams:
            os.close(descriptor)
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    requests.close()
    pid = os.fork()
    *standard, told = streams
    if pid:
        for descriptor in standard:
            os.close(descriptor)
        os.write(told, _NUMBER.pack(pid))
        os.write(told, _NUMBER.pack(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(told)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return json.loads(message)  # type: ignore[no-any-return]


def _open_streams() -> None:
    """Open standard streams again: those of the server know what it had been given."""
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(  # type: ignore[misc]
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )


def _become(asked: dict[str, Any]) -> None:
    """Run a command as the interpreter does that is started with it."""
    _open_streams()
    if asked["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["env"])
    tempfile.tempdir = None  # what the server's environment said
    os.chdir(asked["cwd"])
    first, *rest = asked["command"]
    if first == "-m":
        sys.path[0] = asked["cwd"]
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        script = Path(first).absolute()
        sys.path[0] = str(script.parent)
        sys.argv = [first, *rest]
        runpy.run_path(str(script), run_name="__main__")


def _serve() -> None:
    import numpy as np

    for name in _IMPORTED:
        import_module(name)
    gc.freeze()  # no fork needs a copy of what is there already, to look for cycles in it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    asked = _next_command(socket.socket(fileno=int(sys.argv[1])))
    np.random.seed()  # noqa: NPY002 - each process has its own
    _become(asked)


if __name__ == "__main__":
    _serve()
