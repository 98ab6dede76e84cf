"""The recording of steps, on a stand-in for a machine with two GPUs."""

import math
import threading
import warnings
import weakref
from unittest.mock import Mock

import pytest
import torch

from clever_ext.engine import graphs
from clever_ext.engine.graphs import CannotCaptureError, Recorder

CPU = torch.device("cpu")  # stands for the GPU where the tensors are
HOMES = pytest.mark.parametrize("home", [0, 1])


def capture(step, buffers, computes_in=torch.float32):
    return Recorder(CPU).capture(step, buffers, computes_in)


@HOMES
def test_a_capture_makes_one_step_and_replays_the_next(gpus, home):
    gpus.home = home  # device 0 is the current one
    count = torch.zeros(1)
    replay = capture(lambda: count.add_(1), [count])
    assert (count.item(), gpus.captures, gpus.replays) == (1, 1, 1)
    replay()
    assert count == 2
    assert gpus.as_new()


@HOMES
def test_what_torch_s_own_stream_would_not_record_is_refused(gpus, home):
    """As by `torch.cuda.graph` without a stream: it takes one of the device that is current."""
    gpus.home = home
    recorder, count = Recorder(CPU), torch.zeros(1)
    recorder._stream = torch.cuda.Stream()
    if home == 0:
        recorder.capture(lambda: count.add_(1), [count], torch.float32)
        assert count == 1
        return
    with pytest.raises(CannotCaptureError, match="carried out while it was recorded"):
        recorder.capture(lambda: count.add_(1), [count], torch.float32)
    assert count == 0
    assert gpus.as_new()


def test_an_empty_graph_is_refused(gpus, monkeypatch):
    monkeypatch.setattr(gpus.CUDAGraph, "replay", lambda _: None)
    count = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(CannotCaptureError, match="something else"):
        capture(lambda: count.add_(1), [count])
    assert count == 0


@HOMES
def test_a_step_that_waits_for_the_gpu_is_refused_before_a_capture(gpus, home):
    gpus.home = home
    count = torch.zeros(1)

    def step():
        count.add_(1 + 0 * count.item())

    with pytest.raises(CannotCaptureError, match="waits for the GPU"):
        capture(step, [count])
    assert count == 0
    assert gpus.as_new()
    assert gpus.pools == 1  # that of the recorder: no capture was begun


