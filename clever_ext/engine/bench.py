"""What a score costs on this machine, stage by stage, beside the least that it could cost."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classifier.oracle import TorchOracle
from ..errors import CleverError
from ..evt.reverse_weibull import fit_reverse_weibull
from ..kernels.balls import as_layout, dual_exponent, sample_lp_ball, trial_radius
from ..kernels.norms import grad_norm_max
from .engine import Engine, first_device_batch
from .maxima import Sampling, sample_maxima
from .preparation import CannotPrepareError, Prepared, apply
from .trials import pass_seconds

#: The paper's N_b and N_s: so many gradients share one fit.
PAPER_BATCHES, PAPER_SAMPLES = 500, 1024
#: Gradients that the choice of options and batch may assume are to come: an ordinary score's.
_GRADIENTS_TO_COME = PAPER_BATCHES * PAPER_SAMPLES
#: Bytes of the buffer whose copy measures the bandwidth: far more than a cache holds.
_COPIED = 2**28


@dataclass(frozen=True)
class Stage:
    """One part of the work: its microseconds for each gradient evaluation, round by round.

    Attributes:
        name: What it does.
        floor: The least it could take.
        ours: What it takes.
    """

    name: str
    floor: list[float]
    ours: list[float]

    def medians(self) -> tuple[float, float]:
        """Return the medians of floor and ours."""
        return statistics.median(self.floor), statistics.median(self.ours)


@dataclass(frozen=True)
class Costs:
    """The stages of one model's score, and how they were measured.

    Attributes:
        stages: Passes, sampling, norms, fit and the whole loop, in this order.
        facts: Device batch, options, bandwidth and what else tells how.
    """

    stages: list[Stage]
    facts: dict[str, Any]


class _Bench:
    """A model and points like those of a score, and how to time its parts."""

    def __init__(self, engine: Engine, image: Tensor, p: float, n_targets: int) -> None:
        self.engine, self.image, self.p = engine, image, p
        self.device = image.device
        self.classes = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.targets = torch.arange(1, 1 + n_targets, device=self.device)[None]

    def seconds(self, work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin

    def passes(self, prepared: Prepared, oracle: Any, size: int) -> Callable[[], float]:
        points = self.image.expand(size, *self.image.shape[1:])
        points = points.contiguous(memory_format=prepared.memory_format)
        classes, targets = self.classes.expand(size), self.targets.expand(size, -1)
        return lambda: pass_seconds(oracle, points, classes, targets) / targets.numel()

    def best_bare(self, sizes: list[int]) -> tuple[str, int, Callable[[], float]]:
        """Find the memory format and batch at which the model's own passes are fastest."""
        model = self.engine.model
        found: list[tuple[float, str, int, Callable[[], float]]] = []
        failed: Exception = RuntimeError("no pass was made")
        for name in ("contiguous", "channels_last"):
            try:
                options = [] if name == "contiguous" else [name]
                prepared = apply(model, options, self.image.expand(3, *self.image.shape[1:]))
            except CannotPrepareError:
                continue
            oracle = TorchOracle(prepared.model)
            for size in sizes:
                one = self.passes(prepared, oracle, size)
                try:
                    one()
                    found.append((min(one(), one()), name, size, one))
                except Exception as error:  # whatever a model's own code raises at this size
                    failed = error
        if not found:
            raise failed
        return min(found, key=lambda each: each[0])[1:]

    def bandwidth(self) -> float:
        """Bytes that a copy of a large buffer reads and writes in a second."""
        source = torch.ones(_COPIED // 4, device=self.device)
        target = torch.empty_like(source)
        times = [self.seconds(lambda: target.copy_(source)) for _ in range(4)]
        return 2 * _COPIED / min(times[1:])

    def sampling(self, size: int) -> float:
        center = self.image[0]
        return self.seconds(lambda: sample_lp_ball(center, size, p=self.p)) / size

    def norms(self, gradients: Tensor) -> float:
        q = dual_exponent(self.p)
        return self.seconds(lambda: grad_norm_max(gradients[:, None], q)) / len(gradients)

    def fit(self) -> float:
        maxima = 10 - np.random.default_rng(0).weibull(5.0, (64, PAPER_BATCHES))
        seconds = self.seconds(lambda: fit_reverse_weibull(maxima))
        return seconds / len(maxima) / _GRADIENTS_TO_COME

    def loop(self, steps: int) -> float:
        """Seconds of a gradient in the loop of `clever_score`."""
        plan, n_targets = self.engine.plan, self.targets.shape[1]
        n_samples = plan.device_batch * steps
        sampling = Sampling(self.p, trial_radius(self.p), 1, n_samples, 0, (-math.inf, math.inf))
        image = as_layout(self.image, self.engine.memory_format)
        ids = np.zeros(1, dtype=np.int64)

        def work() -> None:
            found = sample_maxima(
                plan, image, self.classes, self.targets, ids, sampling, lambda _: None
            )
            for drawn in found:
                drawn()

        return self.seconds(work) / (n_samples * n_targets)


def measure(
    model: Any,
    image: Tensor,
    p: float = 2,
    n_targets: int = 1,
    prepare: Any = "auto",
    device_batch: int | str = "auto",
    rounds: int = 5,
    seconds_per_round: float = 1.0,
) -> Costs:
    """Measure what each stage of a score costs for a model, and the least it could cost.

    The floor of the passes is the model's own forward and input-gradient backward pass, in the
    faster memory format and the best of three batches; that of sampling and norms is the bytes
    that they must move over the bandwidth of a copy; the loop's is their sum. Stages are measured
    in turn, round after round. That of the fit is a share of one fit of 500 maxima of 1,024.

    Args:
        model: [B, *shape] -> logits [B, K], in evaluation mode.
        image: [1, *shape], on the model's device and in its dtype.
        p: Norm.
        n_targets: Targets that share a point's forward pass; each is a gradient evaluation.
        prepare: As for `clever_score`.
        device_batch: As for `clever_score`.
        rounds: How often each stage is measured.
        seconds_per_round: About how long the loop of one round takes.

    Returns:
        The stages and facts; times are microseconds for each gradient evaluation.

    Raises:
        CleverError: the model cannot be scored, or has too few classes for so many targets.
    """
    engine = Engine(model, prepare, device_batch)
    bench = _Bench(engine, image, p, n_targets)
    with engine.running(image.device):
        engine.check(image, [(p, trial_radius(p))])
        n_classes = engine.own.oracle.logits(image).shape[1]
        if n_targets >= n_classes:
            raise CleverError(
                f"{n_targets} targets for a model of {n_classes} classes",
                f"at most {n_classes - 1}: the other classes",
                "ask for fewer",
            )
        engine.ready(image, bench.classes, bench.targets, _GRADIENTS_TO_COME)
        size = engine.plan.device_batch
        first = first_device_batch(image.shape[1:], image.device)
        bare_format, bare_size, bare = bench.best_bare(sorted({first, size, 2 * size}))
        prepared = Prepared(model, memory_format=engine.memory_format)
        passes = bench.passes(prepared, engine.plan.oracle, size)
        gradients = torch.randn(size, *image.shape[1:], device=image.device, dtype=image.dtype)
        steps = max(2, round(seconds_per_round / (passes() * size * n_targets)))
        bandwidth = bench.bandwidth()
        point = image[0].numel() * image.element_size()
        found: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            row = {
                "bare": bare(),
                "passes": passes(),
                "sampling": bench.sampling(size) / n_targets,
                "norms": bench.norms(gradients),
                "fit": bench.fit(),
                "loop": bench.loop(steps),
            }
            if turn:  # the first one warms up
                for name, seconds in row.items():
                    found.setdefault(name, []).append(1e6 * seconds)
    norm_floor = 1e6 * point / bandwidth  # a gradient is read once
    sample_floor = norm_floor / n_targets  # a sample is written once; its centre stays in cache
    stages = [
        Stage("forward and backward", found["bare"], found["passes"]),
        Stage("sampling", [sample_floor] * rounds, found["sampling"]),
        Stage("norm", [norm_floor] * rounds, found["norms"]),
        Stage("fit", found["fit"], found["fit"]),
        Stage(
            "the loop",
            [sample_floor + norm_floor + seconds for seconds in found["bare"]],
            found["loop"],
        ),
    ]
    facts = {
        "bare": {"memory_format": bare_format, "batch": bare_size},
        "engine": engine.description(),
        "bandwidth_gb_per_s": bandwidth / 1e9,
        "norm": p if math.isfinite(p) else "inf",
        "n_targets": n_targets,
        "threads": torch.get_num_threads(),
    }
    return Costs(stages, facts)
