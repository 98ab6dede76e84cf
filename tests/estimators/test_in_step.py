import pytest
import torch

from clever_ext.estimators.in_step import rows_on_gpu
from clever_ext.machine import memory


@pytest.mark.parametrize("device_batch", [1, 3, 64, 222])
@pytest.mark.parametrize("lanes", [1, 4])
def test_rows_fill_device_batches_and_fit(device_batch, lanes):
    for left in (10**6, 10**7, 10**9):
        rows = rows_on_gpu(left, 1000, lanes, device_batch)
        assert 1000 * rows <= left
        assert rows * lanes % device_batch == 0
        assert 1000 * rows > left / 4 or rows * lanes == device_batch * lanes  # none is wasted


def test_a_little_more_or_less_memory_changes_nothing():
    at_once = {
        rows_on_gpu(left, 3_600_000, 4, 128) for left in range(17 * 10**9, 20 * 10**9, 10**8)
    }
    assert at_once == {4096}


@pytest.mark.parametrize(("left", "rows"), [(999, 1), (5000, 5)])
def test_where_no_batch_fits_as_many_rows_as_there_is_memory_for(left, rows):
    assert rows_on_gpu(left, 1000, 4, 64) == rows


def test_what_torch_keeps_for_tensors_is_left(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 200)
    assert memory.left_on(torch.device("cuda", 1)) == 400
