"""Runs steps, each in a process of its own with a limit, and keeps what they find and print."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import lines

from . import processes, summary

ROOT = Path(__file__).resolve().parents[2]
#: The variable that tells processes of a step where lines go.
LINES = "CLEVER_TRIAL_LINES"
#: Seconds that are kept for the summary, and without which a step is not begun.
_RESERVE, _LEAST = 4.0, 5.0
#: Bytes that are kept of what one step prints, the last ones.
_KEPT = 2**18
#: Bytes of it that stand in its line where it went wrong.
_TOLD = 2000
#: At these the trial ends with its summary; where they are ignored (nohup) they stay so.
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@dataclass(frozen=True)
class Step:
    """One process of a trial.

    Attributes:
        name: What it does.
        limit: Seconds after which it is killed.
        command: The program and its arguments.
        lacks: Why it cannot run here; None: it can.
        after: Steps without which it is worthless; it is skipped where one of them went wrong.
        spares: Seconds that it leaves to the steps after it.
        on_gpu: Whether it computes on a GPU.
        refused: A pattern of what it prints where the machine forbids it.
        environment: Variables of its own.
    """

    name: str
    limit: float
    command: Sequence[str]
    lacks: str | None = None
    after: Sequence[str] = ()
    spares: float = 0.0
    on_gpu: bool = False
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
        self.name = f"{half}-{os.getpid()}-{time.time():.0f}"
        self.failed = self.ran_on_gpu = False
        self._begin = time.monotonic()
        self._worthless: dict[str, str] = {}  # steps, and why those after them are skipped
        self._unwritten: list[summary.Line] = []

    def __enter__(self) -> Trial:
        processes.adopt()
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        processes.kill_children()
        told = lines.of_run(self.lines, self.name) + self._unwritten
        made = summary.of_lines(told)
        made |= {"half": self.half, "seconds": round(self._used())}
        made["limit"] = None if self.patient else self.seconds
        if error is not None:
            made["stopped"] = repr(error)
        self._write({"summary": made})
        with contextlib.suppress(OSError):  # the terminal is gone
            print(summary.text(made, told), flush=True)
        self.failed = bool(made["failed_steps"] or made["failed_tests"])

    def _used(self) -> float:
        return time.monotonic() - self._begin

    def run(self, step: Step) -> None:
        """Run a step as far as its limit and the time that is left allow; write its line."""
        left = step.limit if not self.patient else 3600.0
        if not self.patient:
            left = min(left, self.seconds - self._used() - _RESERVE - step.spares)
        worthless = [self._worthless[name] for name in step.after if name in self._worthless]
        reason = step.lacks or (worthless[0] if worthless else None)
        if reason is None and left < _LEAST:
            reason = f"no time is left of {self.seconds:g} s"
            self._worthless[step.name] = f"no time was left for the {step.name}"
        if reason is not None:
            self._tell(step, "skipped", reason=reason)
            return
        self._say(f"{step.name} (at most {left:.0f} s)")
        begin = time.monotonic()
        printed = self.out / f"step-{self.name}.log"
        try:
            status = self._finished(step, left, printed)
        except OSError as error:  # what it prints has no place
            self._tell(step, "failed", reason=str(error))
            return
        except SystemExit:
            self._tell(step, "stopped", seconds=round(time.monotonic() - begin, 1))
            raise
        finally:
            text = self._keep(step, printed)
        taken = round(time.monotonic() - begin, 1)
        refusal = re.search(step.refused, text) if step.refused and status else None
        if refusal is not None:
            self._tell(step, "refused", seconds=taken, reason=_line_around(text, refusal))
            return
        self.ran_on_gpu |= step.on_gpu
        if status == 0:
            self._tell(step, "ok", seconds=taken)
        else:
            how = "over its limit" if status is None else "failed"
            self._tell(step, how, seconds=taken, exit_status=status, output=text[-_TOLD:])

    def _finished(self, step: Step, limit: float, printed: Path) -> int | None:
        """Return a step's exit status; None: it was killed at its limit."""
        with printed.open("wb") as file:
            guard = [sys.executable, processes.__file__, str(os.getpid())]
            process = subprocess.Popen(
                [*guard, *step.command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | self._variables() | dict(step.environment),
            )  # fmt: skip
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(processes.DYING)
                processes.kill_children()

    def _variables(self) -> dict[str, str]:
        return {LINES: str(self.lines), lines.RUN: self.name}

    def _keep(self, step: Step, printed: Path) -> str:
        """Move the end of what a step printed to the log, and return it."""
        text = ""
        try:
            with printed.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _KEPT))
                text = file.read().decode(errors="replace")
            printed.unlink()
            with self.log.open("a") as log:
                log.write(f"== half {self.half}, {step.name}\n{text}\n")
        except OSError as error:
            self._say(f"what {step.name} printed is not in the log: {error}")
        return text

    def _write(self, line: summary.Line) -> None:
        """Write a line; one that the disk does not take is kept for the summary."""
        line = {**line, "run": self.name}
        if not lines.tell(self.lines, line):
            self._unwritten.append(line)

    def _tell(self, step: Step, status: str, **more: Any) -> None:
        if status in ("failed", "over its limit"):
            self._worthless[step.name] = f"the {step.name} failed"
        self._write({"step": step.name, "half": self.half, "status": status, **more})
        if status != "ok":
            self._say(f"{step.name}: {status}{_reason(more)}")

    def _say(self, what: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            print(f"{self._used():5.0f} s  {what}", flush=True)


def _reason(more: dict[str, Any]) -> str:
    if "reason" in more:
        return f": {more['reason']}"
    told = [line for line in str(more.get("output", "")).splitlines() if line.strip()]
    return f": {told[-1]}" if told else ""


def _line_around(text: str, match: re.Match[str]) -> str:
    return text[text.rfind("\n", 0, match.start()) + 1 :].split("\n", 1)[0].strip()


def _leave(number: int, _: Any) -> None:
    for each in _ENDING:  # a second one does not end the summary
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
