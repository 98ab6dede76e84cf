"""Kernels, whole loops and a real score on a GPU; each figure is a line that is added at once.

Kernels, float32: the time at the roof over the kernel's. The roof is the longer of two times: that
of a device-to-device copy for as many bytes, and that of issuing as many instructions at the GPU's
highest clock. Where nobody counted the instructions of its architecture it is the copy's time
alone, and the figure is named so. The copy is of as many points in the same buffers, captured and
timed in the same way: what the cache holds for the kernel, it holds for the copy. It moves the
points twice; a sample is written once (its centre stays in the cache), a gradient is read once, the
fused step does both.

Loops: gradients per second of ours, prepared by "auto", "compile" and the dtype, against the same
compiled model's forward and input-gradient backward pass, captured as one CUDA graph over one fixed
batch. Weights are random: only the speed matters. Of our loop the steps after the first ten are
timed: the first ones are run eagerly, and one is captured.

Photographs: brackets by EfficientNet-Lite0 of the photographs that it classifies correctly, after a
first run that is not counted: its time, its bits twice, and its ends against those of the CPU.

    python benchmarks/gpu.py kernels loops photographs --out results.jsonl
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import lines
import numpy as np
import torch
from networks import NETWORKS
from roof import instructions, issue_rate
from side_by_side import about, arguments, figure, interleaved, parsed, quantity, share, show

import clever_ext as cx
from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine.engine import Engine
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.kernels import ops
from clever_ext.kernels.balls import as_layout, dual_exponent, trial_radius

NORMS = (2.0, 1.0, math.inf)
#: Networks, and the points that go through them at once.
LOOPS = {"vit-b16": 64, "resnet-50": 128}
DTYPES = ("bfloat16", "tf32", "float32", "float16")
LOOP = 0.97
STEPS = 50
WARM_UP = 10
Work = Callable[[], None]
Figure = dict[str, Any]


def event() -> Any:
    """Make a CUDA event that keeps its time."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def seconds_between(begin: Any, end: Any) -> float:
    """Wait for both events."""
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def captured(work: Work) -> Work:
    """Record a work as a CUDA graph, after three runs; return what replays it."""
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


# --- kernels -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Points of one shape in one layout."""

    rows: int
    shape: tuple[int, ...]
    channels_last: bool = False

    def __str__(self) -> str:
        layout = ", channels_last" if self.channels_last else ""
        return f"{self.rows} x {' x '.join(map(str, self.shape))}{layout}"

    @property
    def targets(self) -> float | None:
        """What each kernel is to reach, of its roof."""
        if self.shape == (3, 224, 224):
            return {512: 0.85, 8: 0.5}.get(self.rows)
        return 0.5 if (self.rows, self.shape) == (1024, (1, 28, 28)) else None


def cases() -> Iterator[Case]:
    """Yield all sizes and layouts, those with targets first."""
    large, small = (3, 224, 224), (1, 28, 28)
    first = [Case(rows, large, last) for rows in (512, 8) for last in (False, True)]
    first += [Case(1024, small)]
    yield from first
    for shape in (large, (3, 384, 384), (3, 32, 32), small):
        for last in (False, True)[: min(2, shape[0])]:
            for rows in (8, 64, 256, 512):
                if (case := Case(rows, shape, last)) not in first:
                    yield case


class Buffers:
    """What the kernels read and write."""

    def __init__(self, case: Case, device: str) -> None:
        layout = torch.channels_last if case.channels_last else torch.contiguous_format
        self.points = case.rows
        self.center = as_layout(torch.rand(1, *case.shape, device=device), layout)
        self.x = as_layout(torch.empty(case.rows, *case.shape, device=device), layout)
        self.grads = as_layout(torch.randn(case.rows, *case.shape, device=device), layout)
        self.maxima = torch.zeros(1, 1, dtype=torch.float64, device=device)
        self.cursor = torch.arange(case.rows, device=device)
        self.slots = torch.zeros(case.rows, dtype=torch.int64, device=device)
        self.jobs = torch.zeros(1, 4, dtype=torch.int64, device=device)
        self.radii = torch.ones(1, dtype=torch.float64, device=device)
        self.groups = torch.zeros(1, case.rows, dtype=torch.int64, device=device)

    def copy(self) -> None:
        """Copy as many bytes as the points have."""
        self.x.copy_(self.grads)

    def sample(self, p: float) -> None:
        """Draw all the points."""
        ops.sample_lp_ball(self.x, self.center[0], p, trial_radius(p), 0, 0, 0, -math.inf, math.inf)

    def norm(self, p: float) -> None:
        """Reduce all the gradients, in the norm that belongs to samples of p."""
        ops.grad_norm_max(self.grads[None], [dual_exponent(p)], self.maxima, self.groups)

    def step(self, p: float) -> None:
        """Make the fused step; the one job has more samples than are ever drawn."""
        ops.reduce_and_resample(
            self.grads, self.x, self.maxima[0], self.cursor, self.slots, self.center, self.jobs,
            self.radii, 2**31 - 1, p, dual_exponent(p), 0, -math.inf, math.inf,
        )  # fmt: skip


