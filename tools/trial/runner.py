"""Runs steps, each in a process of its own with a limit, and keeps what they find and print."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import lines

from . import summary

ROOT = Path(__file__).resolve().parents[2]
#: The variable that tells processes of a step where lines go.
LINES = "CLEVER_TRIAL_LINES"
#: Seconds that are kept for the summary, and without which a step is not begun.
_RESERVE, _LEAST = 4.0, 5.0
#: Seconds that the killed are waited for: one that a hung GPU holds never ends.
_DYING = 5.0
#: Bytes that are kept of what one step prints, the last ones.
_KEPT = 2**18
#: Bytes of it that stand in its line where it went wrong.
_TOLD = 2000
_BECOME_SUBREAPER = 36  # of prctl(2)


@dataclass(frozen=True)
class Step:
    """One process of a trial.

    Attributes:
        name: What it does.
        limit: Seconds after which it is killed.
        command: The program and its arguments.
        lacks: Why it cannot run here; None: it can.
        refused: A pattern of what it prints where the machine forbids it.
        environment: Variables of its own.
    """

    name: str
    limit: float
    command: Sequence[str]
    lacks: str | None = None
    refused: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Trial:
    """One half: a context in which steps are run, with the summary at its end.

    Args:
        half: Its name.
        out: The folder of trial.jsonl and trial.log, which are added to.
        seconds: For all of it.
        patient: Whether nothing is limited.
    """

    def __init__(self, half: str, out: Path, seconds: float, patient: bool = False) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.half, self.out, self.seconds, self.patient = half, out, seconds, patient
        self.lines, self.log = out / "trial.jsonl", out / "trial.log"
        self.failed = False
        self._begin = time.monotonic()
        self._first_line = len(lines.read(self.lines))

    def __enter__(self) -> Trial:
        with contextlib.suppress(OSError):  # else some children of children may outlive a step
            ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        kill_children()
        told = lines.read(self.lines)[self._first_line :]
        made = summary.of_lines(told)
        made |= {"half": self.half, "seconds": round(self._used())}
        made["limit"] = None if self.patient else self.seconds
        if error is not None:
            made["stopped"] = repr(error)
        lines.append(self.lines, {"summary": made})
        print(summary.text(made, told), flush=True)
        self.failed = bool(made["failed_steps"] or made["failed_tests"])

    def _used(self) -> float:
        return time.monotonic() - self._begin

    def run(self, step: Step) -> None:
        """Run a step as far as its limit and the time that is left allow; write its line."""
        left = step.limit if not self.patient else 3600.0
        if not self.patient:
            left = min(left, self.seconds - self._used() - _RESERVE)
        reason = step.lacks
        if reason is None and left < _LEAST:
            reason = f"no time is left of {self.seconds:g} s"
        if reason is not None:
            self._tell(step, "skipped", reason=reason)
            return
        print(f"{self._used():5.0f} s  {step.name} (at most {left:.0f} s)", flush=True)
        begin = time.monotonic()
        printed = self.out / "step.log"
        try:
            status = self._finished(step, left, printed)
            taken = round(time.monotonic() - begin, 1)
            text = self._keep(step, printed)
        except OSError as error:  # no such program, no such disk
            self._tell(step, "failed", reason=str(error))
            return
        refusal = re.search(step.refused, text) if step.refused and status else None
        if refusal is not None:
            self._tell(step, "refused", seconds=taken, reason=_line_around(text, refusal))
        elif status == 0:
            self._tell(step, "ok", seconds=taken)
        else:
            how = "over its limit" if status is None else "failed"
            self._tell(step, how, seconds=taken, exit_status=status, output=text[-_TOLD:])

    def _finished(self, step: Step, limit: float, printed: Path) -> int | None:
        """Return a step's exit status; None: it was killed at its limit."""
        with printed.open("wb") as file:
            process = subprocess.Popen(
                list(step.command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {LINES: str(self.lines)} | dict(step.environment),
            )  # fmt: skip
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_DYING)
                kill_children()

    def _keep(self, step: Step, printed: Path) -> str:
        """Move the end of what a step printed to the log, and return it."""
        with printed.open("rb") as file:
            file.seek(max(0, printed.stat().st_size - _KEPT))
            text = file.read().decode(errors="replace")
        with self.log.open("a") as log:
            log.write(f"== half {self.half}, {step.name}\n{text}\n")
        printed.unlink()
        return text

    def _tell(self, step: Step, status: str, **more: Any) -> None:
        lines.append(self.lines, {"step": step.name, "half": self.half, "status": status, **more})
        if status != "ok":
            print(f"{self._used():5.0f} s  {step.name}: {status}: {_reason(more)}", flush=True)


def _reason(more: dict[str, Any]) -> str:
    if "reason" in more:
        return str(more["reason"])
    told = [line for line in str(more.get("output", "")).splitlines() if line.strip()]
    return told[-1] if told else "it printed nothing"


def _line_around(text: str, match: re.Match[str]) -> str:
    return text[text.rfind("\n", 0, match.start()) + 1 :].split("\n", 1)[0].strip()


def _leave(number: int, _: Any) -> None:
    sys.exit(128 + number)


def children() -> Iterator[int]:
    """Yield the processes whose parent is this one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            # Its name, in parentheses, may hold anything.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(stat.parent.name)


def kill_children() -> None:
    """Kill all that steps left running: children of the killed become children of this process."""
    until = time.monotonic() + _DYING
    while (pids := list(children())) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
