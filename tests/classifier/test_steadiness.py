"""Models that compute something else after a while, or in large batches: kept, and told."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.findings import CleverWarning

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(3, 12, generator=torch.Generator().manual_seed(1))
FEW = {"n_batches": 10, "batch_samples": 16, "device_batch": 4}
UNSTEADY = "computes something else after the scores"
#: Passes of which the checks make fewer, and the scores more.
LATE = 100


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


class Around(nn.Module):
    """A network that a function calls, with a count of its passes and a buffer."""

    def __init__(self, forward):
        super().__init__()
        self.net, self.called, self.passes = mlp(), forward, 0
        self.drop = nn.Dropout(0.3)
        self.register_buffer("factor", torch.ones(()))
        self.eval()

    def forward(self, x):
        self.passes += 1
        return self.called(self, x)


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, model):
        ctx.model = model
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1.0 if ctx.model.passes < LATE else 0.5), None


def decays(self, x):
    self.factor.mul_(1 - 2e-5)
    return self.net(x) * self.factor


def counts(self, x):
    return self.net(x) * (1 if self.passes < LATE else 2)


def gets_other_weights(self, x):
    if self.passes == LATE:
        self.net[0].weight.data = self.net[0].weight.data * 1.001
    return self.net(x)


def is_written_to_by_numpy(self, x):
    if self.passes == LATE:
        self.net[0].bias.detach().numpy()[:] += 0.01
    return self.net(x)


def goes_into_training_mode(self, x):
    if self.passes == LATE:
        self.drop.train()
    return self.net[2](self.drop(self.net[:2](x)))


def gets_a_hook(self, x):
    if self.passes == LATE:
        self.net[0].register_forward_hook(lambda *given: 1.1 * given[-1])
    return self.net(x)


def has_another_backward_pass(self, x):
    return self.net(Backward.apply(x, self))


def told(result) -> str:
    return " ".join(each["said"] for each in result.metadata["warnings"])


@pytest.mark.parametrize(
    "forward",
    [
        decays, counts, gets_other_weights, is_written_to_by_numpy, goes_into_training_mode,
        gets_a_hook, has_another_backward_pass,
    ],
)  # fmt: skip
def test_a_model_that_changes_while_it_is_scored_is_told(forward):
    with pytest.warns(CleverWarning, match=UNSTEADY):
        result = cx.clever_score(Around(forward), IMAGES, **FEW)
    assert UNSTEADY in told(result)
    assert np.isfinite(result.scores[2]).all()


@pytest.mark.parametrize(
    "how",
    [
        {"race": True}, {"radius": "auto"}, {"tolerance": 0.3, "max_gradients": 500},
        {"estimator": "steepest", "n_batches": 500},
    ],
)  # fmt: skip
def test_it_is_told_however_gradients_are_spent(how):
    with pytest.warns(CleverWarning, match=UNSTEADY):
        cx.clever_score(Around(decays), IMAGES, **{**FEW, **how})


def test_an_oracle_is_asked_again_too():
    own = cx.TorchOracle(mlp())

    class Tired:
        passes = 0

        def logits(self, x):
            return own.logits(x)

        def margin_gradients(self, x, classes, targets):
            self.passes += 1
            for gradient in own.margin_gradients(x, classes, targets):
                yield gradient / self.passes

    with pytest.warns(CleverWarning, match=UNSTEADY):
        cx.clever_score(Tired(), IMAGES, **FEW)


def test_a_model_that_fails_after_the_scores_loses_nothing():
    finished = []

    def forward(self, x):
        if finished:
            raise ValueError("no more passes")
        return self.net(x)

    def progress(done, total):
        finished.extend([True] * (done == total))

    with pytest.warns(CleverWarning, match=UNSTEADY):
        result = cx.clever_score(Around(forward), IMAGES, progress=progress, **FEW)
    assert result.scores[2].tolist() == cx.clever_score(mlp(), IMAGES, **FEW).scores[2].tolist()


@pytest.mark.parametrize("interrupt", ["agrees", "mixes"])
def test_ctrl_c_after_the_scores_keeps_them(monkeypatch, interrupt):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"clever_ext.classifier.steadiness.Witness.{interrupt}", stop)
    with pytest.warns(UserWarning, match="interrupted"):
        result = cx.clever_score(mlp(), IMAGES, **FEW)
    assert len(result.table) == 6
    assert not result.metadata["complete"]


def test_rows_that_mix_in_the_batches_of_the_scores_are_told():
    net = mlp()
    many = {"n_batches": 3, "batch_samples": 100, "device_batch": 33, "targets": "top2"}

    def model(x):
        return net(x) * (2 if len(x) == 9 else 1)  # as many as the last samples are

    with pytest.warns(CleverWarning, match="a row's logits are others than alone"):
        result = cx.clever_score(model, IMAGES, **many)
    assert "in a batch of 9 points" in told(result)


def mixes_late_and_rarely(self, x):
    far = self.passes > LATE and len(x) > 8 and x.max() > 1.6
    return self.net(x / 2 if far else x)


def test_rows_that_begin_to_mix_are_told():
    with pytest.warns(CleverWarning, match="a row's logits are others than alone"):
        cx.clever_score(
            Around(mixes_late_and_rarely), IMAGES, n_batches=40, batch_samples=16, device_batch=16
        )


def autocast(x):
    with torch.autocast("cpu", torch.bfloat16):
        return mlp()(x).float()


@pytest.mark.parametrize(
    ("model", "images"),
    [
        (mlp(), IMAGES), (mlp().double(), IMAGES), (mlp().half(), IMAGES),
        (mlp().bfloat16(), IMAGES), (autocast, IMAGES), (lambda x: mlp()(x) - 1e4, IMAGES),
        (nn.Sequential(
            nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10)
        ).eval(), IMAGES),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device_batch", [4, 5000])
def test_of_other_models_nothing_is_told(model, images, device_batch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = cx.clever_score(
            model, images, n_batches=5, batch_samples=100, device_batch=device_batch
        )
    assert UNSTEADY not in told(result)
    assert "in a batch of" not in told(result)


@pytest.mark.parametrize("prepare", [["fold_batch_norm"], ["channels_last"], ["bfloat16"]])
def test_a_prepared_copy_is_asked_again_too(prepare):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    images = torch.rand(2, 3, 4, 4)
    result = cx.clever_score(net.eval(), images, prepare=prepare, **FEW)
    assert UNSTEADY not in told(result)

    class Counting(type(net)):
        passes = 0

        def forward(self, x):
            self.passes += x.requires_grad or torch.is_grad_enabled()
            return super().forward(x) * (1 if self.passes < LATE else 2)

    net.__class__ = Counting
    with pytest.warns(CleverWarning, match=UNSTEADY):
        cx.clever_score(net, images, prepare=prepare, **{**FEW, "n_batches": 20})


def test_a_result_is_not_lost_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = cx.clever_score(mlp(), IMAGES, radius=1e-4, **FEW)
        other = cx.clever_score(Around(decays), IMAGES, **FEW)
    assert "every score is the radius" in told(result)
    assert UNSTEADY in told(other)


def test_a_call_in_a_transform_of_functions_is_refused():
    with pytest.raises(cx.CleverError, match="inside a transform of torch"):
        torch.func.grad(lambda x: cx.clever_score(mlp(), x, **FEW))(IMAGES)
