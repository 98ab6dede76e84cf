"""What a GradientOracle of the user's may answer."""

import pytest
import torch
from torch import nn

import clever_ext as cx

IMAGES = torch.rand(3, 12, generator=torch.Generator().manual_seed(1))
FEW = {"n_batches": 4, "batch_samples": 16}
torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


class Oracle:
    """One that answers what functions make of the right answers."""

    def __init__(self, gradients=None, logits=None):
        self.own = cx.TorchOracle(NET)
        self.change, self.change_logits = gradients or iter, logits or (lambda x: x)

    def logits(self, x):
        return self.change_logits(self.own.logits(x))

    def margin_gradients(self, x, classes, targets):
        return self.change(self.own.margin_gradients(x, classes, targets))


def each(change):
    return lambda gradients: (change(gradient) for gradient in gradients)


def raises(_):
    raise StopIteration


HOW = [{}, {"estimator": "steepest", "max_gradients": 64}, {"targets": "top2"}]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (lambda found: list(found)[:-1], "margin_gradients gives . tensors, and the targets are"),
        (lambda _: [], "gives 0 tensors"),
        (lambda found: [*found, IMAGES], "gives more than"),
        (each(lambda x: x[:1]), r"gradient 1 of . is a torch.float32 tensor of shape \[1, 12\]"),
        (each(lambda x: x[:, :5]), r"of shape \[., 5\]"),
        (each(lambda x: x.numpy()), "of type ndarray"),
        (each(lambda x: x.to_sparse()), "a sparse torch.float32"),
        (each(lambda x: x.long()), "a torch.int64"),
        (each(lambda x: x.to("meta")), "on meta"),
        (each(lambda _: None), "of type NoneType"),
        (lambda _: 3, "result of margin_gradients is of type int"),
        (lambda _: None, "of type NoneType"),
        (raises, "failed at a point of the ball .StopIteration"),
    ],
)
def test_wrong_gradients_are_refused(gradients, message, how):
    with pytest.raises(cx.CleverError, match=message):
        cx.clever_score(Oracle(gradients), IMAGES, **FEW, **how)


@pytest.mark.parametrize(
    "logits",
    [
        lambda x: (100 * x).long(), lambda x: x[:-1], lambda x: x[0], lambda x: x.numpy(),
        lambda x: x.to_sparse(), lambda _: None, lambda x: x[:, :1], lambda x: x + 0j,
    ],
)  # fmt: skip
def test_wrong_logits_are_refused(logits):
    with pytest.raises(cx.CleverError, match=r"the oracle('s logits| has one logit)"):
        cx.clever_score(Oracle(logits=logits), IMAGES, **FEW)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "oracle",
    [
        Oracle(each(lambda x: x.double())),
        Oracle(lambda found: torch.stack(list(found))),
        Oracle(each(lambda x: x.requires_grad_() * 1)),
        Oracle(logits=lambda x: x.requires_grad_() * 1),
        cx.TorchOracle(NET),
    ],
)
def test_other_answers_serve_as_they_are(oracle, how):
    found = cx.clever_score(oracle, IMAGES, **FEW, **how)
    expected = cx.clever_score(NET, IMAGES, prepare="none", **FEW, **how)
    torch.testing.assert_close(
        torch.tensor(found.scores[2]), torch.tensor(expected.scores[2]), rtol=1e-5, atol=0
    )


def test_an_oracle_may_write_to_its_points():
    class Writing(Oracle):
        def logits(self, x):
            found = super().logits(x)
            x.zero_()
            return found

        def margin_gradients(self, x, classes, targets):
            found = list(super().margin_gradients(x, classes, targets))
            x.zero_()
            return found

    before = IMAGES.clone()
    found = cx.clever_score(Writing(), IMAGES, **FEW)
    assert torch.equal(IMAGES, before)
    assert found.scores[2].tolist() == cx.clever_score(Oracle(), IMAGES, **FEW).scores[2].tolist()


def test_probabilities_of_an_oracle_are_said():
    softmax = nn.Sequential(NET, nn.Softmax(dim=1)).eval()
    with pytest.warns(cx.CleverWarning, match="are probabilities, as a softmax gives"):
        found = cx.clever_score(cx.TorchOracle(softmax), IMAGES, **FEW)
    (warning,) = found.metadata["warnings"]
    assert "score the logits before it" in warning["fix"]
    assert not cx.clever_score(cx.TorchOracle(NET), IMAGES, **FEW).metadata["warnings"]
