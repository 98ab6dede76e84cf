import math

import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext import engine as engine_module
from clever_ext.engine import Engine, _Trials, first_device_batch

IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
CLASSES, TARGETS = torch.tensor([0, 1]), torch.tensor([[1, 2], [2, 3]])
MANY = 10**7


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 4)
    ).eval()


@pytest.fixture
def clock(monkeypatch):
    """Replace the timing of trials by a table; what is not in it takes a second a gradient."""

    class Clock:
        def __init__(self):
            self.asked = []
            self.seconds = lambda **_: 1.0

        def of(self, trials, prepared, size, batched_backward=False):
            self.asked.append((prepared.options, size, batched_backward))
            found = self.seconds(options=prepared.options, size=size, batched=batched_backward)
            trials.spent += 3 * size * trials.n_targets * found if found < math.inf else 0
            return found

    clock = Clock()
    monkeypatch.setattr(_Trials, "seconds", lambda *args, **named: clock.of(*args, **named))
    return clock


def made_ready(model=None, n_gradients=MANY, prepare="auto", device_batch="auto"):
    engine = Engine(network() if model is None else model, prepare, device_batch)
    with engine.running(IMAGES.device):
        engine.check(IMAGES)
        engine.ready(IMAGES, CLASSES, TARGETS, n_gradients)
    return engine


def test_first_device_batch():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert first_device_batch(torch.Size((3, 224, 224)), cpu) == 8
    assert first_device_batch(torch.Size((28, 28)), cpu) == 167
    assert first_device_batch(torch.Size((3, 224, 224)), cuda) == 222
    for device in (cpu, cuda):  # large pictures take all the memory
        assert first_device_batch(torch.Size((3, 4096, 4096)), device) == 1
        assert first_device_batch(torch.Size((3, 8192, 8192)), device) == 1
    assert first_device_batch(torch.Size((3, 600, 600)), cpu) == 3  # 2**22 elements


def test_options_that_are_faster_are_used(clock):
    clock.seconds = lambda options, **_: 1.0 / (1 + len(options))
    engine = made_ready()
    assert engine.options == ("fold_batch_norm", "channels_last")
    assert engine.memory_format == torch.channels_last
    assert nn.BatchNorm2d not in {type(m) for m in engine.plan.oracle.model.modules()}


def test_options_that_are_no_faster_are_left_out(clock):
    clock.seconds = lambda options, **_: 0.5 if options == ("fold_batch_norm",) else 1.0
    engine = made_ready()
    assert engine.options == ("fold_batch_norm",)
    assert engine.plan.notes == {"channels_last": "no faster"}


@pytest.mark.usefixtures("clock")
def test_options_that_do_not_suit_are_left_out_with_the_reason():
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4)).eval()
    engine = made_ready(model)
    assert "no convolution" in engine.plan.notes["fold_batch_norm"]


@pytest.mark.parametrize(("best", "expected"), [(1024, 1024), (4096, 4096), (256, 256), (1, 4)])
def test_the_fastest_batch_is_found(clock, best, expected):
    clock.seconds = lambda size, **_: 1.0 + abs(math.log2(size / best))
    assert made_ready().plan.device_batch == expected


def test_a_batch_without_memory_is_not_used(clock):
    clock.seconds = lambda size, **_: 1 / size if size <= 2048 else math.inf
    assert made_ready().plan.device_batch == 2048


def test_a_batch_that_the_host_has_no_room_for_is_not_tried(clock, monkeypatch):
    clock.seconds = lambda size, **_: 1 / size
    monkeypatch.setattr(engine_module.memory, "resident", iter([0, *[10**9] * 99]).__next__)
    monkeypatch.setattr(engine_module.memory, "available", lambda: 5 * 10**9)
    assert made_ready().plan.device_batch == 2048  # 1 GB, so 2 GB; 4 would be over half of 5


@pytest.mark.parametrize("faster", [False, True])
def test_the_backward_pass_of_all_targets_is_used_where_it_is_faster(clock, faster):
    clock.seconds = lambda batched, **_: 0.5 if batched is faster else 1.0
    engine = made_ready(device_batch=64)
    assert engine.plan.oracle.batched_backward is faster
    assert engine.description()["batched_backward"] is faster


