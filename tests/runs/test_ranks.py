"""Who scores which piece."""

import subprocess
import sys

import pytest
import torch.distributed
from small_run import SmallRun, assert_same_bits

from clever_ext.runs import ranks
from clever_ext.runs.ranks import Alone, first_round, left_over


def test_each_piece_is_taken_once_and_finished_ones_never():
    assert list(first_round(Alone(), range(1, 10, 2), {3, 7})) == [1, 5, 9]


class OneOfMany(Alone):
    """A process of a job whose others have died."""

    def __init__(self):
        super().__init__()
        self.job = "job"


@pytest.mark.parametrize("make", [Alone, OneOfMany])
def test_what_others_left_is_taken_over_after_a_while(make, monkeypatch):
    monkeypatch.setattr(ranks, "_POLL", 0.001)
    monkeypatch.setattr(ranks, "_SHORTEST", 0.02)
    missing = [2, 4, 6]
    done = []
    for number in left_over(make(), lambda: list(missing), 0.0, lambda: False):
        done.append(number)
        missing.remove(number)
    assert sorted(done) == [2, 4, 6]


def test_waiting_ends_where_others_finish_or_the_run_is_stopped(monkeypatch):
    monkeypatch.setattr(ranks, "_POLL", 0.001)
    looks = iter([[1, 2], [2], []])
    assert list(left_over(OneOfMany(), lambda: next(looks), 0.0, lambda: False)) == []
    assert list(left_over(OneOfMany(), lambda: [1], 0.0, lambda: True)) == []


def test_a_process_of_a_node_gets_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert ranks.local_device(None) is None
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ranks.local_device(None) == "cuda:1"
    assert ranks.local_device("cpu") == "cpu"


def test_processes_that_are_started_again_take_pieces_from_the_first(monkeypatch):
    store = torch.distributed.HashStore()
    # The package gives its function of that name the place of the module.
    module = sys.modules["torch.distributed.rendezvous"]
    monkeypatch.setattr(module, "rendezvous", lambda _: iter([(store, 0, 2)]))
    before = ranks.Together()
    assert [before.take() for _ in range(3)] == [0, 1, 2]
    again = ranks.Together()
    again.start_over()
    assert [again.take() for _ in range(3)] == [0, 1, 2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    small = SmallRun(tmp_path_factory.mktemp("ranks"), n_images=20, n_batches=50)
    assert small.start("alone").wait() == 0
    return small


@pytest.mark.parametrize("n", [1, 3])  # ten pieces do not go into three
def test_several_processes_give_the_bits_of_one(alone, n):
    out = f"together{n}"
    done = subprocess.run(
        alone.under_torchrun(out, f"--nproc-per-node={n}", "--rdzv-endpoint=localhost:0"),
        cwd=alone.path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert_same_bits(alone.table("alone"), alone.table(out))
    assert done.stdout.count(f"Results: {out}") == 1
    log = alone.folder(out).log.read_text()
    assert log.count('"event": "start"') == n
    assert log.count('"event": "piece"') == len(alone.folder("alone").finished()) == 10
