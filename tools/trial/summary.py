"""What the lines of a trial come to."""

from __future__ import annotations

from collections import Counter
from typing import Any

Line = dict[str, Any]


def of_lines(told: list[Line]) -> Line:
    """Count steps, tests and figures of some lines, and name those that went wrong."""
    steps = [line for line in told if "step" in line]
    tests = {line["test"]: line for line in told if "test" in line}
    figures = {(line["figure"], line["case"]): line for line in told if "figure" in line}
    wrong = ("failed", "over its limit", "stopped")
    return {
        "steps": dict(Counter(line["status"] for line in steps)),
        "failed_steps": {line["step"]: line["status"] for line in steps if line["status"] in wrong},
        "not_run": {
            line["step"]: line.get("reason", "")
            for line in steps
            if line["status"] in ("skipped", "refused")
        },
        "tests": dict(Counter(line["outcome"] for line in tests.values())),
        "failed_tests": [name for name, line in tests.items() if line["outcome"] == "failed"],
        "figures": len(figures),
        "missed": [", ".join(name) for name, line in figures.items() if not _reached(line)],
        "not_measured": [line["failed"] for line in told if "failed" in line],
    }


def _reached(figure: Line) -> bool:
    target, median = figure["target"], figure["ratio"]["median"]
    if target is None:
        return True
    return bool(median <= target if figure.get("at_most") else median >= target)


def text(made: Line, told: list[Line]) -> str:
    """Return a summary as it is printed; figures that have targets come last."""
    limit = "no limit" if made["limit"] is None else f"{made['limit']:g} s"
    head = [f"== half {made['half']}: {made['seconds']} s of {limit}"]
    head += [f"stopped: {made['stopped']}"] if "stopped" in made else []
    for name in ("steps", "tests"):
        counts = ", ".join(f"{count} {what}" for what, count in made[name].items())
        head.append(f"{name}: {counts or 'none'}")
    head += [f"  step {name}: {status}" for name, status in made["failed_steps"].items()]
    head += [f"  step {name}: {reason}" for name, reason in made["not_run"].items()]
    head += [f"  {name}: failed" for name in made["failed_tests"][:20]]
    head.append(f"figures: {made['figures']}, {len(made['missed'])} of them miss their target")
    head += [f"  not measured: {name}" for name in made["not_measured"]]
    aimed = [line for line in told if "figure" in line and line["target"] is not None]
    for line in aimed:
        bound = "at most" if line.get("at_most") else "at least"
        head.append(
            f"  {line['figure']}, {line['case']}: {line['ratio']['median']:.3g}"
            f" ({'' if _reached(line) else 'missed: '}{bound} {line['target']:g})"
        )
    return "\n".join(head)
