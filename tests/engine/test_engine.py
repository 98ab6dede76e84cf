import math

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.engine import search
from clever_ext.engine.choice import Choice
from clever_ext.engine.engine import Engine, first_device_batch
from clever_ext.engine.trials import Trials
from clever_ext.estimators.table import check_settings
from clever_ext.inputs.batch import check_batch
from clever_ext.machine import memory
from clever_ext.progress import silent
from clever_ext.scoring import score_batch

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
    monkeypatch.setattr(Trials, "seconds", lambda *args, **named: clock.of(*args, **named))
    return clock


def fewer_with_options(_trials, prepared, _size, batched_backward=False):
    return 1.0 / (1 + len(prepared.options) + batched_backward)


@pytest.fixture
def eager(monkeypatch):
    """Make whatever "auto" may try seem faster, however few the gradients."""
    monkeypatch.setattr(Trials, "seconds", fewer_with_options)
    monkeypatch.setattr(Trials, "worth", lambda *_: True)
    monkeypatch.setattr(search, "_FIRST_SHARE", 1.0)
    monkeypatch.setattr(search, "_best_batch", lambda *given: given[2:])


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
    assert engine.plan.oracle.model.folded == 1


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
    monkeypatch.setattr(memory, "resident", iter([0, *[10**9] * 99]).__next__)
    monkeypatch.setattr(memory, "available", lambda: 5 * 10**9)
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


class Told(torch.autograd.Function):
    """Hands gradients on, but does something else with those of several targets at once."""

    @staticmethod
    def forward(ctx, x, otherwise):
        ctx.otherwise = otherwise
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        try:
            gradient.sum().item()
        except RuntimeError:
            gradient = ctx.otherwise(gradient)
        return gradient, None


def told(otherwise):
    linear = nn.Linear(108, 4)
    return lambda x: linear(Told.apply(x, otherwise).flatten(1))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", [TypeError, ValueError, AssertionError, IndexError, RuntimeError])
def test_a_batched_backward_pass_may_raise_anything(kind):
    def otherwise(_):
        raise kind("no batches")

    engine = made_ready(told(otherwise), device_batch=64)
    assert not engine.plan.oracle.batched_backward
    assert engine.plan.notes["batched_backward"] == f"{kind.__name__}: no batches"


@pytest.mark.usefixtures("eager")
def test_a_batched_backward_pass_that_gives_something_else_is_left_out():
    assert made_ready(told(lambda gradient: gradient)).plan.oracle.batched_backward
    engine = made_ready(told(lambda gradient: gradient * 1.01))
    assert not engine.plan.oracle.batched_backward
    assert "gradient norms move by 1.0e-02" in engine.plan.notes["batched_backward"]


def test_a_size_that_a_model_does_not_take_is_not_chosen():
    class Small(nn.Linear):
        def forward(self, x):
            if len(x) > 300:
                raise RuntimeError("canUse32BitIndexMath(input) INTERNAL ASSERT FAILED")
            return super().forward(x.flatten(1))

    engine = made_ready(Small(108, 4).eval())
    assert engine.plan.device_batch <= 300