def test_a_model_that_cannot_be_batched_says_why():
    class NoBatching(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.clone()

        @staticmethod
        def backward(_, gradient):
            assert gradient.sum().item() is not None
            return gradient

    class Model(nn.Linear):
        def forward(self, x):
            return super().forward(NoBatching.apply(x).flatten(1))

    engine = made_ready(Model(108, 4).eval(), device_batch=64)
    assert not engine.plan.oracle.batched_backward
    assert "Batching rule" in engine.plan.notes["batched_backward"]


def test_trials_take_a_small_share_of_the_work(clock):
    clock.seconds = lambda size, **_: 1 / size
    for n_gradients in (10**2, 10**4, 10**5, 10**6, 10**7):
        clock.asked.clear()
        made_ready(n_gradients=n_gradients)
        spent = sum(3 * size * 2 for _, size, _ in clock.asked)
        assert spent <= 0.1 * n_gradients
        assert (len(clock.asked) > 0) == (n_gradients >= 10**4)


def test_what_was_found_is_remembered_for_the_model(clock):
    model = network()
    first = made_ready(model)
    clock.asked.clear()
    again = made_ready(model)
    assert not clock.asked
    assert again.plan.device_batch == first.plan.device_batch
    made_ready(model, device_batch=8)
    assert clock.asked


def test_what_a_short_run_had_no_time_for_is_tried_by_a_longer_one(clock):
    clock.seconds = lambda options, **_: 1.0 / (1 + len(options))
    model = network()
    assert made_ready(model, n_gradients=100).options == ()
    assert made_ready(model).options == ("fold_batch_norm", "channels_last")
    engine = Engine(network(), "auto", "auto")
    with engine.running(IMAGES.device):
        engine.check(IMAGES)
        for n_gradients in (100, MANY):
            engine.ready(IMAGES, CLASSES, TARGETS, n_gradients)
    assert engine.options == ("fold_batch_norm", "channels_last")


def test_one_engine_takes_no_new_trials_for_the_next_images(clock):
    engine = made_ready()
    clock.asked.clear()
    plan = engine.plan
    engine.ready(IMAGES + 0.1, CLASSES, TARGETS, MANY)
    assert engine.plan is plan
    assert not clock.asked


def test_what_was_asked_for_is_used_without_trials():
    engine = made_ready(prepare=["fold_batch_norm", "channels_last"], n_gradients=10)
    assert engine.description()["options"] == ["fold_batch_norm", "channels_last"]
    assert made_ready(prepare="none").description()["options"] == []


def test_what_was_asked_for_and_cannot_be_done_is_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4)).eval()
    with pytest.raises(cx.CleverError, match="no convolution is followed"):
        made_ready(model, prepare=["fold_batch_norm"])


def test_options_of_a_gpu_have_no_effect_on_a_cpu():
    engine = made_ready(prepare=["tf32", "cuda_graph"])
    assert engine.description()["options"] == []
    assert set(engine.plan.notes) == {"tf32", "cuda_graph"}


def test_an_oracle_is_used_as_it_is(clock):
    oracle = cx.TorchOracle(network())
    clock.seconds = lambda size, **_: 1 / size
    engine = made_ready(oracle, device_batch=32)
    assert engine.plan.oracle is oracle
    assert engine.plan.device_batch == 32
    with pytest.raises(cx.CleverError, match="GradientOracle"):
        Engine(oracle, ["channels_last"], "auto")


def test_a_real_trial_and_its_score():
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    few = {"n_batches": 50, "batch_samples": 64}
    result = cx.clever_score(network(), images, **few)
    plain = cx.clever_score(network(), images, prepare="none", device_batch=256, **few)
    torch.testing.assert_close(
        torch.tensor(result.scores[2]), torch.tensor(plain.scores[2]), rtol=1e-4, atol=0
    )
    assert set(result.metadata["engine"]) == {
        "options", "device_batch", "batched_backward", "notes",
    }  # fmt: skip
    assert plain.metadata["engine"]["device_batch"] == 256
