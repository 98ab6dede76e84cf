"""A stand-in for a machine with GPUs, as far as the recording of steps goes.

Tensors of the CPU stand for those of one GPU, `home`. Streams, the current device, captures and the
mode that tells of waits do what torch's do, torch's own `torch.cuda.graph` among them:

- An operation goes into a graph if the stream of the capture is the current stream of the device
  where its tensors are; else it is carried out at once, and the graph knows nothing of it.
- A graph repeats operations: with the numbers that Python gave them, on the tensors that they had.
- A capture in which the host waited is invalid: its end raises before it has cleaned up, as that of
  torch 2.11 does, and the thread stays on its stream.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clever_ext.engine import graphs

_WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


class Generator:
    """Random numbers of a device; `state` is shared between all that have taken it."""

    def __init__(self, state: dict[str, bool] | None = None) -> None:
        self.state = {"capturing": False} if state is None else state

    def graphsafe_get_state(self) -> Generator:
        return Generator(self.state)

    def graphsafe_set_state(self, other: Generator) -> Generator:
        self.state = other.state
        return self

    def clone_state(self) -> Generator:
        return Generator(dict(self.state))


class Event:
    def synchronize(self) -> None:
        """Nothing is ever under way."""


class GpuStandIn:
    """The GPUs; `on(monkeypatch)` puts them in the place of torch.cuda's.

    Attributes:
        home: Where the tensors are.
        current: The current device; streams: the current stream of each.
        replays, captures: How often one was made.
        allocating: Memory pools that the allocator holds a capture to be under way in.
        begin_fails, end_fails: What the beginning and the end of the next capture raise.
    """

    def __init__(self, home: int = 0, n_devices: int = 2) -> None:
        self.home, self.current, self.sync_mode = home, 0, 0
        self.generators = [Generator() for _ in range(n_devices)]
        self.replays = self.captures = self.pools = 0
        self.allocating: list[int] = []
        self.graph: Any = None
        self.begin_fails: Exception | None = None
        self.end_fails: Exception | None = None
        self.seen_devices: set[int] = set()
        self._define()
        self.defaults = [self.Stream(number) for number in range(n_devices)]
        self.streams = list(self.defaults)
        self._watch: Any = None

    def number_of(self, device: Any) -> int:
        """Return the number of a device, of which "cpu" is the tensors'."""
        if device is None:
            return self.current
        if isinstance(device, int):
            return device
        device = torch.device(device)
        if device.type == "cpu":
            return self.home
        return self.current if device.index is None else device.index

    def on(self, monkeypatch: pytest.MonkeyPatch) -> GpuStandIn:
        """Stand in for torch.cuda until the test ends."""
        for name in (
            "Stream", "device", "stream", "current_device", "current_stream", "set_stream",
            "CUDAGraph", "graph_pool_handle", "synchronize", "empty_cache", "device_count",
            "get_sync_debug_mode", "set_sync_debug_mode",
        ):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(graphs, "_streams", {})
        monkeypatch.setattr(torch.cuda, "default_generators", self.generators)
        monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
        for name in ("_host_emptyCache", "_cuda_endAllocateToPool", "_cuda_releasePool"):
            monkeypatch.setattr(torch._C, name, getattr(self, name), raising=False)
        return self

    def current_device(self) -> int:
        return self.current

    def device_count(self) -> int:
        return len(self.streams)

    def current_stream(self, device: Any = None) -> Any:
        return self.streams[self.number_of(device)]

    def set_stream(self, stream: Any) -> None:
        self.current = stream.number
        self.streams[stream.number] = stream

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools

    def synchronize(self, _: Any = None) -> None:
        assert self.graph is None, "a capture is under way"

    def empty_cache(self) -> None:
        """There is none."""

    def _host_emptyCache(self) -> None:
        """There is none."""

    def _cuda_endAllocateToPool(self, _: int, pool: int) -> None:
        if pool not in self.allocating:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.allocating.remove(pool)

    def _cuda_releasePool(self, _: int, __: int) -> None:
        """Nothing is held."""

    def get_sync_debug_mode(self) -> int:
        return self.sync_mode

    def set_sync_debug_mode(self, mode: int | str) -> None:
        names = ("default", "warn", "error")
        self.sync_mode = names.index(mode) if isinstance(mode, str) else mode
        if self.sync_mode and self._watch is None:
            self._watch = _Watch(self)
            self._watch.__enter__()
        elif not self.sync_mode and self._watch is not None:
            self._watch.__exit__(None, None, None)
            self._watch = None

    def as_new(self) -> bool:
        """Tell whether device, streams, random numbers, allocator and modes are as at first."""
        return (
            self.current == 0
            and self.streams == self.defaults
            and not any(generator.state["capturing"] for generator in self.generators)
            and not self.allocating
            and self.sync_mode == 0
        )

    def _define(self) -> None:
        gpus = self

        class Stream:
            def __init__(self, device: Any = None) -> None:
                self.number = gpus.number_of(device)

            def wait_stream(self, _: Any) -> None:
                """Nothing is ever under way."""

            def record_event(self) -> Event:
                return Event()

        class device:
            def __init__(self, device: Any) -> None:
                self.number = gpus.number_of(device)

            def __enter__(self) -> None:
                self.before, gpus.current = gpus.current, self.number

            def __exit__(self, *_: object) -> None:
                gpus.current = self.before

        class stream:
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def __enter__(self) -> None:
                self.current = gpus.current_stream()
                self.there = gpus.streams[self.stream.number]
                gpus.set_stream(self.stream)

            def __exit__(self, *_: object) -> None:
                gpus.set_stream(self.there)
                gpus.set_stream(self.current)

        class CUDAGraph:
            def __init__(self) -> None:
                self.operations: list[tuple[Any, Any, Any, Any]] = []
                self.invalid = False

            def capture_begin(self, pool: int | None = None, **_: Any) -> None:
                if gpus.begin_fails is not None:
                    error, gpus.begin_fails = gpus.begin_fails, None
                    raise error
                self.pool = gpus.graph_pool_handle() if pool is None else pool
                self.stream = gpus.current_stream()
                self.generator = gpus.generators[gpus.current].state
                self.generator["capturing"] = True
                gpus.allocating.append(self.pool)
                gpus.graph = self
                self.recording = _Recording(gpus, self)
                self.recording.__enter__()

            def capture_end(self) -> None:
                self.recording.__exit__(None, None, None)
                self.recording.undo()
                gpus.graph = None
                error, gpus.end_fails = gpus.end_fails, None
                if self.invalid or error is not None:
                    invalid = "CUDA error: operation failed due to a previous error during capture"
                    raise error or torch.AcceleratorError(invalid)
                self.generator["capturing"] = False
                gpus.allocating.remove(self.pool)
                gpus.captures += 1

            def replay(self) -> None:
                gpus.replays += 1
                with torch.no_grad():
                    for func, args, kwargs, out in self.operations:
                        _repeat(func, args, kwargs, out)

        self.Stream, self.device, self.stream, self.CUDAGraph = Stream, device, stream, CUDAGraph


