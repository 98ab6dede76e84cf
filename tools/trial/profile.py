"""Profiles the driver's six launches: `python -m trial.profile NCU DRIVER`; a line for each."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lines


def launches(text: str) -> list[dict[str, Any]]:
    """Return name and metrics of each launch in what ncu prints as CSV, messages around it."""
    table = [line for line in text.splitlines() if line.startswith('"')]
    found: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(table):
        made = found.setdefault(row["ID"], {"profile": row["Kernel Name"], "metrics": {}})
        value = f"{row['Metric Value']} {row['Metric Unit']}".strip()
        made["metrics"][row["Metric Name"]] = value
    return list(found.values())


def main() -> int:
    """Profile, and write the lines; the clocks are left as they are."""
    ncu, driver = sys.argv[1:]
    command = [ncu, "--clock-control", "none", "--set", "basic", "--csv", driver, "profile"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(said.stdout)
    found = launches(said.stdout)
    for each in found:
        lines.tell(Path(os.environ["CLEVER_TRIAL_LINES"]), each)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
