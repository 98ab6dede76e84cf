"""Kernels and whole loops on a GPU, timed by CUDA events.

Kernels, 512 points of 3 x 224 x 224, float32, 308 MB: more than any cache holds. The floor of each
is the bytes that it must move over the bandwidth of a device-to-device copy of 308 MB, which moves
them twice: a sample is written once (its centre stays in the cache), a gradient is read once, the
fused step does both.

Loops: gradients per second of ours, prepared by "auto", "compile" and the dtype, against the bare
model prepared in the same way and its forward and input-gradient backward pass captured as one CUDA
graph over one fixed batch. Weights are random: only the speed matters. Of our loop the steps after
the first ten are timed: the first ones are run eagerly, and one is captured.

    python benchmarks/gpu.py --out benchmarks/results/gpu-h100.json
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from networks import NETWORKS
from side_by_side import arguments, figure, interleaved, parsed, show, write
from torch import Tensor

from clever_ext.engine.engine import Engine
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.preparation import apply
from clever_ext.kernels import ops
from clever_ext.kernels.balls import as_layout, dual_exponent, trial_radius

SHAPE = (3, 224, 224)
POINTS = 512
NORMS = (2.0, 1.0, math.inf)
#: Of the copy's speed at least.
SAMPLING = {2.0: 0.85, 1.0: 0.6, math.inf: 0.9}
REDUCTION, FUSED, LOOP = 0.9, 0.75, 0.97
#: Networks, and the points that go through them at once.
LOOPS = {"resnet-50": 128, "vit-b16": 64}
STEPS = 50
WARM_UP = 10
Work = Callable[[], None]


def event() -> Any:
    """Make a CUDA event that keeps its time."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def seconds_between(begin: Any, end: Any) -> float:
    """Wait for both events."""
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def timed(work: Work, repeats: int) -> Callable[[], float]:
    """Make a work that tells the seconds of one call, by events around several."""

    def reading() -> float:
        begin, end = event(), event()
        begin.record()
        for _ in range(repeats):
            work()
        end.record()
        return seconds_between(begin, end) / repeats

    return reading


class Buffers:
    """What the kernels read and write."""

    def __init__(self, device: str, points: int = POINTS) -> None:
        self.center = torch.rand(1, *SHAPE, device=device)
        self.x = torch.empty(points, *SHAPE, device=device)
        self.grads = torch.randn(points, *SHAPE, device=device)
        self.maxima = torch.zeros(1, 1, dtype=torch.float64, device=device)
        self.cursor = torch.arange(points, device=device)
        self.slots = torch.zeros(points, dtype=torch.int64, device=device)
        self.jobs = torch.zeros(1, 4, dtype=torch.int64, device=device)
        self.radii = torch.ones(1, dtype=torch.float64, device=device)
        self.groups = torch.zeros(1, points, dtype=torch.int64, device=device)

    def copy(self) -> None:
        """Copy as many bytes as the points have."""
        self.x.copy_(self.grads)

    def sample(self, p: float) -> None:
        """Draw all the points."""
        ops.sample_lp_ball(self.x, self.center[0], p, trial_radius(p), 0, 0, 0, -math.inf, math.inf)

    def norm(self, q: float) -> None:
        """Reduce all the gradients."""
        ops.grad_norm_max(self.grads[None], [q], self.maxima, self.groups)

    def step(self, p: float) -> None:
        """Make the fused step; the one job has more samples than are ever drawn."""
        ops.reduce_and_resample(
            self.grads, self.x, self.maxima[0], self.cursor, self.slots, self.center, self.jobs,
            self.radii, 2**31 - 1, p, dual_exponent(p), 0, -math.inf, math.inf,
        )  # fmt: skip


