"""What the benchmarks share: interleaved timing, ratios with their spread, and result files.

A result file holds where and how it was measured and a list of figures. In every round all the
works run once, in an order that rotates, and the round gives its ratio; the median of the rounds'
ratios is the figure, the smallest and largest are its spread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import clever_ext as cx


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, or what the call returns if that is a number: its own reading."""
    start = time.perf_counter()
    reading = work()
    taken = time.perf_counter() - start
    return reading if isinstance(reading, float) else taken


def interleaved(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each work in each round; one round of warm-up is not counted."""
    names = list(works)
    found: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        works[name]()
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            found[name].append(seconds(works[name]))
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def figure(
    name: str,
    case: str,
    target: float | None,
    slower: list[float],
    faster: list[float],
    **more: Any,
) -> dict[str, Any]:
    """Make one figure: how many times faster the second list's rounds were than the first's.

    Args:
        name: What is compared with what.
        case: Norm, network, size: what tells it from the other figures of that name.
        target: What it is to reach, or None.
        slower: Seconds of the rounds of what we compare with.
        faster: Seconds of our rounds.
        more: Anything else worth keeping.
    """
    ratio = spread([a / b for a, b in zip(slower, faster, strict=True)])
    return {
        "figure": name,
        "case": case,
        "target": target,
        "ratio": ratio,
        "rounds": {"baseline_s": slower, "ours_s": faster},
        **more,
    }


def share(
    name: str, case: str, target: float | None, holds: npt.NDArray[np.bool_], **more: Any
) -> dict[str, Any]:
    """Make a figure of the share of cases in which something holds; with how many those are."""
    found = {key: float(holds.mean()) for key in ("median", "min", "max")}
    of = [int(holds.sum()), len(holds)]
    return {"figure": name, "case": case, "target": target, "ratio": found, "share": of, **more}


def quantity(
    name: str, case: str, target: float | None, values: npt.NDArray[np.float64], **more: Any
) -> dict[str, Any]:
    """Make a figure of the median of a quantity over cases."""
    return {
        "figure": name,
        "case": case,
        "target": target,
        "ratio": spread([float(value) for value in values]),
        **more,
    }


def show(found: dict[str, Any]) -> None:
    """Print one figure."""
    ratio, target = found["ratio"], found["target"]
    bound = "at most" if found.get("at_most") else "at least"
    wanted = "" if target is None else f", {bound} {target:g}"
    print(
        f"{found['figure']}, {found['case']}: {ratio['median']:.3g} "
        f"({ratio['min']:.3g} to {ratio['max']:.3g}{wanted})",
        flush=True,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def arguments(
    description: str, rounds: int = 7, out: str = "JSON file for the raw rounds"
) -> argparse.ArgumentParser:
    """Make a parser with what every benchmark takes: --rounds, --quick and --out."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=rounds, metavar="N",
        help="how often each work is timed, in turn with the others (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="a small subset in few rounds, for a first look"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; a quick look takes 2 rounds at most."""
    args = parser.parse_args()
    if args.quick:
        args.rounds = min(args.rounds, 2)
    return args


def about(**notes: Any) -> dict[str, Any]:
    """Return where and how figures are measured by this process."""
    device = f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "date": date.today().isoformat(),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "versions": {
            "clever_ext": cx.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **notes,
    }


def write(path: Path | None, figures: list[dict[str, Any]], **notes: Any) -> None:
    """Write figures with where and how they were measured; None writes nothing."""
    if path is None:
        return
    path.write_text(json.dumps({**about(**notes), "figures": figures}, indent=1) + "\n")
