"""A small run whose pieces are of two pictures."""

import pytest
import torch
from small_run import SmallRun


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 2)
    return SmallRun(tmp_path)