@pytest.mark.usefixtures("gpus")
def test_other_threads_may_wait_meanwhile():
    count, begin, done, raised = torch.zeros(1), threading.Event(), threading.Event(), []

    def train():
        begin.wait()
        try:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        except Warning as error:
            raised.append(error)
        done.set()

    other = threading.Thread(target=train)
    other.start()

    def step():
        begin.set()
        done.wait()
        count.add_(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture(step, [count])
    other.join()
    assert count == 1
    assert not raised


@pytest.mark.filterwarnings("ignore:called a synchronizing")
def test_the_user_s_mode_and_warnings_come_back(gpus):
    gpus.set_sync_debug_mode("warn")
    count, before = torch.zeros(1), (warnings.filters[:], warnings.showwarning)
    capture(lambda: count.add_(1), [count])
    assert gpus.sync_mode == 1
    assert (warnings.filters[:], warnings.showwarning) == before
    gpus.set_sync_debug_mode("default")


@HOMES
def test_a_step_that_raises_in_a_capture_leaves_everything_as_it_was(gpus, home):
    gpus.home = home
    count = torch.zeros(1, dtype=torch.int64)

    def step():
        count.add_(1)
        if gpus.graph is not None:
            raise ValueError("not twice")

    with pytest.raises(CannotCaptureError, match="ValueError: not twice"):
        capture(step, [count])
    assert count == 0
    assert gpus.as_new()


def test_a_step_that_was_carried_out_before_it_raised_is_undone(gpus):
    gpus.home = 1
    recorder, count = Recorder(CPU), torch.zeros(1)
    recorder._stream = torch.cuda.Stream()

    def step():
        count.add_(1)
        if gpus.graph is not None:
            raise ValueError("not twice")

    with pytest.raises(CannotCaptureError, match="not twice"):
        recorder.capture(step, [count], torch.float32)
    assert count == 0


@HOMES
@pytest.mark.parametrize("fails", ["begin_fails", "end_fails", "in the step"])
def test_a_capture_that_fails_leaves_everything_as_it_was(gpus, home, fails):
    gpus.home = home
    count = torch.zeros(1)
    if fails != "in the step":
        setattr(gpus, fails, torch.AcceleratorError("CUDA error: capture failed"))

    def step():
        if gpus.graph is not None and fails == "in the step":
            count.sum().item()
        count.add_(1)

    with pytest.raises(CannotCaptureError, match="AcceleratorError"):
        capture(step, [count])
    assert count == 0
    assert gpus.as_new()
    capture(lambda: count.add_(1), [count])  # the next one is none the worse
    assert count == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.usefixtures("gpus")
def test_a_replay_that_computes_something_else_is_refused(dtype):
    calls, value = [], torch.tensor([1000], dtype=dtype)

    def step():
        calls.append(1)
        value.add_(10 * len(calls))

    with pytest.raises(CannotCaptureError, match="something else"):
        capture(step, [value])
    assert value == 1000


@pytest.mark.parametrize(
    ("computes_in", "buffer", "off", "same"),
    [
        (torch.float64, torch.float64, 1e-4, False),
        (torch.float32, torch.float64, 1e-4, True),
        (torch.float32, torch.float32, 1e-2, False),
        (torch.float16, torch.float64, 1e-2, True),
        (torch.bfloat16, torch.float64, 5e-2, True),
        (torch.bfloat16, torch.bfloat16, 0.5, False),
    ],
)
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_rounding_is_that_of_the_type(gpus, computes_in, buffer, off, same, size):
    values = torch.tensor([1.0, math.inf, math.nan, 0.0], dtype=buffer)

    def step():  # as a captured pass may, by another kernel
        values[0] = size * (1 + off * (gpus.graph is not None))

    if same:
        capture(step, [values], computes_in)
    else:
        with pytest.raises(CannotCaptureError, match="something else"):
            capture(step, [values], computes_in)


@pytest.mark.usefixtures("gpus")
def test_what_is_no_number_is_compared_too():
    values = torch.tensor([math.nan, 1.0])
    capture(lambda: values[1:].add_(1), [values])
    assert values[1] == 2


class Lacking:
    """A step that lacks memory: in a plain pass, or while it is recorded."""

    def __init__(self, gpus, in_graph, error):
        self.gpus, self.in_graph, self.error = gpus, in_graph, error

    def __call__(self):
        if (self.gpus.graph is not None) == self.in_graph:
            raise self.error


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        torch.AcceleratorError("CUDA error: cudaErrorMemoryAllocation"),
    ],
)
def test_running_out_of_memory_is_not_hidden(gpus, in_graph, invalid, error):
    """The end of a capture may raise over it: then nobody would halve the batch."""
    if invalid:
        gpus.end_fails = torch.AcceleratorError("CUDA error: cudaErrorStreamCaptureInvalidated")
    with pytest.raises(type(error)) as caught:
        capture(Lacking(gpus, in_graph, error), [torch.zeros(1)])
    assert caught.value is error
    assert gpus.as_new()


@pytest.mark.parametrize("end", [None, torch.AcceleratorError("CUDA error: unjoined work")])
def test_a_capture_that_is_interrupted_stays_so(gpus, end):
    gpus.end_fails = end

    def step():
        if gpus.graph is not None:
            raise KeyboardInterrupt

    count = torch.zeros(1)
    with pytest.raises(KeyboardInterrupt):
        capture(step, [count])
    assert gpus.as_new()


def test_the_plain_step_s_memory_is_free_when_the_graph_takes_its_own(gpus):
    held = []

    def step():
        assert not [each for each in held if each() is not None]
        activations = torch.ones(4)
        held.append(weakref.ref(activations))
        count.add_(activations.sum() / 4)

    count = torch.zeros(1)
    capture(step, [count])
    assert (len(held), gpus.captures) == (2, 1)


def test_captures_on_a_gpu_share_a_stream_and_come_one_after_the_other(gpus):
    assert Recorder(CPU)._stream is Recorder(CPU)._stream
    gpus.home = 1
    assert Recorder(CPU)._stream.number == 1
    count, begin = torch.zeros(1), threading.Event()

    def step():
        if not begin.is_set():
            begin.set()
            assert graphs._capturing.locked()
        count.add_(1)

    capture(step, [count])
    assert begin.is_set()
    assert not graphs._capturing.locked()


def test_graphs_of_one_recorder_share_their_memory(gpus):
    recorder, count = Recorder(CPU), torch.zeros(1)
    graph = Mock(wraps=torch.cuda.graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "graph", graph)
        for _ in range(2):
            recorder.capture(lambda: count.add_(1), [count], torch.float32)
    one, other = (call.kwargs for call in graph.call_args_list)
    assert one["pool"] == other["pool"]
    assert one["stream"] is other["stream"]  # else nothing is shared
    assert gpus.captures == 2
