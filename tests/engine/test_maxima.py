import math

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine.at_points import norms_at
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.plan import Plan
from clever_ext.kernels.balls import dual_exponent, sample_lp_ball

SHAPE = (3, 5, 4)


def ignore(_: int) -> None:
    """A progress that nobody watches."""


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(120, 4)
    ).eval()


def run(images, classes, targets, ids, p=2.0, plan=None, progress=ignore, **changes):
    settings = {"radius": 0.5, "n_batches": 5, "batch_samples": 7, "seed": 4, "clip": (0.0, 1.0)}
    sampling = Sampling(p=p, **(settings | changes))
    plan = plan or Plan(TorchOracle(network()), 16)
    found = sample_maxima(plan, images, classes, targets, np.array(ids), sampling, progress)
    return np.stack([drawn().maxima for drawn in found])


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, *SHAPE, generator=generator)
    return images, torch.tensor([0, 1, 2]), torch.tensor([[1, 2], [2, 3], [0, 3]]), [5, 9, 2]


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, math.inf])
def test_maxima_are_those_of_the_samples_that_the_public_function_draws(case, p):
    images, classes, targets, ids = case
    model = network()
    found = run(images, classes, targets, ids, p=p)
    assert found.shape == (3, 2, 5)
    q = dual_exponent(p)
    for image in range(3):
        for b in range(5):
            x = sample_lp_ball(
                images[image], 7, p, 0.5, seed=4, image_id=ids[image], first=b << 32, clip=(0, 1)
            )
            for t in range(2):
                x.requires_grad_()
                logits = model(x)
                margin = logits[:, classes[image]] - logits[:, targets[image, t]]
                (gradient,) = torch.autograd.grad(margin.sum(), x)
                expected = torch.linalg.vector_norm(gradient.flatten(1).double(), q, dim=1).max()
                # gradients in float32 by kernels of other batch sizes
                assert found[image, t, b] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("device_batch", [1, 3, 7, 35, 64, 1000])
def test_the_device_batch_changes_nothing_but_rounding(case, device_batch):
    counted = []
    plan = Plan(TorchOracle(network()), device_batch)
    found = run(*case, plan=plan, progress=counted.append)
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)
    assert sum(counted) == 3 * 2 * 5 * 7


def test_order_and_company_change_nothing(case):
    images, classes, targets, ids = case
    together = run(*case)
    order = [2, 0]
    subset = run(images[order], classes[order], targets[order], [ids[i] for i in order])
    np.testing.assert_allclose(subset, together[order], rtol=1e-5)


def test_other_targets_change_nothing(case):
    images, classes, targets, ids = case
    one = run(images, classes, targets[:, 1:], ids)
    np.testing.assert_allclose(one[:, 0], run(*case)[:, 1], rtol=1e-5)


def test_more_batches_keep_the_first_ones(case):
    np.testing.assert_allclose(run(*case, n_batches=8)[:, :, :5], run(*case), rtol=1e-5)


def test_memory_format_changes_nothing(case):
    images, *rest = case
    last = images.contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(run(last, *rest), run(images, *rest), rtol=1e-5)


def test_the_same_call_gives_the_same_bits(case):
    assert np.array_equal(run(*case), run(*case))


def test_images_come_as_soon_as_they_are_finished(case):
    images, classes, targets, ids = case
    counted = []
    sampling = Sampling(2.0, 0.5, 5, 7, 0, (-math.inf, math.inf))
    plan = Plan(TorchOracle(network()), 16)
    maxima = sample_maxima(plan, images, classes, targets, np.array(ids), sampling, counted.append)
    next(maxima)
    # 35 samples of the first image take 3 steps of 16, each of two targets.
    assert counted == [32, 32, 32]


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("device_batch", [4, 64])
def test_the_nearest_flip_is_the_nearest_sample_of_another_class(case, p, device_batch):
    images, classes, targets, ids = case
    model = network()
    with torch.no_grad():  # margins near 0, so that some samples flip and others do not
        classes = model(images).argmax(dim=1)
    targets = torch.stack([(classes + 1) % 4, (classes + 2) % 4], dim=1)
    radius = {1.0: 20.0, 2.0: 3.0, 3.0: 1.5, math.inf: 0.8}[p]
    sampling = Sampling(p, radius, 5, 7, 4, (-math.inf, math.inf))
    plan = Plan(TorchOracle(model), device_batch)
    found = sample_maxima(plan, images, classes, targets, np.array(ids), sampling, ignore)
    nearest = np.stack([drawn().nearest_flip for drawn in found])
    expected = np.full((3, 2), np.inf)
    for i in range(3):
        for b in range(5):
            x = cx.sample_lp_ball(images[i], 7, p, radius, 4, ids[i], b << 32)
            with torch.no_grad():
                logits = model(x)
            distance = torch.linalg.vector_norm((x - images[i]).flatten(1), p, dim=1)
            for t in range(2):
                flipped = logits[:, classes[i]] <= logits[:, targets[i, t]]
                if flipped.any():
                    expected[i, t] = min(expected[i, t], distance[flipped].min().item())
    assert np.isfinite(expected).any()
    assert np.isinf(expected).any()
    np.testing.assert_allclose(nearest, expected, rtol=1e-5)


