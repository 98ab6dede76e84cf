"""Builds, tests and measures the CUDA half on this machine's GPU, in minutes that are counted.

    python tools/gpu_trial.py                        # both halves, into build/gpu_trial
    python tools/gpu_trial.py --half a --out FOLDER  # one, for machines that are lent for minutes
    python tools/gpu_trial.py --wheels FOLDER        # fetch beforehand what a machine may lack
    python tools/gpu_trial.py --brought FOLDER       # use them, on a machine without a network
    python tools/gpu_trial.py --emulated             # what can be tried without a GPU

Every step is a process with a limit of its own, and none ends the trial. What it finds is a line of
FOLDER/trial.jsonl at once, and its output goes to FOLDER/trial.log. docs/development/gpu.md says
what the steps are.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from trial import machine, plan, wheels  # noqa: E402
from trial.runner import Trial  # noqa: E402


def main() -> int:
    """Run the halves asked for, and tell how they went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=("a", "b"), help="one of the two (default: both)")
    parser.add_argument("--limit-a", type=float, default=390, metavar="S", help="seconds of half A")
    parser.add_argument("--limit-b", type=float, default=330, metavar="S", help="seconds of half B")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu_trial", metavar="FOLDER")
    parser.add_argument("--brought", type=Path, metavar="FOLDER", help="wheels to use")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="fetch wheels, and no more")
    parser.add_argument(
        "--emulated", action="store_true", help="the steps that need no GPU, without limits"
    )
    args = parser.parse_args()
    if args.wheels is not None:
        return wheels.fetch(args.wheels)
    limits = {"a": args.limit_a, "b": args.limit_b}
    os.environ |= wheels.environment()
    failed = False
    for half in args.half or "ab":
        with Trial(half, args.out.resolve(), limits[half], args.emulated) as trial:
            for step in plan.of_machine(args.brought):
                trial.run(step)
            found = plan.Plan(machine.read(trial.lines), args.emulated, trial.lines)
            for step in plan.HALVES[half](found):
                trial.run(step)
        failed |= trial.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
