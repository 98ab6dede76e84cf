"""Recording a step as a CUDA graph, so that its kernels are launched at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..machine.memory import is_out_of_memory


class CannotCaptureError(Exception):
    """The step cannot be a graph; the text says why."""


class CudaGraph:
    """Work that torch records on a GPU."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def record(self, step: Callable[[], None]) -> None:
        """Record the step, which is not run."""
        # Other threads, which fetch finished maxima, may go on with CUDA calls of their own.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            step()

    def replay(self) -> None:
        """Run what was recorded."""
        self._graph.replay()


def capture(step: Callable[[], None], buffers: Sequence[Tensor]) -> Callable[[], None]:
    """Record a step as a graph and return what replays it; the step is done once on the way.

    A graph repeats kernels and forgets everything else, so a model that computes a part of its
    answer in Python would be wrong without a sign. The replayed step is compared with the plain
    one from the same start.

    Args:
        step: Reads and writes tensors that stay where they are; has run before.
        buffers: All the tensors that it writes.

    Raises:
        CannotCaptureError: it cannot be recorded, or gives something else when replayed; the
            buffers are as they were.
        Exception: there is no memory for it; see `memory.is_out_of_memory`.
    """
    before = [buffer.clone() for buffer in buffers]

    def restore() -> None:
        for buffer, values in zip(buffers, before, strict=True):
            buffer.copy_(values)

    graph = CudaGraph()
    try:
        graph.record(step)
    except Exception as error:  # whatever a model may raise
        if is_out_of_memory(error):
            raise
        raise CannotCaptureError(f"{type(error).__name__}: {error}") from error
    graph.replay()
    replayed = [buffer.clone() for buffer in buffers]
    restore()
    step()
    if not all(_same(*pair) for pair in zip(buffers, replayed, strict=True)):
        restore()
        raise CannotCaptureError("its replay computes something else than the model does")
    return graph.replay


def _same(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    # A captured pass may choose other kernels, which round in another way.
    return torch.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)