def test_a_nan_gradient_is_kept(case):
    class Broken(TorchOracle):
        def margin_gradients(self, x, classes, targets):
            for gradient in super().margin_gradients(x, classes, targets):
                yield torch.where(x.flatten(1)[:, :1, None, None] > 0.9, torch.nan, gradient)

    found = run(*case, plan=Plan(Broken(network()), 16), radius=2.0, clip=(-math.inf, math.inf))
    assert np.isnan(found).any()
    assert np.isfinite(found).any()


def test_norms_at_the_images(case):
    images, classes, targets, _ = case
    norms = [1.0, 2.0, math.inf, 3.0, 1.5]  # more than one call of the kernel takes
    found = norms_at(Plan(TorchOracle(network()), 2), images, classes, targets, norms)
    assert found.shape == (5, 3, 2)
    gradients = list(TorchOracle(network()).margin_gradients(images, classes, targets))
    for n, p in enumerate(norms):
        for t in range(2):
            rows = gradients[t].flatten(1).double()
            expected = torch.linalg.vector_norm(rows, dual_exponent(p), dim=1)
            np.testing.assert_allclose(found[n, :, t], expected, rtol=1e-5)


def test_public_grad_norm_max():
    grads = torch.randn(3, 5, 2, 4)
    for q in (1, 1.5, 2, math.inf):
        expected = torch.linalg.vector_norm(grads.double().flatten(2), q, dim=2).amax(dim=1)
        torch.testing.assert_close(cx.grad_norm_max(grads, q=q), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("grads", "q", "message"),
    [
        (torch.rand(3, 4), 2, r"grads is torch.float32 of shape \[3, 4\]"),
        (torch.ones(1, 2, 3, dtype=torch.int64), 2, "torch.int64"),
        ([1.0], 2, "grads is list"),
        (torch.rand(2, 0, 3), 2, "empty groups"),
        (torch.rand(2, 2, 3), 0.5, "no p-norm"),
        (torch.rand(2, 2, 3), math.nan, "no p-norm"),
    ],
)
def test_public_grad_norm_max_refuses(grads, q, message):
    with pytest.raises(cx.CleverError, match=message):
        cx.grad_norm_max(grads, q=q)


def test_public_grad_norm_max_of_no_groups():
    assert cx.grad_norm_max(torch.rand(0, 2, 3)).shape == (0,)


class Limited(TorchOracle):
    """Runs out of memory for more than so many points, as torch does on a GPU and on a CPU."""

    def __init__(self, limit, error):
        super().__init__(network())
        self.limit, self.error, self.seen = limit, error, []

    def margin_gradients(self, x, classes, targets):
        gradients = super().margin_gradients(x, classes, targets)
        yield next(gradients)
        if len(x) > self.limit:
            raise self.error
        self.seen.append(len(x))
        yield from gradients


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(case, error):
    counted, oracle = [], Limited(5, error)
    plan = Plan(oracle, 16)
    found = run(*case, plan=plan, progress=counted.append)
    assert plan.device_batch == 4
    assert "halved to 4" in plan.notes["device_batch"]
    assert sum(counted) == 2 * sum(oracle.seen) == 3 * 2 * 5 * 7  # each sample once
    same_batch = run(*case, plan=Plan(TorchOracle(network()), 4))
    assert np.array_equal(found, same_batch)


