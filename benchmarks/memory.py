"""Memory that clever_score takes beyond the model's own passes, in buffers of the device batch.

EfficientNet-Lite0 at 3 x 224 x 224, one image, one target, device batch 8. A buffer is what such a
batch of points takes: 8 x 3 x 224 x 224 floats, 4.6 MiB. Two peaks are compared, that of

- the model's own passes: forward, margin, backward to the input of one fixed batch, over and over,
  on the CPU with freed memory held as clever_score holds it;
- clever_score of N_b x N_s gradients, all of it: checks, sampling, fit and table; prepare="none",
  since the model that "auto" makes takes less memory for its own passes.

Each peak is taken in a process of its own, after the imports, the first use of every library and
the building of the network. It is what torch has allocated at a time: on the CPU counted by torch's
profiler, on a GPU by torch.cuda.max_memory_allocated. On the CPU it is the same in every run, so
that one round is enough there; not in it are the draws that each thread holds of one sample, 0.13
buffers. The difference is to be at most 3 buffers, and to depend on neither N_b nor N_s.

    python benchmarks/memory.py --out benchmarks/results/memory-cpu.json
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeAlias

import torch
from networks import NETWORKS, tiny
from side_by_side import arguments, parsed, show, spread, write
from torch import Tensor, nn
from torch.autograd.profiler import profile

import clever_ext as cx
from clever_ext.machine import memory

#: (N_b, N_s) of a score, or None for the model's own passes.
Work: TypeAlias = tuple[int, int] | None

NETWORK = "efficientnet-lite0"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DEVICE_BATCH = 8
BUFFER = 4 * DEVICE_BATCH * math.prod(NETWORKS[NETWORK].shape)  # bytes
PASSES = 16


def passes(model: nn.Module, image: Tensor) -> None:
    """Differentiate one device batch, over and over."""
    x = image.expand(DEVICE_BATCH, -1, -1, -1).contiguous()
    with memory.held() if DEVICE == "cpu" else nullcontext():
        for _ in range(PASSES):
            leaf = x.detach().requires_grad_()
            logits = model(leaf)
            torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)


def score(model: nn.Module, image: Tensor, n_batches: int, batch_samples: int) -> None:
    """Score one image against its runner-up."""
    cx.clever_score(
        model, image, targets="top2", n_batches=n_batches, batch_samples=batch_samples,
        clip=(0.0, 1.0), device_batch=DEVICE_BATCH, prepare="none",
    )  # fmt: skip


def prepare(work: Work) -> Callable[[], None]:
    """Return the work, with all that is not its own done."""
    torch.manual_seed(0)
    score(tiny().to(DEVICE), torch.rand(1, 64, device=DEVICE), 5, 8)
    model = NETWORKS[NETWORK].build().to(DEVICE)
    image = torch.rand(1, *NETWORKS[NETWORK].shape, device=DEVICE)
    return partial(passes, model, image) if work is None else partial(score, model, image, *work)


def allocated(work: Work) -> int:
    """Return the peak of the bytes that torch has allocated during the work."""
    run = prepare(work)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(profile_memory=True) as profiled:
        run()
    events: Any = profiled.kineto_results
    changes = [event for event in events.events() if event.name() == "[memory]"]
    now = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        now += change.nbytes()
        peak = max(peak, now)
    return peak


def peaks(works: list[Work], rounds: int) -> dict[Work, list[int]]:
    """Return each work's peak in each round, in processes of their own."""
    spawn = multiprocessing.get_context("spawn")
    found: dict[Work, list[int]] = {work: [] for work in works}
    for _ in range(rounds):
        for work in works:
            with ProcessPoolExecutor(1, mp_context=spawn) as process:
                found[work].append(process.submit(allocated, work).result())
    return found


def compare(work: Work, other: Work, target: float, found: dict[Work, list[int]]) -> dict[str, Any]:
    """Make a figure of the difference of two works' peaks, round by round, in buffers."""
    against = "the model's passes" if other is None else f"(N_b, N_s) = {other}"
    pairs = zip(found[work], found[other], strict=True)
    made = {
        "figure": f"memory beyond {against}, in buffers",
        "case": f"{NETWORK}, device batch {DEVICE_BATCH}, (N_b, N_s) = {work}",
        "target": target,
        "at_most": True,
        "ratio": spread([(more - less) / BUFFER for more, less in pairs]),
        "rounds": {"baseline_bytes": found[other], "ours_bytes": found[work]},
    }
    show(made)
    return made


def main() -> None:
    """Measure the model's passes and three sizes of a score."""
    args = parsed(arguments(__doc__, rounds=5 if DEVICE == "cuda" else 1))
    sizes: list[Work] = [(2, 8), (2, 16)] if args.quick else [(2, 64), (2, 1024), (8, 64)]
    found = peaks([None, *sizes], args.rounds)
    figures = [compare(size, None, 3.0, found) for size in sizes]
    figures += [compare(size, sizes[0], 0.1, found) for size in sizes[1:]]
    write(args.out, figures, buffer_bytes=BUFFER, measured_on=DEVICE)


if __name__ == "__main__":
    main()