def kernels(device: str, rounds: int) -> list[dict[str, Any]]:
    """Measure each kernel beside the copy."""
    buffers = Buffers(device)
    works: dict[str, tuple[Work, float, float]] = {}  # the work, its target, copies that it moves
    for p in NORMS:
        works[f"sampling, p = {p:g}"] = partial(buffers.sample, p), SAMPLING[p], 0.5
    for p in NORMS:
        q = dual_exponent(p)
        works[f"grad_norm_max, q = {q:g}"] = partial(buffers.norm, q), REDUCTION, 0.5
    for p in NORMS:
        works[f"fused step, p = {p:g}"] = partial(buffers.step, p), FUSED, 1.0
    readings = {name: timed(work, 20) for name, (work, _, _) in works.items()}
    found = interleaved({"copy": timed(buffers.copy, 20), **readings}, rounds)
    size = 2 * buffers.x.numel() * buffers.x.element_size()
    bandwidth = size / statistics.median(found["copy"]) / 1e9
    figures = []
    for name, (_, target, copies) in works.items():
        floor = [copies * seconds for seconds in found["copy"]]
        kernel, case = name.split(", ")
        title = f"{kernel}, the copy's time for its bytes / its time"
        figures.append(figure(title, case, target, floor, found[name], copy_gb_per_s=bandwidth))
        show(figures[-1])
    return figures


def bare_graph(model: Callable[[Tensor], Tensor], x: Tensor) -> Work:
    """Capture forward pass, margin and backward pass to the input over one batch."""

    def work() -> None:
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def loop(name: str, options: tuple[str, ...], device: str, rounds: int) -> dict[str, Any]:
    """Measure our loop beside the bare captured passes."""
    torch.manual_seed(0)
    network, size = NETWORKS[name], LOOPS[name]
    model = network.build().to(device).requires_grad_(False)
    image = torch.rand(1, *network.shape, device=device)
    engine = Engine(model, options, size)
    zero, one = torch.tensor([0], device=device), torch.tensor([[1]], device=device)
    with engine.running(image.device):
        engine.check(image)
        engine.ready(image, zero, one, 512_000)
    points = torch.rand(size, *network.shape, device=device)
    like = apply(model, engine.options, points)
    image = as_layout(image, engine.memory_format)
    sampling = Sampling(2.0, 2.0, 1, size * (WARM_UP + STEPS), 0, (0.0, 1.0))
    ids = np.zeros(1, dtype=np.int64)

    def ours() -> float:
        begin, end = event(), event()
        marks = {WARM_UP: begin, WARM_UP + STEPS: end}
        steps = count(1)

        def progress(_: int) -> None:
            if (mark := marks.get(next(steps))) is not None:
                mark.record()

        for drawn in sample_maxima(engine.plan, image, zero, one, ids, sampling, progress):
            drawn()
        return seconds_between(begin, end) / STEPS

    with engine.running(image.device):
        bare = bare_graph(like.model, as_layout(points, engine.memory_format))
        found = interleaved({"bare": timed(bare, STEPS), "ours": ours}, rounds)
    dtype = next((n for n in options if n in ("bfloat16", "float16", "tf32")), "float32")
    made = figure(
        "loop, the bare compiled and captured passes / ours",
        f"{name}, {dtype}, batch {size}",
        LOOP,
        found["bare"],
        found["ours"],
        engine=engine.description(),
        gradients_per_s={n: size / statistics.median(seconds) for n, seconds in found.items()},
    )
    show(made)
    return made


def main() -> None:
    """Measure the kernels and the loops."""
    parser = arguments(__doc__)
    parser.add_argument("--loops", nargs="*", choices=LOOPS, default=list(LOOPS))
    args = parsed(parser)
    device = "cuda"
    figures = kernels(device, args.rounds)
    for name in [] if args.quick else args.loops:
        for more in ((), ("tf32",), ("bfloat16",)):
            figures.append(loop(name, ("auto", "compile", *more), device, args.rounds))
    properties = torch.cuda.get_device_properties(device)
    write(args.out, figures, gpu=properties.name, cuda=torch.version.cuda)


if __name__ == "__main__":
    main()