def test_out_of_memory_in_the_middle_of_the_work(case):
    class Growing(Limited):
        def margin_gradients(self, x, classes, targets):
            if len(self.seen) == 3:
                self.limit = 4
            return super().margin_gradients(x, classes, targets)

    counted, oracle = [], Growing(1000, torch.OutOfMemoryError("no memory"))
    found = run(*case, plan=Plan(oracle, 16), progress=counted.append)
    assert oracle.seen == [16, 16, 16] + [4] * 14 + [1]
    assert sum(counted) == 3 * 2 * 5 * 7
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)


def test_one_point_too_much_is_an_error(case):
    with pytest.raises(cx.CleverError, match="no memory for the model's passes at one point"):
        run(*case, plan=Plan(Limited(0, torch.OutOfMemoryError("no memory")), 16))


def test_other_errors_are_not_taken_for_a_lack_of_memory(case):
    with pytest.raises(
        cx.CleverError, match=r"failed at a point of the ball \(RuntimeError: broken"
    ):
        run(*case, plan=Plan(Limited(5, RuntimeError("broken")), 16))


@pytest.mark.parametrize(("clipped", "fix"), [(True, "within clip"), (False, r"clip=\(0, 1\)")])
def test_a_pass_that_fails_names_its_error_and_what_may_help(case, clipped, fix):
    plan = Plan(Limited(5, AssertionError("out of range")), 16, clipped=clipped)
    with pytest.raises(cx.CleverError, match=fix) as caught:
        run(*case, plan=plan)
    assert "AssertionError: out of range" in str(caught.value)
    assert isinstance(caught.value.__cause__, AssertionError)


def test_ctrl_c_in_a_pass_stays_what_it_is(case):
    with pytest.raises(KeyboardInterrupt):
        run(*case, plan=Plan(Limited(5, KeyboardInterrupt()), 16))


def test_another_oracle_takes_over_from_the_same_sample(case):
    counted, oracle = [], Limited(5, TypeError("broken"))
    plan = Plan(oracle, 16, otherwise=lambda *_: TorchOracle(network()))
    found = run(*case, plan=plan, progress=counted.append)
    assert plan.device_batch == 16
    assert sum(counted) == 3 * 2 * 5 * 7
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)


def test_norms_at_the_images_go_on_with_smaller_batches(case):
    images, classes, targets, _ = case
    plan = Plan(Limited(1, torch.OutOfMemoryError("no memory")), 3)
    found = norms_at(plan, images, classes, targets, [2.0])
    expected = norms_at(Plan(TorchOracle(network()), 3), images, classes, targets, [2.0])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("device_batch", [3, 16, 200])
def test_a_fixed_batch_sees_one_size_only(case, device_batch):
    oracle = Limited(1000, RuntimeError())
    found = run(*case, plan=Plan(oracle, device_batch, fixed_batch=True))
    assert set(oracle.seen) == {device_batch}
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)


def test_one_backward_pass_for_all_targets(case):
    found = run(*case, plan=Plan(TorchOracle(network(), batched_backward=True), 16))
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)


@pytest.mark.parametrize("device_batch", [2, 4])  # 105 samples: the last batch is not full
def test_maxima_from_replays(case, gpus, device_batch):
    counted = []
    plan = Plan(TorchOracle(network()), device_batch, capture=True)
    found = run(*case, plan=plan, progress=counted.append)
    steps = -(-105 // device_batch)
    assert gpus.replays == steps - 3  # three plain ones; one replay is checked by a plain step
    assert sum(counted) == 3 * 2 * 5 * 7
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)


def test_short_work_is_not_recorded(case, gpus):
    run(*case, plan=Plan(TorchOracle(network()), 16, capture=True))
    assert gpus.replays == 0


@pytest.mark.usefixtures("gpus")
def test_a_model_that_computes_in_python_falls_back_and_says_why(case):
    class Counting(TorchOracle):
        calls = 0

        def margin_gradients(self, x, classes, targets):
            type(self).calls += 1
            factor = 2.0 if self.calls == 4 else 1.0  # as recorded: the fourth call, in a graph
            for gradient in super().margin_gradients(x, classes, targets):
                yield factor * gradient

    plan = Plan(Counting(network()), 2, capture=True)
    found = run(*case, plan=plan)
    assert not plan.capture
    assert "something else" in plan.notes["cuda_graph"]
    np.testing.assert_allclose(found, run(*case), rtol=1e-5)
