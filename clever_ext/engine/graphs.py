"""Recording a step as a CUDA graph, so that its kernels are launched at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from ..machine.memory import is_out_of_memory
from .trials import measuring

#: How far a captured pass may be from a plain one, which may choose other kernels, by the type
#: that the model computes in; relative to each number.
_ROUNDING = {
    torch.float64: 1e-6,
    torch.float32: 1e-3,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
#: What torch says of an operation for which the host waits.
_WAITING = "called a synchronizing CUDA operation"


#: Held during a capture: torch takes one at a time in a process.
_capturing = threading.Lock()
#: The streams of captures, one for each GPU: libraries keep memory for every stream they have seen.
#: Torch's own is a single one, of the device that was current at its first capture: kernels of
#: another device would not be recorded, but run.
_streams: dict[int, torch.cuda.Stream] = {}


class CannotCaptureError(Exception):
    """The step cannot be a graph; the text says why."""


class Recorder:
    """Records steps on one GPU.

    Its graphs share their memory, so that no two of them may be replayed at a time.

    Args:
        device: Where the steps work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            number = torch.cuda.current_device()
            if number not in _streams:
                _streams[number] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream = _streams[number]
        self._pool = torch.cuda.graph_pool_handle()

    def capture(
        self, step: Callable[[], None], buffers: Sequence[Tensor], computes_in: torch.dtype
    ) -> Callable[[], None]:
        """Record a step as a graph and return what replays it; the step is done once on the way.

        A graph repeats kernels and forgets everything else, so a model that computes a part of its
        answer in Python would be wrong without a sign. The replayed step is compared with the plain
        one from the same start.

        Args:
            step: Reads and writes tensors that stay where they are; has run before.
            buffers: All the tensors that it writes.
            computes_in: The shortest type that the step computes in.

        Raises:
            CannotCaptureError: it cannot be recorded, or gives something else when replayed; the
                buffers are as they were.
            Exception: of the step itself, or there is no memory; see `memory.is_out_of_memory`.
        """
        before = _copied(buffers)
        with _capturing, self._streams_as_they_were():
            # The plain step comes first, and only its results stay: the graph's memory and its own
            # are never held at a time.
            waits = self._plain(step)
            expected = _copied(buffers)
            _restore(buffers, before)
            if waits:
                raise CannotCaptureError("it waits for the GPU in the middle of a pass")
            try:
                graph = self._recorded(step)
            except Exception as error:  # whatever a model may raise
                _restore(buffers, before)
                for cause in _behind(error):
                    if is_out_of_memory(cause) or not isinstance(cause, Exception):
                        raise cause from error
                raise CannotCaptureError(f"{type(error).__name__}: {error}") from error
            torch.cuda.synchronize(self.device)
            if not all(map(_same_bits, buffers, before)):
                _restore(buffers, before)
                raise CannotCaptureError("it was carried out while it was recorded")
            graph.replay()
            rounding = _ROUNDING[computes_in]
            if not all(_same(a, b, rounding) for a, b in zip(buffers, expected, strict=True)):
                _restore(buffers, before)
                raise CannotCaptureError("its replay computes something else than the model does")
        return graph.replay

    @contextmanager
    def _streams_as_they_were(self) -> Iterator[None]:
        """Leave device and stream as they were: where a capture fails, torch does not always."""
        with torch.cuda.device(self.device):
            stream = torch.cuda.current_stream(self.device)
            try:
                yield
            finally:
                torch.cuda.set_stream(stream)

    def _plain(self, step: Callable[[], None]) -> bool:
        """Run a step on the stream of captures; tell whether the host waited in it."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream), _waits_of_the_host() as waits:
                step()
        finally:
            current.wait_stream(self._stream)
        return bool(waits)

    def _recorded(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Record a step, which is not run."""
        graph = torch.cuda.CUDAGraph()
        # A capture puts the state of random numbers into a mode that one that fails leaves it in:
        # it gets a copy of that state.
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        random = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
        try:
            # Other threads, which fetch finished maxima, may go on with CUDA calls of their own.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                step()
        except BaseException:
            self._end_allocations()
            raise
        finally:
            generator.graphsafe_set_state(random)
        return graph

    def _end_allocations(self) -> None:
        """Tell torch's allocator that a capture is over, which some versions forget if it fails."""
        memory: Any = torch._C
        with suppress(RuntimeError):  # it knows
            memory._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
            memory._cuda_releasePool(torch.cuda.current_device(), self._pool)


@contextmanager
def _waits_of_the_host() -> Iterator[list[str]]:
    """Collect what the block does for which the host waits, and no capture allows.

    Torch can raise an error there as well, but its mode is that of the whole process: it would be
    raised in other threads, too, which may be training a model.
    """
    found: list[str] = []
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    with measuring, warnings.catch_warnings():  # which are those of all threads
        show = warnings.showwarning

        def note(message: Any, *args: Any, **named: Any) -> None:
            if str(message).startswith(_WAITING):
                # A backward pass works in threads that Python has not made.
                found.extend([str(message)] * (threading.get_ident() not in others))
            elif threading.get_ident() in others:
                show(message, *args, **named)

        warnings.simplefilter("always")
        warnings.showwarning = note
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those it was raised over: the end of a capture raises one of its own."""
    while error is not None:
        yield error
        error = error.__context__


def _copied(buffers: Sequence[Tensor]) -> list[Tensor]:
    return [buffer.clone() for buffer in buffers]


def _restore(buffers: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    for buffer, values in zip(buffers, before, strict=True):
        buffer.copy_(values)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.is_floating_point():  # NaN is NaN
        integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
        a, b = a.view(integer), b.view(integer)
    return torch.equal(a, b)


def _same(a: Tensor, b: Tensor, rounding: float) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=rounding, atol=0, equal_nan=True)