def _is_view(func: Any) -> bool:
    aliases = [each.alias_info for each in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _repeat(func: Any, args: Any, kwargs: Any, out: Any) -> None:
    found = func(*args, **kwargs)
    for before, now in zip(tree_leaves(out), tree_leaves(found), strict=True):
        if isinstance(before, Tensor) and before is not now:
            before.copy_(now)


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    found = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            found += [x for x in tree_leaves(given) if isinstance(x, Tensor)]
    return found


class _Watch(TorchDispatchMode):
    """Tells of waits, as the mode for that asks."""

    def __init__(self, gpus: GpuStandIn) -> None:
        super().__init__()
        self.gpus = gpus

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WAITING:
            said = "called a synchronizing CUDA operation"
            if self.gpus.sync_mode == 2:
                raise RuntimeError(said)
            warnings.warn(said, stacklevel=2)
        return func(*args, **(kwargs or {}))


class _Recording(TorchDispatchMode):
    """Puts operations into a graph, where they belong there."""

    def __init__(self, gpus: GpuStandIn, graph: Any) -> None:
        super().__init__()
        self.gpus, self.graph = gpus, graph
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.gpus.streams[self.gpus.home] is not self.graph.stream:
            return func(*args, **kwargs)  # on a stream that nobody records
        if func in _WAITING:
            self.graph.invalid = True
            raise torch.AcceleratorError(
                "CUDA error: operation not permitted when stream is capturing"
            )
        for x in _written(func, args, kwargs):
            whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
            self.before.setdefault(whole.data_ptr(), (whole, whole.clone()))
        out = func(*args, **kwargs)
        if not _is_view(func):
            self.graph.operations.append((func, args, kwargs, out))
        return out

    def undo(self) -> None:
        """Leave memory as it was: nothing was carried out."""
        for whole, values in self.before.values():
            whole.copy_(values)
