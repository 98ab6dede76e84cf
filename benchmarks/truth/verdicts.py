"""What verifiers have said of the instances of VNN-COMP 2021."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

#: Beginnings of what verifiers have written, in small letters, as the competition's
#: process_results.py reads them; whatever else they wrote is no verdict.
_VERDICTS = {"unsat": "holds", "holds": "holds", "sat": "violated", "violated": "violated"}
#: Verdicts that the competition has struck out: a fault in reading the properties.
_STRUCK_OUT = {("RPM", "mnistfc")}


def agreed(tools: dict[str, str]) -> str:
    """Return the verdict of all verifiers that came to one; else "disputed", or "unknown"."""
    said = set(tools.values())
    return "unknown" if not said else said.pop() if len(said) == 1 else "disputed"


def verdicts(results: Path, benchmark: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return what verifiers have said of a benchmark's instances.

    Args:
        results: Folder of the verifiers' files.
        benchmark: Name.

    Returns:
        By network and property, named as paths in the benchmark's folder, the verdict of each
        verifier that came to one.
    """
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for file in sorted(results.glob("*.csv")):
        if (file.stem, benchmark) in _STRUCK_OUT:
            continue
        with file.open(newline="") as lines:
            for name, network, prop, _, said, *_ in csv.reader(lines):
                begins = (v for k, v in _VERDICTS.items() if said.lower().startswith(k))
                verdict = next(begins, None)
                if name == benchmark and verdict is not None:
                    key = tuple(
                        each.split(f"benchmarks/{benchmark}/")[-1] for each in (network, prop)
                    )
                    found[key[0], key[1]][file.stem] = verdict
    return found
