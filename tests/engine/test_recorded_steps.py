"""Maxima from recorded steps, and what is kept of them, on a stand-in for a machine with GPUs."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine import engine as engines
from clever_ext.engine import plan as plans
from clever_ext.engine.engine import Engine
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.plan import Plan
from clever_ext.runs.ranks import local_device

SHAPE = (3, 5, 4)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(120, 4)
    ).eval()


def work(n_images=3, n_targets=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n_images, *SHAPE, generator=generator)
    classes = torch.arange(n_images) % 4
    targets = torch.stack([(classes + 1 + t) % 4 for t in range(n_targets)], dim=1)
    return images, classes, targets, np.arange(n_images) + 7 * seed


def drawn_by(plan, of, **changes):
    """What all the samples around some images find, [I, T, N_b + 1]."""
    settings = {"p": 2.0, "radius": 1.5, "n_batches": 5, "batch_samples": 7, "seed": 4}
    sampling = Sampling(**({**settings, "clip": (0.0, 1.0)} | changes))
    found = [each() for each in sample_maxima(plan, *of, sampling, lambda _: None)]
    return np.stack([np.append(each.maxima, each.nearest_flip[:, None], 1) for each in found])


def eager(of, size=4, **changes):
    return drawn_by(Plan(TorchOracle(network()), size), of, **changes)


def recording(size=4, **more):
    return Plan(TorchOracle(network()), size, capture=True, **more)


LOOKS = [
    (work(3), {}),
    (work(2, seed=1), {"n_batches": 9}),
    (work(4, seed=2), {"n_batches": 3, "first_batch": 5}),
    (work(3), {"radius": np.array([0.3, 1.0, 2.0])}),
    (work(1, seed=3), {"n_batches": 1}),
]


def test_work_of_one_kind_is_recorded_once(gpus):
    plan = recording()
    for of, changes in LOOKS:
        np.testing.assert_allclose(
            drawn_by(plan, of, **changes), eager(of, **changes), rtol=1e-5, err_msg=str(changes)
        )
    assert gpus.captures == 1
    steps = [-(-len(of[0]) * changes.get("n_batches", 5) * 7 // 4) for of, changes in LOOKS]
    assert gpus.replays == sum(steps) - 3
    assert plan.sizes == {4}


@pytest.mark.usefixtures("gpus")
def test_the_samples_of_recorded_work_are_the_same_bits():
    """Each look's maxima are those of the samples alone: exact by an oracle that hands them on."""

    class Points(TorchOracle):
        def margin_gradients(self, x, classes, targets):
            for t in range(targets.shape[1]):
                yield x * (targets[:, t] - classes).view(-1, 1, 1, 1)

    plan = Plan(Points(network()), 4, capture=True)
    for of, changes in LOOKS:
        expected = drawn_by(Plan(Points(network()), 4), of, **changes)
        assert np.array_equal(drawn_by(plan, of, **changes), expected)


def test_another_kind_of_work_is_recorded_for_itself(gpus):
    plan, number = recording(), 0
    for n_targets in (1, 2):
        for changes in (
            {}, {"p": math.inf}, {"seed": 5}, {"clip": (-math.inf, math.inf)}, {"batch_samples": 8},
        ):  # fmt: skip
            of = work(3, n_targets)
            number += 1
            for _ in range(2):
                found = drawn_by(plan, of, **changes)
                np.testing.assert_allclose(found, eager(of, **changes), rtol=1e-5)
                assert gpus.captures == number
    assert len(plan.kept) <= plans._MOST_KEPT


def test_more_than_there_is_room_for_is_recorded_anew(gpus):
    plan = recording()
    for of, captures in ((work(3), 1), (work(4), 1), (work(5), 2), (work(8), 2), (work(2), 2)):
        np.testing.assert_allclose(drawn_by(plan, of), eager(of), rtol=1e-5)
        assert gpus.captures == captures


def test_memory_formats_are_kinds_of_their_own(gpus):
    plan = recording()
    images, *rest = work(3)
    for layout in (torch.contiguous_format, torch.channels_last):
        of = images.contiguous(memory_format=layout), *rest
        for _ in range(2):
            np.testing.assert_allclose(drawn_by(plan, of), eager(work(3)), rtol=1e-5)
    assert gpus.captures == 2