#: Kernels by name, with the share of a copy's bytes that they move.
KERNELS: dict[str, tuple[Callable[[Buffers, float], None], float]] = {
    "sampling": (Buffers.sample, 0.5),
    "grad_norm_max": (Buffers.norm, 0.5),
    "fused step": (Buffers.step, 1.0),
}


def kernel_figures(case: Case, device: str, rounds: int) -> Iterator[Figure]:
    """Measure each kernel beside the copy, all captured."""
    buffers = Buffers(case, device)
    size = 2 * buffers.x.numel() * buffers.x.element_size()
    repeats = int(min(200, max(5, 4e9 / size)))

    def reading(work: Work) -> Callable[[], float]:
        def several() -> None:
            for _ in range(repeats):
                work()

        once = timed(captured(several), 1)
        return lambda: once() / repeats

    works = {
        (name, p): reading(partial(run, buffers, p))
        for p in NORMS
        for name, (run, _) in KERNELS.items()
    }
    found = interleaved({"copy": reading(buffers.copy), **works}, rounds)  # type: ignore[dict-item]
    copied = found["copy"]
    bandwidth = size / statistics.median(copied) / 1e9
    architecture, _ = torch.cuda.get_device_capability()
    for name, p in works:
        moved = KERNELS[name][1]
        counted = instructions(name, p, case.channels_last, 10 * architecture)
        issued = 0.0 if counted is None else counted * buffers.x.numel() / issue_rate()
        yield figure(
            f"{name}, share of the {'roof' if issued else 'copy'}",
            f"p = {p:g}, {case}",
            case.targets,
            [max(moved * seconds, issued) for seconds in copied],
            found[name, p],  # type: ignore[index]
            copy_gb_per_s=bandwidth,
            bytes_s=moved * statistics.median(copied),
            issue_s=issued,
            instructions=counted,
        )


# --- loops ---------------------------------------------------------------------------------------


class Loop:
    """Our loop and the bare passes, through one prepared model."""

    def __init__(self, name: str, dtype: str, device: str) -> None:
        torch.manual_seed(0)
        network, self.size = NETWORKS[name], LOOPS[name]
        model = network.build().to(device).requires_grad_(False)
        image = torch.rand(1, *network.shape, device=device)
        more = () if dtype == "float32" else (dtype,)
        self.engine = engine = Engine(model, ("auto", "compile", *more), self.size)
        self.zero = torch.tensor([0], device=device)
        self.one = torch.tensor([[1]], device=device)
        with engine.running(image.device):
            engine.check(image)
            engine.ready(image, self.zero, self.one, 512_000)
        self.image = as_layout(image, engine.memory_format)
        self.points = as_layout(
            torch.rand(self.size, *network.shape, device=device), engine.memory_format
        )
        self.sampling = Sampling(2.0, 2.0, 1, self.size * (WARM_UP + STEPS), 0, (0.0, 1.0))

    def bare(self) -> None:
        """Make forward pass, margin and backward pass to the input over one batch."""
        assert isinstance(self.engine.plan.oracle, TorchOracle)
        leaf = self.points.detach().requires_grad_()
        logits = self.engine.plan.oracle.model(leaf)
        torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)

    def ours(self) -> float:
        """Run the loop; return the seconds of a step."""
        begin, end = event(), event()
        marks = {WARM_UP: begin, WARM_UP + STEPS: end}
        steps = count(1)

        def progress(_: int) -> None:
            if (mark := marks.get(next(steps))) is not None:
                mark.record()

        ids = np.zeros(1, dtype=np.int64)
        given = self.engine.plan, self.image, self.zero, self.one, ids, self.sampling
        for drawn in sample_maxima(*given, progress):
            drawn()
        return seconds_between(begin, end) / STEPS


