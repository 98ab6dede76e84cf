"""What only a GPU can show; the kernels' own tests run there through the `backend` fixture."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.kernels import ops
from clever_ext.machine.doctor import self_test

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def gpu(cuda_half):
    if cuda_half.name != "cuda":
        pytest.skip("for a real GPU")
    return cuda_half.device


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 5)
    ).eval()


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_scores_agree_with_the_cpu(gpu, norm):
    model, images = network(), torch.rand(3, 3, 6, 6)
    few = {"norm": norm, "n_batches": 20, "batch_samples": 16}
    on_cpu = cx.clever_score(model.double(), images.double(), **few)
    on_gpu = cx.clever_score(model.to(gpu), images.double(), **few)
    # Samples differ by the order of one float64 sum, gradients by the order of float64 sums.
    np.testing.assert_allclose(on_gpu.scores[norm], on_cpu.scores[norm], rtol=1e-6)


def test_the_fused_step_replays_from_a_graph(gpu):
    centers = torch.rand(2, 3, 8, 8, device=gpu)
    jobs = torch.tensor([[0, 5, 0, 0], [1, 6, 0, 1], [0, 5, 1, 2]], device=gpu)
    radii = torch.full((3,), 0.5, dtype=torch.float64, device=gpu)

    def state():
        return (
            torch.zeros(4, 3, 8, 8, device=gpu),
            torch.zeros(3, dtype=torch.float64, device=gpu),
            torch.arange(4, device=gpu),
            torch.full((4,), -1, device=gpu),
        )

    def step(grads, x, maxima, cursor, slots):
        ops.reduce_and_resample(
            grads, x, maxima, cursor, slots, centers, jobs, radii,
            4, 2.0, 2.0, 0, -math.inf, math.inf,
        )  # fmt: skip

    eager, replayed = state(), state()
    for buffers in (eager, replayed):
        step(None, *buffers)
    for _ in range(3):
        step(torch.cos(eager[0]), *eager)

    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        step(torch.cos(replayed[0]), *replayed)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(eager, replayed, strict=True):
        assert torch.equal(a, b)


def test_doctor_passes():
    failed = [check for check in self_test() if not check.passed]
    assert not failed
