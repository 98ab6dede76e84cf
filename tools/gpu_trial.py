"""Builds, tests and measures the CUDA half on this machine's GPU, in minutes that are counted.

    python tools/gpu_trial.py                        # both halves, into build/gpu_trial
    python tools/gpu_trial.py --half a --out FOLDER  # one, where a GPU is there for minutes only
    python tools/gpu_trial.py --wheels FOLDER        # fetch beforehand what a machine may lack
    python tools/gpu_trial.py --brought FOLDER       # use them, on a machine without a network
    python tools/gpu_trial.py --emulated             # what can be tried without a GPU

Every step is a process with a limit of its own, and none ends the trial. What it finds is a line of
FOLDER/trial.jsonl at once, and its output goes to FOLDER/trial.log. docs/development/gpu.md says
what the steps are.

Exit status: 0; 1 where a step or a test failed; 2 where an argument is wrong; 3 where nothing
failed and nothing ran on a GPU either, though it was to.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from trial import machine, plan, wheels  # noqa: E402
from trial.runner import Trial  # noqa: E402


def positive(text: str) -> float:
    """Read seconds of the command line."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


def main() -> int:
    """Run the halves asked for, and tell how they went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=("a", "b"), help="one of the two (default: both)")
    for option, seconds in (("--limit-a", 390), ("--limit-b", 330)):
        parser.add_argument(option, type=positive, default=seconds, metavar="SECONDS",
                            help="of this half (default: %(default)s)")  # fmt: skip
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
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"the folder of --out cannot be made: {error}", file=sys.stderr)
        return 2
    failed = ran = False
    for half in args.half or "ab":
        with Trial(half, args.out.resolve(), limits[half], args.emulated) as trial:
            for step in plan.of_machine(args.brought):
                trial.run(step)
            found = machine.read(trial.lines, trial.name)
            for step in plan.HALVES[half](plan.Plan(found, args.emulated, trial.lines)):
                trial.run(step)
        failed |= trial.failed
        ran |= trial.ran_on_gpu
    if not ran and not args.emulated:
        print("nothing ran on a GPU")
    return 1 if failed else 0 if ran or args.emulated else 3


if __name__ == "__main__":
    sys.exit(main())