class Views(nn.Sequential):
    """Flattens as the tutorials do, which channels_last does not take."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.out = nn.Linear(144, 4)

    def forward(self, x):
        for part in (self[0], self[1], self[2]):
            x = part(x)
        return self.out(x.view(len(x), -1))


class Reshapes(Views):
    """Takes any layout."""

    def forward(self, x):
        return self.out(self[2](self[1](self[0](x))).flatten(1))


class Late(Reshapes):
    """Takes channels_last as well, but for one image and what is near it."""

    def forward(self, x):
        if not x.is_contiguous() and bool((x.flatten(1).mean(dim=1) > 2).any()):
            raise TypeError("not these")
        return super().forward(x)


WAYS = [
    {}, {"estimator": "steepest", "max_gradients": 200}, {"tolerance": 0.3}, {"race": True},
    {"radius": "auto"}, {"targets": "random"},
]  # fmt: skip


@pytest.mark.usefixtures("eager", "one_thread")
@pytest.mark.parametrize("more", WAYS)
@pytest.mark.parametrize("kind", [Views, Late])
def test_what_auto_tries_never_ends_a_score(kind, more):
    model, images = kind().eval(), torch.cat([IMAGES, IMAGES[:1] + 2.0])
    few = {"n_batches": 8, "batch_samples": 32, "radius": 1.0, **more}
    plain = cx.clever_score(model, images, prepare="none", **few)
    for _ in range(2):
        for part in (slice(0, 2), slice(2, 3), slice(0, 3)):
            ids = np.arange(3)[part]
            found = cx.clever_score(model, images[part], image_ids=ids, **few)
            np.testing.assert_allclose(found.scores[2], plain.scores[2][part], rtol=1e-4)


@pytest.mark.usefixtures("eager", "one_thread")
@pytest.mark.parametrize("settled", [False, True])
def test_a_pass_that_fails_in_the_middle_goes_on_by_the_model_itself(settled):
    class Tiring(Reshapes):
        calls = 0

        def forward(self, x):
            laid_out = not x.is_contiguous()
            Tiring.calls += laid_out
            if laid_out and Tiring.calls > 30:
                raise KeyError("enough")
            return super().forward(x)

    model, few = Tiring().eval(), {"n_batches": 10, "batch_samples": 64, "device_batch": 8}
    engine = Engine(model, "auto", 8)
    if settled:  # as a run that goes on
        engine.settle(Choice(("channels_last",), 8, True))
    settings = check_settings(2, None, "all", 10, 64, None, 0)
    batch = check_batch(IMAGES, None, None, model, None, None)
    found = score_batch(engine, batch, settings, silent)
    assert found.metadata["engine"]["options"] == []
    assert "KeyError: 'enough'" in found.metadata["engine"]["notes"]["prepare"]
    plain = cx.clever_score(model, IMAGES, prepare="none", **few)
    np.testing.assert_allclose(found.scores[2], plain.scores[2], rtol=1e-4)


@pytest.mark.usefixtures("eager", "one_thread")
def test_images_past_the_first_go_through_a_model_that_takes_one_layout(monkeypatch):
    monkeypatch.setattr("clever_ext.estimators.clever._IMAGES_AT_ONCE", 1)

    class Own(Views):
        def __deepcopy__(self, memo):
            made = Reshapes()
            made.load_state_dict(self.state_dict())
            return made.eval()

    model, few = Own().eval(), {"n_batches": 4, "batch_samples": 16}
    found = cx.clever_score(model, IMAGES, **few)
    assert "channels_last" in found.metadata["engine"]["options"]


@pytest.mark.usefixtures("eager")
def test_a_model_that_cannot_be_copied_is_scored_as_it_is():
    class Alone(Views):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    found = cx.clever_score(Alone().eval(), IMAGES, n_batches=4, batch_samples=16)
    assert found.metadata["engine"]["options"] == []
    assert found.metadata["engine"]["notes"]["channels_last"] == "TypeError: there is one of me"


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
    assert engine.plan.oracle.oracle is oracle
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


@pytest.mark.parametrize("device_batch", [2**31 - 1, 10**6, 100])
def test_no_batch_is_much_larger_than_the_samples_of_the_call(device_batch):
    sizes = set()

    def model(x):
        sizes.add(len(x))
        return x.flatten(1)[:, :3] ** 2

    few = {"n_batches": 4, "batch_samples": 16}
    cx.clever_score(model, torch.rand(2, 3, 6, 6), device_batch=device_batch, **few)
    assert max(sizes) <= 1024  # that a batch has where nothing is known of the samples


@pytest.mark.parametrize("error", [MemoryError("none"), torch.OutOfMemoryError("none")])
def test_memory_for_not_even_one_point_is_refused(error):
    def model(_):
        raise error

    with pytest.raises(cx.CleverError, match="no memory for the model's passes at one point"):
        cx.clever_score(model, torch.rand(2, 3, 6, 6))


class Unhashable(nn.Sequential):
    __hash__ = None


class Incomparable(nn.Sequential):
    def __eq__(self, other):
        return torch.ones(2)

    __hash__ = nn.Module.__hash__


@pytest.mark.parametrize("kind", [Unhashable, Incomparable])
@pytest.mark.parametrize("inside", [False, True])
def test_models_need_neither_be_hashed_nor_compared(kind, inside):
    plain, images = network(), torch.rand(2, 3, 6, 6)
    few = {"n_batches": 4, "batch_samples": 16}
    model = nn.Sequential(kind(*plain)) if inside else kind(*plain)
    for part in (model, *plain):
        part.training = False
    if inside:
        model[0].training = False
    for _ in range(2):  # the second time by what is remembered
        found = cx.clever_score(model, images, **few)
        assert found.scores[2].tolist() == cx.clever_score(plain, images, **few).scores[2].tolist()
    model.training = True
    with pytest.raises(cx.CleverError, match="training mode"):
        cx.clever_score(model, images, **few)
