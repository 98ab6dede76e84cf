"""Weights that are cast once, against torch's own autocast."""

import gc
import warnings
import weakref

import pytest
import torch
from known_classifiers import Attending
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clever_ext.classifier.process_state import process_settings
from clever_ext.engine import casting
from clever_ext.engine.preparation import apply

SHORTER = pytest.mark.parametrize("name", ["bfloat16", "float16"])


def points():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def passes(model, x, k=0):
    """Logits and a gradient."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    (gradient,) = torch.autograd.grad((logits[:, k] - logits[:, k + 1]).sum(), leaf)
    return logits.detach(), gradient


def plain(model, name):
    """What torch's autocast makes of a model as it is."""

    def called(x):
        with torch.autocast("cpu", getattr(torch, name)):
            return model(x).float()

    return called


def assert_same_bits(model, name, x=None, options=()):
    x = points() if x is None else x
    prepared = apply(model, [*options, name], x)
    base = apply(model, options, x).model if options else model
    for _ in range(2):
        for ours, theirs in zip(
            passes(prepared.model, x), passes(plain(base, name), x), strict=True
        ):
            assert torch.equal(ours, theirs)
    return prepared.model


class Casts(TorchDispatchMode):
    """Counts the casts of float32 weights, by their shapes."""

    def __init__(self, model):
        super().__init__()
        self.shapes, self.seen = {p.shape for p in model.parameters()}, 0

    def __torch_dispatch__(self, func, _, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.seen += args[0].dtype == torch.float32 and args[0].shape in self.shapes
        return func(*args, **(kwargs or {}))


def casts(called, model):
    with Casts(model) as counted:
        called(points())
    return counted.seen


class Mixed(nn.Module):
    """Convolutions, norms that autocast leaves in float32, a shared layer and a linear one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.group = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.shared, self.batch = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.layer, self.out = nn.LayerNorm(8), nn.Linear(8, 5)
        self.again = nn.Linear(5, 5)

    def forward(self, x):
        x = torch.tanh(self.group(self.first(x)))
        x = torch.relu(self.shared(torch.relu(self.batch(self.shared(x)))))
        return self.again(self.out(self.layer(x.mean(dim=(2, 3)))).softmax(dim=1))


@SHORTER
def test_the_numbers_are_those_of_autocast(name):
    model = Mixed().eval()
    prepared = assert_same_bits(model, name)
    assert len(prepared.twins) == 4
    weights = model.state_dict()
    assert all(torch.equal(x, weights[n]) for n, x in prepared.model.state_dict().items())
    assert casts(plain(model, name), model) > 0
    assert casts(prepared, model) == 0


def foldable():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)
    ).eval()


@SHORTER
@pytest.mark.parametrize("options", [["fold_batch_norm"], ["fold_batch_norm", "channels_last"]])
def test_folded_convolutions_are_cast_once_too(name, options):
    model = foldable()
    prepared = assert_same_bits(model, name, options=options)
    assert prepared.model.folded == 1
    assert casts(prepared, model) == 0


class Tied(nn.Module):
    """Uses the weights of its layers outside of them as well."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.out = nn.Linear(192, 192), nn.Linear(192, 5)
        self.tied = nn.Linear(192, 192, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        x = torch.tanh(self.tied(torch.tanh(self.first(x.flatten(1)))))
        scale = 1 + self.out.weight.square().sum().sqrt()  # in float32, under autocast too
        return self.out(x) * scale + nn.functional.linear(x, self.first.weight[:5] - 0.3)


class Changing(nn.Module):
    """Changes a layer in the middle of a pass."""

    def __init__(self, change):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.out, self.change = nn.Conv2d(3, 5, 3), nn.Linear(5, 5), change

    def forward(self, x):
        with torch.no_grad():
            self.change(self, x)
        return self.out(self.convolution(x).mean(dim=(2, 3)))


def in_place(model, x):
    model.out.weight.copy_(0.1 + x.mean() * torch.eye(5))


def another(model, x):
    model.out.weight = nn.Parameter(0.1 + x.mean() * torch.eye(5))


def padded(model, x):
    model.convolution.padding = (1, 1) if x.mean() > 1 else (0, 0)


@SHORTER
def test_weights_that_others_read_stay_as_they_are(name):
    prepared = assert_same_bits(Tied().eval(), name)
    first, tied = prepared.twins[0], prepared.twins[2]
    assert first.weight is tied.weight


@SHORTER
@pytest.mark.parametrize("change", [in_place, another, padded])
def test_a_layer_that_the_model_changes_is_called_as_it_is_now(name, change):
    model = Changing(change).eval()
    prepared = apply(model, [name], points())
    for x in (points(), points() + 1, points()):
        for ours, theirs in zip(
            passes(prepared.model, x), passes(plain(model, name), x), strict=True
        ):
            assert torch.equal(ours, theirs)


def parametrized(model):
    nn.utils.parametrizations.weight_norm(model[0])


def normed(model):
    nn.utils.weight_norm(model[0])


def hooked(model):
    model[0].register_forward_hook(lambda layer, _, out: out * layer.weight.square().mean())


def another_class(model):
    class Own(nn.Linear):
        def forward(self, x):
            return x @ (self.weight - self.weight.mean()).t()

    model[0].__class__ = Own


def another_forward(model):
    own = model[0].forward
    model[0].forward = lambda x: own(x).relu()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@SHORTER
@pytest.mark.parametrize("change", [parametrized, normed, hooked, another_class, another_forward])
def test_layers_that_are_more_than_their_weights(name, change):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.Tanh(), nn.Linear(20, 5))
    change(model[1:])
    assert_same_bits(model.eval(), name)


@SHORTER
def test_attention(name):
    assert_same_bits(Attending().eval(), name)


def test_what_cannot_be_copied_is_cast_in_each_pass():
    class Alone(Mixed):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    model = Alone().eval()
    prepared = apply(model, ["bfloat16"], points())
    assert prepared.model.model is model
    assert len(prepared.model.twins) == 0
    assert apply(lambda x: x.flatten(1)[:, :3], ["bfloat16"], points()).options == ("bfloat16",)


def test_a_copy_goes_with_what_uses_it():
    prepared = apply(foldable(), ["fold_batch_norm", "bfloat16"], points())
    prepared.model(points())
    gone = weakref.ref(prepared.model.model.model[4])
    gc.disable()  # which would find it, but late
    try:
        del prepared
        assert gone() is None
    finally:
        gc.enable()


def test_a_compiled_model_has_shorter_weights_too():
    model, x = foldable(), points()
    eager = apply(model, ["fold_batch_norm", "bfloat16"], x).model
    with process_settings(["compile"], torch.device("cpu")), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        compiled = apply(model, ["fold_batch_norm", "bfloat16", "compile"], x).model
        for ours, theirs in zip(passes(compiled, x), passes(eager, x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0.1, atol=1e-3)
    # What is traced has no look at Python's state in it.
    assert not any(isinstance(vars(m).get("forward"), casting._Twin) for m in compiled.modules())
    assert any(p.dtype == torch.bfloat16 for p in compiled.parameters())


class Inside(nn.Module):
    """A network whose last layer is called in a way of its own."""

    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.call = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 5), last

    def forward(self, x):
        return self.call(self.last, torch.tanh(self.first(x)).flatten(1))


def without_autocast(layer, x):
    with torch.autocast("cpu", enabled=False):
        return layer(x.float())


def in_float16(layer, x):
    with torch.autocast("cpu", torch.float16):
        return layer(x)


def in_a_transform(layer, x):
    return torch.vmap(layer)(x.float())


@pytest.mark.parametrize("last", [without_autocast, in_float16, in_a_transform])
def test_what_a_model_does_with_autocast_itself_counts(last):
    assert_same_bits(Inside(last).eval(), "bfloat16")


@pytest.mark.parametrize("last", [without_autocast, in_float16])
def test_it_counts_in_a_compiled_copy_too(last):
    model, x = Inside(last).eval(), points()
    with process_settings(("compile",), x.device):
        prepared = apply(model, ["bfloat16", "compile"], x)
        logits, gradient = passes(prepared.model, x)
    expected, its_gradient = passes(plain(model, "bfloat16"), x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(gradient, its_gradient, rtol=0, atol=2e-2)


def test_a_forward_pass_that_cannot_be_hashed_is_no_layer_of_torch_s():
    class Call:
        __hash__ = None

        def __get__(self, layer, _=None):
            return self if layer is None else lambda x: 2 * x

    class Doubling(nn.Module):
        forward = Call()

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), Doubling()).eval()
    assert len(assert_same_bits(model, "bfloat16").twins) == 1