def test_many_short_looks_are_recorded_in_time(gpus):
    plan, of = recording(), work(1)
    for look in range(12):  # of nine steps each
        changes = {"first_batch": 5 * look}
        np.testing.assert_allclose(drawn_by(plan, of, **changes), eager(of, **changes), rtol=1e-5)
    assert gpus.captures == 1
    assert gpus.replays > 12 * 9 / 2


@pytest.mark.parametrize(
    ("more", "most"),
    [({"tolerance": 0.01, "max_gradients": 3000}, 4), ({"race": True}, 4), ({"radius": "auto"}, 2)],
    ids=str,
)
def test_searches_in_many_looks_record_few_times(gpus, monkeypatch, more, most):
    recorded, use = [], engines.use

    def capturing(found, plan, *rest):
        use(found, plan, *rest)
        plan.capture = True
        recorded.append(plan)

    images = work(6)[0]
    few = {"n_batches": 40, "batch_samples": 16, "device_batch": 8, "prepare": "none"}
    plain = cx.clever_score(network(), images, **({"radius": 1.0} | few | more))
    monkeypatch.setattr(engines, "use", capturing)
    found = cx.clever_score(network(), images, **({"radius": 1.0} | few | more))
    np.testing.assert_allclose(found.table["score"], plain.table["score"], rtol=1e-4)
    assert all(plan.capture for plan in recorded)
    assert 1 <= gpus.captures <= most
    assert gpus.replays > 100 * gpus.captures


def test_less_than_a_batch_makes_no_full_one(gpus):
    plan = recording(16)
    drawn_by(plan, work(3, seed=1), n_batches=50)
    replays = gpus.replays
    found = drawn_by(plan, work(1), n_batches=2)
    np.testing.assert_allclose(found, eager(work(1), n_batches=2), rtol=1e-5)
    assert gpus.replays == replays
    assert 14 in plan.sizes


@pytest.mark.usefixtures("gpus")
def test_work_that_is_under_way_shares_its_batch_with_nobody():
    """As two searches of one call might, one between the images of the other."""
    plan, sampling = recording(), Sampling(2.0, 1.5, 5, 7, 4, (0.0, 1.0))
    drawn_by(plan, work(3))
    first = sample_maxima(plan, *work(3), sampling, lambda _: None)
    found = [next(first)()]
    second = drawn_by(plan, work(3, seed=1))
    found += [each() for each in first]
    np.testing.assert_allclose(second, eager(work(3, seed=1)), rtol=1e-5)
    maxima = np.stack([each.maxima for each in found])
    np.testing.assert_allclose(maxima, eager(work(3))[:, :, :-1], rtol=1e-5)


class Lacking(TorchOracle):
    """Lacks memory for more than so many points, from some call on."""

    def __init__(self, most, after):
        super().__init__(network())
        self.most, self.left = most, after

    def margin_gradients(self, x, classes, targets):
        self.left -= 1
        if self.left < 0 and len(x) > self.most:
            raise torch.OutOfMemoryError("no memory")
        return super().margin_gradients(x, classes, targets)


@pytest.mark.parametrize("after", [0, 2, 3, 4])  # 3: the plain step before a capture; 4: in it
def test_a_halved_batch_is_recorded_anew_and_results_go_on(gpus, after):
    plan = Plan(Lacking(4, after), 8, capture=True)
    found = drawn_by(plan, work(4))
    np.testing.assert_allclose(found, eager(work(4)), rtol=1e-5)
    assert plan.device_batch == 4
    assert gpus.captures == 1
    assert gpus.as_new()


def test_what_is_kept_is_given_up_before_the_batch_is_halved(gpus):
    plan = recording()
    drawn_by(plan, work(3))
    assert len(plan.kept) == 1
    plan.recover(torch.OutOfMemoryError("no memory"), 4)
    assert (len(plan.kept), plan.device_batch, plan.notes) == (0, 4, {})
    plan.recover(torch.OutOfMemoryError("no memory"), 4)
    assert plan.device_batch == 2
    np.testing.assert_allclose(drawn_by(plan, work(3)), eager(work(3)), rtol=1e-5)
    assert gpus.captures == 2


