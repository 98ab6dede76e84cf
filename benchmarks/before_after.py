"""Sampling, norms and the loop of this checkout beside those of another one, on one thread.

Each round is a process of its own for each checkout, in turn; in it the best of several calls
counts. The other checkout must have its extension built in place.

    git worktree add ../before COMMIT, build it there, and
    python benchmarks/before_after.py --before ../before --out benchmarks/results/NAME.json
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.plan import Plan
from clever_ext.kernels import ops
from clever_ext.machine import memory

ROOT = Path(__file__).resolve().parent.parent
_ONE_ROUND = "--one-round"
_AT_LEAST = 0.97
#: Shapes of points, and how many are sampled or reduced at once.
_POINTS = {(3, 224, 224): 4, (1, 28, 28): 256}


def _best(work: Callable[[], object], calls: int) -> float:
    work()
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def _kernels() -> dict[str, float]:
    """Return the seconds of a sample and of a gradient's norm."""
    found = {}
    maxima = torch.zeros(1, 1, dtype=torch.float64)
    for shape, n in _POINTS.items():
        case, center, x = " x ".join(map(str, shape)), torch.rand(shape), torch.empty(n, *shape)
        gradients, slots = torch.randn(1, n, *shape), torch.zeros(1, n, dtype=torch.int64)
        for p in (1.0, 2.0, math.inf):
            sample = partial(ops.sample_lp_ball, x, center, p, 0.5, 0, 0, 0, 0.0, 1.0)
            found[f"sampling, {case}, p = {p:g}"] = _best(sample, 60) / n
            norm = partial(ops.grad_norm_max, gradients, [p], maxima, slots)
            found[f"norm, {case}, q = {p:g}"] = _best(norm, 100) / n
    return found


def _networks() -> dict[str, tuple[nn.Module, tuple[int, ...], int, int]]:
    """Return networks, the shapes of their points, device batches and numbers of samples."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    convolutions = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return {
        "two linear layers": (linear.eval(), (1, 28, 28), 128, 20_000),
        "two convolutions": (convolutions.eval(), (3, 64, 64), 32, 1_280),
    }


def _sample(model: nn.Module, size: int, n_targets: int, sampling: Sampling, image: Tensor) -> None:
    of_class, targets = torch.tensor([0]), torch.arange(1, n_targets + 1)[None]
    plan, ids = Plan(TorchOracle(model), size), np.zeros(1, np.int64)
    for drawn in sample_maxima(plan, image, of_class, targets, ids, sampling, lambda _: None):
        drawn()


def _loops() -> dict[str, float]:
    """Return the seconds of a gradient in the loop."""
    found = {}
    for name, (model, shape, size, n_samples) in _networks().items():
        sampling = Sampling(2.0, 0.5, 1, n_samples, 0, (0.0, 1.0))
        image = torch.rand(1, *shape)
        for n_targets in (1, 3):
            work = partial(_sample, model, size, n_targets, sampling, image)
            found[f"loop, {name}, T = {n_targets}"] = _best(work, 8) / n_samples / n_targets
    return found


def _one_round() -> None:
    torch.set_num_threads(1)
    with memory.held():
        print(json.dumps(_kernels() | _loops()))


def _of(checkout: Path) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", __file__, _ONE_ROUND]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def main() -> None:
    """Measure both checkouts."""
    from side_by_side import arguments, figure, parsed, show, write

    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, required=True, metavar="FOLDER")
    args = parsed(parser)
    checkouts = {"before": args.before.resolve(), "now": ROOT}
    rounds = []
    for turn in range(args.rounds):  # neither is always the first
        order = sorted(checkouts, reverse=bool(turn % 2))
        rounds.append({name: _of(checkouts[name]) for name in order})
    figures = []
    for name in rounds[0]["now"]:
        kind, case = name.split(", ", 1)
        before, after = ([each[side][name] for each in rounds] for side in checkouts)
        figures.append(figure(f"{kind}, before / now", case, _AT_LEAST, before, after))
        show(figures[-1])
    git = ["git", "-C", str(args.before), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    write(args.out, figures, before=commit)


if __name__ == "__main__":
    if _ONE_ROUND in sys.argv:
        _one_round()
    else:
        sys.path.insert(0, str(Path(__file__).parent))
        main()
