"""The recording of steps, on a stand-in for CUDA graphs that replays by calling the step."""

from unittest.mock import Mock

import pytest
import torch

from clever_ext.engine import graphs

pytestmark = pytest.mark.usefixtures("recorder")


def test_a_capture_makes_one_step_and_replays_the_next():
    count = torch.zeros(1)
    replay = graphs.capture(lambda: count.add_(1), [count])
    assert count == 1
    replay()
    assert count == 2


def test_what_cannot_be_recorded_leaves_everything_as_it_was(recorder, monkeypatch):
    count = torch.zeros(1, dtype=torch.int64)

    def step():
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recorder, "record", lambda _, step: step())
    with pytest.raises(graphs.CannotCaptureError, match="not permitted"):
        graphs.capture(step, [count])
    assert count == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_replay_that_computes_something_else_is_refused(dtype):
    calls, value = [], torch.tensor([1000], dtype=dtype)

    def step():
        calls.append(1)
        value.add_(10 * len(calls))

    with pytest.raises(graphs.CannotCaptureError, match="something else"):
        graphs.capture(step, [value])
    assert value == 1000


def test_running_out_of_memory_is_not_hidden(recorder, monkeypatch):
    error = torch.OutOfMemoryError("no memory")
    monkeypatch.setattr(recorder, "record", Mock(side_effect=error))
    with pytest.raises(torch.OutOfMemoryError):
        graphs.capture(lambda: None, [])
