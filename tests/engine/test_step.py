"""What a step launches besides the model's own kernels."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clever_ext.classifier.oracle import TorchOracle
from clever_ext.engine.maxima import Sampling, sample_maxima
from clever_ext.engine.plan import Plan

#: Kernels that an op of ours launches on a GPU; one where nothing else is said.
LAUNCHES = {"clever_ext::reduce_and_resample": 2}


class Own(torch.autograd.Function):
    """A model, whose operations are told apart from ours."""

    busy = False

    @staticmethod
    def forward(ctx, x):
        Own.busy, ctx.shape = True, x.shape
        logits = x[:, :5].clone()
        Own.busy = False
        return logits

    @staticmethod
    def backward(ctx, gradient):
        Own.busy = True
        out = torch.zeros(ctx.shape)
        out[:, :5] = gradient
        Own.busy = False
        return out


class Kernels(TorchDispatchMode):
    """Counts the kernels that operations would launch: views and new memory are none."""

    def __init__(self):
        super().__init__()
        self.launched = []

    def __torch_dispatch__(self, func, _, args=(), kwargs=None):
        aliases = [each.alias_info for each in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        name = func._schema.name
        if not (Own.busy or view or "empty" in name):
            self.launched += [name] * LAUNCHES.get(name, 1)
        return func(*args, **(kwargs or {}))


def launched(n_targets, n_batches):
    classes = torch.zeros(2, dtype=torch.int64)
    targets = torch.arange(1, 1 + n_targets).expand(2, -1)
    sampling = Sampling(2.0, 0.5, n_batches, 8, 0, (0.0, 1.0))
    plan = Plan(TorchOracle(Own.apply), 16)
    with Kernels() as kernels:
        for _ in sample_maxima(
            plan, torch.rand(2, 6), classes, targets, np.arange(2), sampling, lambda _: None
        ):
            pass
    return kernels.launched


@pytest.mark.parametrize(("n_targets", "most"), [(1, 6), (3, 8)])
def test_a_step_launches_few_kernels_besides_the_model_s(n_targets, most):
    """Of one target: its assignment, a copy of the points, seeds, flips, and two that resample."""
    more, fewer = launched(n_targets, 11), launched(n_targets, 10)
    assert len(more) - len(fewer) == most
