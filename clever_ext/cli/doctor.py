"""`clever-ext doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from .terminal import facts, say, show, width_of


def add(commands: Any) -> None:
    """Describe the command."""
    doctor = commands.add_parser(
        "doctor",
        help="tell versions and devices, and test the kernels",
        description="Tell versions and devices, and test each compiled kernel against its "
        "reference in Python. The exit status is 1 if one is wrong.",
    )
    doctor.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Look, test, and print."""
    from ..machine.doctor import describe, self_test

    show(facts(describe(), width_of()))
    failed = 0
    for check in self_test():
        verdict = "ok" if check.passed else "FAILED"
        say(f"{check.name}: {verdict} (off by {check.difference:.1e})")
        failed += not check.passed
    say("all kernels agree with their references" if not failed else f"{failed} failed")
    return 1 if failed else 0
