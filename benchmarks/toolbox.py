"""Time of a score beside the toolbox's: art.metrics.clever_t and clever_u, on the CPU.

Both score one image with the same network, ball, clip values and number of gradients. They run in
turn, the toolbox in a process of its own, so that its memory is allocated as its users have it.
How each gets there differs:

- The toolbox draws a pool of pool_factor x batch_size points and differentiates it in chunks of
  pool_factor, by default 10. Each gradient of a margin takes two forward and two backward passes,
  one for either class, and the backward passes compute the parameters' gradients too. Norms are
  taken by NumPy; nb_batches maxima are drawn again and again from the one pool; one fit is made, by
  SciPy from one start. clever_u repeats all of this for each class.
- clever_score draws N_b x N_s points, so that each maximum is of fresh ones. A point takes one
  forward pass for all targets and one backward pass for each, to the input alone. Each (image,
  target, norm) gets one fit, with its interval and p-value. The checks of the model, its digest and
  the table are in the time; what it finds out about the model by trials, it finds in the warm-up,
  which is not counted for either.

So both take N_b x N_s gradients for each target and norm, with N_b = pool_factor = nb_batches = 10
and N_s = batch_size. The figures without a target give the toolbox larger chunks than its default.
Ours is measured as it is by default (float32), and once more with prepare=("auto", "bfloat16"); for
what that does to scores see docs/studies/speed-options.md. Three norms in one call are to be no
worse than the single ones: their target is the smallest of the three medians for one norm.

    pip install -e .[bench]
    python benchmarks/toolbox.py --out benchmarks/results/toolbox-cpu.json
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from networks import NETWORKS
from side_by_side import arguments, figure, interleaved, parsed, show, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.engine.preparation import Prepare

NETWORK = "mnist-7-layer"
RADII = {1.0: 20.0, 2.0: 2.0, math.inf: 0.2}
CLIP = (0.0, 1.0)
N_BATCHES = 10


@dataclass(frozen=True)
class Case:
    """What is scored: norms, one target or all nine, N_s, and the toolbox's chunks."""

    name: str
    norms: tuple[float, ...]
    batch_samples: int
    target: float | None = None  # what the ratio is to reach
    every_class: bool = False
    chunk: int = N_BATCHES
    prepare: Prepare = ("auto",)

    @property
    def gradients(self) -> int:
        """Gradient evaluations of one round, the same for both."""
        targets = 9 if self.every_class else 1
        return len(self.norms) * targets * N_BATCHES * self.batch_samples

    def __str__(self) -> str:
        norms = ", ".join(f"{p:g}" for p in self.norms)
        return f"{NETWORK}, {'nine targets' if self.every_class else 'one target'}, p = {norms}"


@cache
def problem() -> tuple[nn.Module, Tensor, int]:
    """Return the network, an image [1, 1, 28, 28] and its least likely class."""
    torch.manual_seed(0)
    network = NETWORKS[NETWORK]
    model, image = network.build(), torch.rand(1, *network.shape)
    with torch.no_grad():
        return model, image, int(model(image).argmin())


@cache
def wrapped() -> Any:
    """Return the network as the toolbox takes it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=problem()[0], loss=nn.CrossEntropyLoss(), input_shape=NETWORKS[NETWORK].shape,
        nb_classes=10, clip_values=CLIP, device_type="cpu",
    )  # fmt: skip


def toolbox(case: Case) -> None:
    """Score as the toolbox does, one norm after the other."""
    from art.metrics import clever_t, clever_u

    _, image, target = problem()
    # Its pool has chunk x batch_size points.
    batch_size = N_BATCHES * case.batch_samples // case.chunk
    for p in case.norms:
        settings = (N_BATCHES, batch_size, RADII[p], p)
        if case.every_class:
            clever_u(wrapped(), image[0].numpy(), *settings, pool_factor=case.chunk, verbose=False)
        else:
            clever_t(wrapped(), image[0].numpy(), target, *settings, pool_factor=case.chunk)


def ours(case: Case) -> None:
    """Score with as many gradients, all norms in one call."""
    model, image, target = problem()
    cx.clever_score(
        model, image, norm=case.norms, radius=RADII, clip=CLIP,
        targets="all" if case.every_class else target,
        n_batches=N_BATCHES, batch_samples=case.batch_samples, prepare=case.prepare,
    )  # fmt: skip


def measure(case: Case, rounds: int, other: ProcessPoolExecutor) -> dict[str, Any]:
    """Run both in turn."""
    works: dict[str, Callable[[], object]] = {
        "toolbox": lambda: other.submit(toolbox, case).result(),
        "ours": partial(ours, case),
    }
    found = interleaved(works, rounds)
    each = {
        f"{name}_us_per_gradient": 1e6 * statistics.median(seconds) / case.gradients
        for name, seconds in found.items()
    }
    made = figure(
        case.name, str(case), case.target, found["toolbox"], found["ours"],
        gradients=case.gradients, **each,
    )  # fmt: skip
    show(made)
    return made


def main() -> None:
    """Measure one target, nine targets, and three norms in one call."""
    args = parsed(arguments(__doc__))
    norms = [(p,) for p in RADII]
    few, many = 32, 256  # N_s; a round of the toolbox takes some four seconds
    if args.quick:
        norms, few, many = [(2.0,)], 8, 32
    one = [Case("clever_t / clever_score", p, many, target=5) for p in norms]
    nine = [Case("clever_u / clever_score", p, few, target=10, every_class=True) for p in norms]
    half: Prepare = ("auto", "bfloat16")
    others = [
        Case("clever_t / clever_score, bfloat16", (2.0,), many, target=5, prepare=half),
        Case("clever_u / clever_score, bfloat16", (2.0,), few, 10, every_class=True, prepare=half),
        Case("clever_t, pool_factor 64 / clever_score", (2.0,), many, chunk=64),
    ]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        figures = [measure(case, args.rounds, other) for case in (*one, *nine, *others)]
        worst = min(made["ratio"]["median"] for made in figures[: len(one)])
        if not args.quick:
            name = "three calls of clever_t / one of clever_score"
            case = Case(name, tuple(RADII), many, target=worst)
            figures.append(measure(case, args.rounds, other))
    write(args.out, figures, toolbox="adversarial-robustness-toolbox 1.20.1")


if __name__ == "__main__":
    main()