def loop_figures(name: str, dtype: str, device: str, rounds: int) -> Iterator[Figure]:
    """Measure our loop beside the bare captured passes; of no rounds, only compile both."""
    loop = Loop(name, dtype, device)
    with loop.engine.running(loop.image.device):
        if rounds == 0:
            loop.bare()
            return
        found = interleaved({"bare": timed(captured(loop.bare), STEPS), "ours": loop.ours}, rounds)
    yield figure(
        "loop, the bare compiled and captured passes / ours",
        f"{name}, {dtype}, batch {loop.size}",
        LOOP if dtype == "bfloat16" else None,
        found["bare"],
        found["ours"],
        engine=loop.engine.description(),
        gradients_per_s={n: loop.size / statistics.median(s) for n, s in found.items()},
    )


# --- photographs ---------------------------------------------------------------------------------


def photograph_figures(device: str, n: int | None) -> Iterator[Figure]:
    """Score photographs on a device, twice, and on the CPU."""
    from published import efficientnet, photographs

    model = efficientnet("efficientnet-lite0")()
    images, labels = photographs()
    with torch.no_grad():
        right = model(images).argmax(dim=1).numpy() == labels
    images = images[torch.from_numpy(right)][:n]

    def scored(on: str) -> tuple[float, Any]:
        begin = time.perf_counter()
        result = cx.clever_score(
            model.to(on), images, norm=2, radius="auto", targets="top2", clip=(0, 1),
            estimator="steepest", max_gradients=100, device=on,
        )  # fmt: skip
        return time.perf_counter() - begin, result.table[["score", "nearest_flip"]].to_numpy()

    case = f"{len(images)} photographs, p = 2, 100 gradients, {device}"
    scored(device)
    (first, ends), (second, again) = scored(device), scored(device)
    target = 2.0 if device == "cuda" else None
    taken = np.array([first, second])
    yield quantity("bracket, seconds after warm-up", case, target, taken, at_most=True)
    same = (ends == again).all(axis=1)
    yield share("bracket, the same bits twice", case, 1.0, same)
    if device == "cpu":
        return
    seconds, expected = scored("cpu")
    yield quantity("bracket, seconds", case.replace(device, "cpu"), None, np.array([seconds]))
    with np.errstate(invalid="ignore"):  # both infinite
        apart = np.where(ends == expected, 0.0, np.abs(ends / expected - 1))
    for column, what in enumerate(("score", "nearest flip")):
        title = f"bracket, largest relative difference of a {what} from the CPU's"
        yield quantity(title, case, 1e-3, apart[:, column].max(keepdims=True), at_most=True)


def main() -> None:
    """Measure what is named."""
    parser = arguments(__doc__, out="file that a line of JSON is added to for each figure")
    parser.add_argument("what", nargs="+", choices=["kernels", "loops", "photographs"])
    parser.add_argument("--networks", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES[:2]))
    parser.add_argument("--compile", action="store_true", help="compile the loops' models, no more")
    parser.add_argument("--device", default="cuda", help="of the photographs")
    parser.add_argument("--photographs", type=int, help="so many of them")
    args = parsed(parser)
    on_gpu = args.what != ["photographs"] or torch.device(args.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("torch finds no GPU", file=sys.stderr)
        sys.exit(2)
    rounds = 0 if args.compile else args.rounds
    works: list[Callable[[], Iterator[Figure]]] = []
    if "kernels" in args.what:
        some = list(cases())[: 1 if args.quick else None]
        works += [partial(kernel_figures, case, "cuda", rounds) for case in some]
    if "loops" in args.what:
        pairs = [(name, dtype) for dtype in args.dtypes for name in args.networks]
        works += [partial(loop_figures, *pair, "cuda", rounds) for pair in pairs]
    if "photographs" in args.what:
        works += [partial(photograph_figures, args.device, args.photographs)]
    gpu = torch.cuda.get_device_name() if on_gpu else None
    sys.exit(1 if measured(works, args.out, gpu) else 0)


def measured(
    works: list[Callable[[], Iterator[Figure]]], out: Path | None, gpu: str | None = None
) -> int:
    """Measure all works, on the GPU of that name; return how many failed: none ends the others."""

    def tell(line: Figure) -> None:
        if out is not None:
            lines.tell(out, line)

    facts = about(gpu=gpu, cuda=torch.version.cuda)
    if gpu is not None:
        facts |= {"device": gpu, "processor": facts["device"]}
    tell({"about": facts})
    failed = 0
    for work in works:
        try:
            for each in work():
                show(each)
                tell(each)
        except Exception as error:  # of memory, of the compiler, of the GPU
            failure = {
                "failed": str(getattr(work, "args", work)),
                "error": f"{type(error).__name__}: {error}"[:2000],
            }
            print(failure, flush=True)
            tell(failure)
            failed += 1
        gc.collect()  # captured works hold their buffers
    return failed


if __name__ == "__main__":
    main()
