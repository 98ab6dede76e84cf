"""A plugin of pytest that writes a line for each test as it ends: `-p trial.pytest_lines`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lines
import pytest

_WHAT_IS_TOLD = 1500


def pytest_configure(config: pytest.Config) -> None:
    """Take part where lines are asked for; of several workers, in the process that leads them."""
    path = os.environ.get("CLEVER_TRIAL_LINES")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Lines(Path(path)))


class _Lines:
    """Hooks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write a test's own outcome, and that of what stands around it where it went wrong."""
        if report.when == "call" or not report.passed:
            self._tell(report, report.nodeid, round(report.duration, 3))

    def pytest_collectreport(self, report: Any) -> None:
        """Write which files could not be read."""
        if report.failed:
            self._tell(report, f"{report.nodeid} (collection)", 0.0)

    def _tell(self, report: Any, name: str, seconds: float) -> None:
        line = {"test": name, "outcome": report.outcome, "seconds": seconds}
        if report.skipped and isinstance(report.longrepr, tuple):
            line["reason"] = str(report.longrepr[2])
        elif report.failed:
            line["reason"] = report.longreprtext[-_WHAT_IS_TOLD:]
        lines.tell(self.path, line)