def test_another_oracle_takes_over_from_a_recorded_one(gpus):
    plan = recording(otherwise=lambda *_: TorchOracle(network()))
    drawn_by(plan, work(3))
    plan.recover(ValueError("broken"), 4)
    np.testing.assert_allclose(drawn_by(plan, work(3)), eager(work(3)), rtol=1e-5)
    assert (gpus.captures, plan.capture) == (1, False)


@pytest.mark.usefixtures("gpus")
def test_another_oracle_takes_over_in_the_middle_of_work():
    class Broken(Lacking):
        def margin_gradients(self, x, classes, targets):
            self.left -= 1
            if self.left < 0:
                raise TypeError("broken")
            return super().margin_gradients(x, classes, targets)

    others = [TorchOracle(network())]
    plan = Plan(
        Broken(4, 2), 4, capture=True, otherwise=lambda *_: others.pop() if others else None
    )
    np.testing.assert_allclose(drawn_by(plan, work(3)), eager(work(3)), rtol=1e-5)


@pytest.mark.usefixtures("gpus")
def test_a_batch_of_passes_that_have_changed_is_not_kept():
    plan, sampling = recording(), Sampling(2.0, 1.5, 5, 7, 4, (0.0, 1.0))
    under_way = sample_maxima(plan, *work(3), sampling, lambda _: None)
    next(under_way)
    plan.recover(torch.OutOfMemoryError("of somebody else"), 4)
    list(under_way)
    assert len(plan.kept) == 0


def test_a_step_that_is_no_graph_is_tried_once_and_said_why(gpus):
    class Waiting(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] ** 2 * (1 + 0 * x.sum().item())

    plan = Plan(TorchOracle(Waiting()), 4, capture=True)
    for _ in range(2):
        found = drawn_by(plan, work(3))
    np.testing.assert_allclose(found, drawn_by(Plan(TorchOracle(Waiting()), 4), work(3)), rtol=1e-5)
    assert plan.notes["cuda_graph"] == "it waits for the GPU in the middle of a pass"
    assert (plan.capture, gpus.captures, len(plan.kept)) == (False, 0, 0)
    assert gpus.as_new()


def test_nothing_is_kept_once_the_engine_has_run(gpus):
    engine = Engine(network(), "none", 4)
    gc.disable()  # which would find cycles, but late
    try:
        with engine.running(torch.device("cpu")):
            images, classes, targets, _ = work(3)
            engine.check(images)
            engine.ready(images, classes, targets, 1000)
            engine.plan.capture = True
            drawn_by(engine.plan, work(3))
            (batch,) = engine.plan.kept._batches.values()
            gone = weakref.ref(batch)
            del batch
            assert gone() is not None
        assert gone() is None
    finally:
        gc.enable()
    assert gpus.captures == 1


@pytest.mark.usefixtures("gpus")
def test_a_default_device_of_the_user_s_is_left_alone():
    of = work(3)
    expected, plan = eager(of), recording()
    with torch.device("meta"):
        np.testing.assert_allclose(drawn_by(plan, of), expected, rtol=1e-5)
    assert plan.capture


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_s_work_runs_on_its_own_gpu(gpus, monkeypatch, rank):
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = torch.device(local_device("cuda"))
    assert device.index == rank
    gpus.home = rank
    engine, seen = Engine(network(), "none", 4), []

    class Seeing(TorchOracle):
        def margins_and_gradients(self, *args):
            seen.append(torch.cuda.current_device())
            return super().margins_and_gradients(*args)

    with engine.running(device):
        images, classes, targets, _ = work(3)
        engine.check(images)
        engine.ready(images, classes, targets, 1000)
        engine.plan.oracle, engine.plan.capture = Seeing(network()), True
        found = drawn_by(engine.plan, work(3))
        engine.ask_again(images)
    np.testing.assert_allclose(found, eager(work(3)), rtol=1e-5)
    assert set(seen) == {rank}
    assert gpus.captures == 1
    assert "cuda_graph" in engine.description()["options"]
    assert gpus.as_new()
