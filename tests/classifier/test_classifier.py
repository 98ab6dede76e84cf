"""What is refused as no classifier, with its very cause, and what is let through."""

import itertools
import math
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import clever_ext as cx
from clever_ext.classifier.checks import _masks, check_classifier
from clever_ext.classifier.points import Region
from clever_ext.errors import CleverError

IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
FEW = {"n_batches": 4, "batch_samples": 8, "prepare": "none"}
WEIGHT = torch.randn(48, 4, generator=torch.Generator().manual_seed(1)) / 7


def linear(x):
    return x.flatten(1) @ WEIGHT.to(x.dtype)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).eval()


def refused(model, message, images=IMAGES, **settings):
    """The whole call refuses it too, before any gradient of a score is counted."""
    with pytest.raises(CleverError, match=message):
        check_classifier(model, images, **settings)
    with pytest.raises(CleverError, match=message):
        cx.clever_score(model, images, **FEW)


def accepted(model, images=IMAGES, **settings):
    return [each.said for each in check_classifier(model, images, **settings).findings]


def test_a_sound_model_passes_and_nothing_is_touched():
    model = network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rng, python = torch.random.get_rng_state(), random.getstate()
    legacy = np.random.get_state()[1]  # noqa: NPY002
    assert accepted(model) == []
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- evaluation mode ---------------------------------------------------------------------------


def test_training_mode_is_refused_and_its_place_named():
    refused(network().train(), "the model is in training mode")
    model = network()
    model[1].train()
    refused(model, "its submodule '1' is in training mode")


def test_what_has_no_forward_pass_has_no_mode():
    model = network()
    model[0].register_module("unused", nn.ModuleList([nn.ReLU().eval()]))
    model[0].unused.training = True
    assert accepted(model) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["script", "frozen", "traced", "exported", "fx", "compiled"])
def test_forms_of_a_module(form):
    model = network()
    forms = {
        "script": lambda: torch.jit.script(model),
        "frozen": lambda: torch.jit.freeze(torch.jit.script(model)),
        "traced": lambda: torch.jit.trace(model, IMAGES),
        "exported": lambda: torch.export.export(
            model, (IMAGES,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        ).module(),
        "fx": lambda: torch.fx.symbolic_trace(model),
        "compiled": lambda: torch.compile(model, backend="eager", dynamic=True),
    }
    made = forms[form]()
    assert accepted(made) == []
    plain = cx.clever_score(model, IMAGES, **FEW)
    found = cx.clever_score(made, IMAGES, **FEW)
    np.testing.assert_allclose(found.scores[2], plain.scores[2], rtol=1e-4)


# --- one pass after the other ------------------------------------------------------------------


class Kept(nn.Module):
    """Remembers something from call to call."""

    def __init__(self, forward):
        super().__init__()
        self.calls, self.kept, self.work = 0, [], forward

    def forward(self, x):
        self.calls += 1
        return self.work(self, x)


def ring(self, x):
    self.kept = [*self.kept[-3:], x.detach().mean()]
    return linear(x) + torch.stack(self.kept).mean()


def crop(x):
    first = int(torch.randint(0, 3, ()))
    return F.pad(x[..., first:, :], (0, 0, 0, first)).flatten(1) @ WEIGHT


GENERATOR = torch.Generator().manual_seed(3)
RANDOM = {
    "noise": lambda x: linear(x + 0.1 * torch.randn_like(x)),
    "dropout": lambda x: linear(F.dropout(x)),
    "one draw for all rows": lambda x: linear(x) + torch.randn(4),
    "stochastic depth": lambda x: linear(x) * (torch.rand(()) < 0.5),
    "random crop": crop,
    "numpy": lambda x: linear(x) * float(np.random.uniform(0.5, 1)),  # noqa: NPY002
    "numpy's generator": lambda x: linear(x) * np.random.default_rng().uniform(0.5, 1),
    "python": lambda x: linear(x) * random.uniform(0.5, 1),
    "a generator of its own": lambda x: linear(x) + torch.randn(4, generator=GENERATOR),
    "a masked class": lambda x: linear(F.dropout(x)) + torch.tensor([0, 0, 0, -math.inf]),
    "a large mask": lambda x: linear(F.dropout(x)) + torch.tensor([0, -1e9, 0, -1e9]),
    "rare": lambda x: linear(x) + 0.01 * torch.randn(len(x), 4),
}


def test_random_states_that_are_given_back_after_each_call_do_not_hide_it():
    def forked(x):
        with torch.random.fork_rng([]):
            return linear(x) + torch.randn(4)

    refused(forked, "two passes over the same batch")


@pytest.mark.parametrize("name", RANDOM)
def test_random_models_are_refused(name):
    refused(RANDOM[name], "two passes over the same batch gave different logits")


@pytest.mark.parametrize(
    "forward",
    [
        ring,
        lambda self, x: linear(x) * (1 + 0.1 * self.calls),
        lambda self, x: linear(x) if self.calls % 2 else linear(-x),
    ],
)
def test_what_a_model_keeps_from_call_to_call_is_refused(forward):
    for score in (check_classifier, cx.clever_score):
        with pytest.raises(CleverError, match="two passes over the same batch"):
            score(Kept(forward).eval(), IMAGES)


def repeated(x):
    torch.manual_seed(0)
    return linear(x + 0.5 * torch.rand_like(x))


def repeated_by_a_generator(x):
    generator = torch.Generator().manual_seed(0)
    return linear(x + 0.5 * torch.rand(x.shape, generator=generator))


@pytest.mark.parametrize("model", [repeated, repeated_by_a_generator])
@pytest.mark.parametrize("device_batch", [2, 3, 64])
def test_noise_that_a_seed_repeats_is_another_for_each_row(model, device_batch):
    refused(model, "also noise from a fixed seed", device_batch=device_batch)


def test_one_noise_for_all_rows_is_a_function_of_the_row():
    def fixed(x):
        generator = torch.Generator().manual_seed(0)
        return linear(x + torch.rand(x.shape[1:], generator=generator))

    assert accepted(fixed) == []


# --- one row and the others --------------------------------------------------------------------


def with_others(x, of_others):
    return linear(x) + 0.1 * of_others.flatten()[:4]


MIXING = {
    "mean": lambda x: linear(x) - linear(x).mean(dim=0),
    "detached": lambda x: linear(x) - linear(x).mean(dim=0).detach(),
    "batch statistics": lambda x: F.batch_norm(linear(x), None, None, training=True),
    "largest": lambda x: linear(x / x.amax()),
    "largest above 1": lambda x: linear(x / x.amax().clamp(min=1)),
    "smallest below 0": lambda x: linear(x - x.amin().clamp(max=0)),
    "the next row": lambda x: linear(x) + 1e-3 * linear(x).roll(1, 0),
    "the first row": lambda x: linear(x) + 1e-4 * linear(x)[:1],
    "the last row": lambda x: linear(x) + 1e-4 * linear(x)[-1:],
    "attention over rows": lambda x: linear(x) + (linear(x) @ linear(x).T).softmax(1) @ linear(x),
    "size": lambda x: linear(x) * len(x),
    "place": lambda x: linear(x) + torch.arange(len(x))[:, None],
    "batches of 6": lambda x: linear(x) - (linear(x).mean(dim=0) if len(x) > 5 else 0),
    "pairs": lambda x: linear(x) - (linear(x).mean(dim=0) if len(x) == 2 else 0),
}


@pytest.mark.parametrize("name", MIXING)
def test_rows_that_influence_each_other_are_refused(name):
    refused(MIXING[name], "rows of a batch influence each other")


def test_one_image_is_enough_to_find_rows_that_mix():
    refused(MIXING["mean"], "influence each other", images=IMAGES[:1])


@pytest.mark.parametrize("at_least", [9, 40, 64, 200])
@pytest.mark.parametrize("how", ["mean", "detached", "largest"])
def test_rows_that_mix_in_large_batches_alone(at_least, how):
    def model(x):
        return MIXING[how](x) if len(x) >= at_least else linear(x)

    refused_at = max(at_least, 16)
    with pytest.raises(CleverError, match="influence each other"):
        check_classifier(model, IMAGES, device_batch=refused_at)
    with pytest.raises(CleverError, match="influence each other"):
        cx.clever_score(model, IMAGES, **FEW | {"device_batch": refused_at})
    assert accepted(model, device_batch=8) == []


def test_a_batch_that_trials_choose_is_checked_before_it_is_used(monkeypatch):
    from clever_ext.engine import engine, search

    monkeypatch.setattr(engine, "first_device_batch", lambda *_: 8)
    monkeypatch.setattr(search, "_best_batch", lambda *_: (32, 1.0))

    def model(x):
        return MIXING["mean"](x) if len(x) > 8 else linear(x)

    with pytest.raises(CleverError, match="influence each other"):
        cx.clever_score(model, IMAGES, n_batches=100, batch_samples=1000)


def test_the_ball_is_where_rows_are_looked_at():
    model, pixels = MIXING["largest above 1"], IMAGES.clamp(max=0.9)
    assert accepted(model, pixels, region=Region([(2, 2.0)], (0, 0.95))) == []
    assert accepted(model, pixels, region=Region([(math.inf, 0.01)])) == []
    with pytest.raises(CleverError, match="influence"):
        check_classifier(model, pixels, region=Region([(math.inf, 0.5)]))
    cx.clever_score(model, pixels, clip=(0, 0.95), **FEW)
    with pytest.raises(CleverError, match="influence"):
        cx.clever_score(model, pixels, norm=math.inf, radius=0.5, **FEW)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 8, 20, 100])
def test_choices_of_rows_part_each_row_from_each_other(n):
    choices = torch.stack(_masks(n))
    for i, j in itertools.permutations(range(n), 2):
        assert (choices[:, i] & ~choices[:, j]).any()


# --- rounding is let be ------------------------------------------------------------------------


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)
        )

    def forward(self, x):
        return self.inner(x).double()


class Masked(nn.Module):
    """A transformer, which torch computes in another way where no gradient is wanted."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        padded = torch.zeros(len(x), 4, dtype=torch.bool)
        padded[:, 3] = True
        tokens = x.permute(0, 2, 3, 1).reshape(len(x), 4, 12)
        return self.last(self.encoder(tokens, src_key_padding_mask=padded)[:, :3].mean(1))


def in_bfloat16(x):
    with torch.autocast("cpu", torch.bfloat16):
        return (x.flatten(1) @ WEIGHT).float()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("device_batch", [1, 8, 100])
@pytest.mark.parametrize("make", [Doubled, Masked])
def test_rounding_is_no_influence(make, device_batch):
    torch.manual_seed(0)
    assert accepted(make().eval(), device_batch=device_batch) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_models_of_other_types_pass(dtype):
    check_classifier(network().to(dtype), IMAGES.to(dtype), device_batch=50)


def test_autocast_inside_a_model_rounds_as_its_type_does():
    (said,) = accepted(in_bfloat16, device_batch=33)
    assert "computes in bfloat16" in said


@pytest.mark.parametrize("fill", [-math.inf, math.inf, math.nan, -1e9, -1e30, 0.0])
def test_masked_classes_hide_nothing_and_are_no_fault(fill):
    def masked(x, model=linear):
        return torch.cat([model(x), torch.full((len(x), 2), fill)], dim=1)

    check_classifier(masked, IMAGES)
    refused(lambda x: masked(x, MIXING["mean"]), "influence each other")
    refused(lambda x: masked(x, RANDOM["noise"]), "two passes")


def test_nan_logits_are_no_sign_of_mixing_rows():
    check_classifier(lambda x: linear(x) * float("nan"), IMAGES)


def test_a_binary_model_with_a_zero_passes():
    def binary(x):
        logit = linear(x)[:, :1]
        return torch.cat([torch.zeros_like(logit), logit], dim=1)

    assert accepted(binary, device_batch=50) == []


# --- what is no classifier at all --------------------------------------------------------------


class Expecting(nn.Linear):
    def forward(self, *, pixel_values):
        return super().forward(pixel_values.flatten(1))


class TwoInputs(nn.Linear):
    def forward(self, x, mask):
        return super().forward(x.flatten(1)) * mask


class Reentrant(nn.Linear):
    def forward(self, x):
        return checkpoint(super().forward, x.flatten(1), use_reentrant=True)


class Checkpointed(nn.Linear):
    def forward(self, x):
        return checkpoint(super().forward, x.flatten(1), use_reentrant=False)


class NotDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, __):
        raise KeyError("no rule")


class Behind:
    """Calls a network whose weights take gradients, without its input."""

    def __init__(self, how):
        self.model, self.how = nn.Linear(48, 3).eval(), how

    def __call__(self, x):
        return self.how(self.model, x.flatten(1))


def without_gradients(model, x):
    with torch.no_grad():
        return model(x)


CUT_OFF = "logits do not depend on its input"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x.flatten(1).detach(), CUT_OFF),
        (Behind(lambda model, x: model(x.detach())), CUT_OFF),
        (Behind(lambda model, x: model(x.clone().data)), CUT_OFF),
        (Behind(lambda model, x: model(torch.from_numpy(x.detach().numpy()))), CUT_OFF),
        (Behind(without_gradients), CUT_OFF),
        (Behind(lambda model, x: model(torch.ones(len(x), 48))), CUT_OFF),
        (lambda x: x, r"output for a batch of \d is \[\d, 3, 4, 4\]"),
        (lambda x: x.flatten(), r"output for a batch of \d is \[\d+\]"),
        (lambda x: linear(x)[:1], None),
        (lambda x: torch.cat([linear(x)] * 2), r"is \[\d+, 4\]"),
        (lambda x: {"loss": x.sum(), "z": 3}, "is a dict of loss, z"),
        (lambda _: None, "is NoneType"),
        (lambda _: nn.Linear(3, 3), "returned another model, Linear"),
        (lambda x: linear(x)[:, :1], "one logit"),
        (lambda x: linear(x).argmax(1, keepdim=True).expand(-1, 3), "logits are torch.int64"),
        (lambda x: torch.complex(linear(x), linear(x)), "logits are torch.complex64.*absolute"),
        (
            lambda x: NotDifferentiable.apply(linear(x)),
            "backward pass to the input failed.*no rule",
        ),
        (nn.Linear(7, 3).eval(), "the model failed on a batch of shape"),
        (Expecting(48, 3).eval(), r"cannot be called with a batch alone.*pixel_values.*lambda x"),
        (TwoInputs(48, 3).eval(), r"cannot be called with a batch alone.*mask"),
        (lambda: 3, "cannot be called with a batch alone"),
        (Reentrant(48, 3).eval(), "backward pass.*use_reentrant=False"),
        (Checkpointed(48, 3).eval(), None),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval(), None),
    ],
)
def test_refusals(model, message):
    if message is None and model is not None:
        try:
            check_classifier(model, IMAGES)
        except CleverError as error:
            assert "is [1, 4]" in str(error)  # noqa: PT017
        return
    refused(model, message)


def test_one_image_without_a_batch_is_told():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    for model in (network(), flat):
        with pytest.raises(CleverError, match=r"\[3, 4, 4\] are one image.*images\[None\]"):
            cx.clever_score(model, IMAGES[0], **FEW)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Flatten, "model is the class Flatten, not a model.*Flatten"),
        (dict, "the class dict"),
        (None, "type NoneType cannot be called.*returns it"),
        ("resnet50", "type str cannot be called.*load the model first"),
        (network().state_dict(), "type OrderedDict cannot be called.*load_state_dict"),
        ([network()], "type list cannot be called"),
        (nn.Sequential(nn.LazyLinear(3)).eval(), "'0.weight' has no shape yet"),
        (nn.Linear(4, 3, device="meta").eval(), "'weight' has no values.*meta"),
    ],
)
def test_what_is_no_model_is_told_from_one(model, message):
    with pytest.raises(CleverError, match=message):
        cx.clever_score(model, IMAGES, **FEW)


def test_memory_that_runs_out_makes_the_checks_smaller():
    sizes = []

    def model(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return linear(x)

    result = cx.clever_score(model, IMAGES, **FEW | {"device_batch": 16})
    assert max(sizes) == 16 or max(sizes) == 8
    assert result.metadata["engine"]["device_batch"] <= 3
    plain = cx.clever_score(linear, IMAGES, **FEW)
    np.testing.assert_allclose(result.scores[2], plain.scores[2], rtol=1e-6)


# --- outputs that hold logits ------------------------------------------------------------------


class Output(dict):
    """As transformers' outputs are: entries that are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class GoogLeNetOutputs(NamedTuple):
    """As torchvision's."""

    logits: torch.Tensor
    aux_logits2: torch.Tensor | None
    aux_logits1: torch.Tensor | None


NAMED = {
    "attribute and entry": lambda y: Output(loss=None, logits=y, hidden=y[:, :2] * 2),
    "dictionary": lambda y: {"features": y * 3, "logits": y},
    "only entry": lambda y: {"out": y},
    "only table": lambda y: {"loss": y.sum(), "scores": y},
    "named tuple": lambda y: GoogLeNetOutputs(y, 2 * y, None),
    "one in a tuple": lambda y: (y,),
    "loss first": lambda y: (y.sum(), y),
    "maps behind": lambda y: (y, y[:, :, None, None]),
    "list": lambda y: [y],
    "none behind": lambda y: (y, None),
}


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_logits_are_taken_out_of_outputs(name, module):
    make = NAMED[name]

    class Inner(nn.Linear):
        def forward(self, x):
            return make(super().forward(x.flatten(1)))

    torch.manual_seed(0)
    inner = Inner(48, 4).eval()

    def plain(x):
        return F.linear(x.flatten(1), inner.weight.detach(), inner.bias.detach())

    expected = cx.clever_score(plain, IMAGES, **FEW)
    model = inner if module else lambda x: make(plain(x))
    found = cx.clever_score(model, IMAGES, **FEW)
    np.testing.assert_allclose(found.scores[2], expected.scores[2], rtol=1e-5)
    assert found.metadata["warnings"] == []
    if module:
        assert found.metadata["model"]["name"] == "Inner"
        from clever_ext.models.weights import weights_digest

        assert found.metadata["model"]["digest"] == weights_digest(inner)


@pytest.mark.parametrize(
    "make", [lambda y: (y, 2 * y[:, :3]), lambda y: {"a": y, "b": -y}, lambda y: [y.sum(), y, y]]
)
def test_several_tables_are_said_and_the_first_is_taken(make):
    with pytest.warns(UserWarning, match=r"several tensors \[B, K\]; the first, of 4 columns"):
        found = cx.clever_score(lambda x: make(linear(x)), IMAGES, **FEW)
    expected = cx.clever_score(linear, IMAGES, **FEW)
    np.testing.assert_array_equal(found.scores[2], expected.scores[2])


def test_a_prepared_model_of_such_an_output_is_scored_alike():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return {"logits": self.inner(x), "features": x.flatten(1)}

    model = Net().eval()
    settings = {"n_batches": 4, "batch_samples": 8}
    found = cx.clever_score(model, IMAGES, prepare="channels_last", **settings)
    plain = cx.clever_score(model.inner, IMAGES, prepare="none", **settings)
    np.testing.assert_allclose(found.scores[2], plain.scores[2], rtol=1e-3)
    assert model.training is False


# --- what is scored, but said ------------------------------------------------------------------


def deep(x, scale=1.0):
    return scale * linear(torch.tanh(x))


DOUBTS = {
    "softmax": (lambda x: linear(x).softmax(1), "are probabilities"),
    "sigmoid": (lambda x: linear(x).sigmoid(), "between 0 and 1 wherever"),
    "tanh": (lambda x: linear(x).tanh(), "between -1 and 1 wherever"),
    "hard": (lambda x: F.hardsigmoid(linear(x)), "between 0 and 1 wherever"),
    "masked": (lambda x: linear(x) + torch.tensor([0, 0, -math.inf, 0]), "class 2 is -inf"),
    "constant": (lambda x: linear(x * 0) + 1, "logits are the same at all 8 points"),
    "rounded": (lambda x: linear(x + (x.round() - x).detach() * 0 - x), "logits are the same"),
    "no slope": (lambda x: linear(x).round() + 0 * x.sum(), "gradient.*exactly zero"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts(name):
    model, said = DOUBTS[name]
    with pytest.warns(UserWarning, match=said):
        result = cx.clever_score(model, IMAGES, radius=2, **FEW)
    told = result.metadata["warnings"]
    assert [each["topic"] for each in told] == ["model"]
    assert all(each["fix"] for each in told)


@pytest.mark.parametrize(
    "model",
    [
        linear,
        lambda x: linear(x).log_softmax(1),
        lambda x: 0.01 * linear(x),
        lambda x: linear(x).abs().clamp(max=0.9) * 0.1 + 0.001 * linear(x),
        lambda x: F.normalize(linear(x)) @ F.normalize(WEIGHT[:4]) * 0.5,
        lambda x: linear(x) * 1e6,
        lambda x: x.flatten(1)[:, :3],
        lambda x: F.pad(linear(x), (0, 1)),
    ],
)
def test_nothing_to_doubt(model):
    assert accepted(model) == []


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
def test_short_types_tell_the_grid_that_margins_lie_on(dtype, eps):
    weight = WEIGHT.to(dtype)

    def model(x):
        return x.flatten(1) @ weight + 20

    (said,) = accepted(model, IMAGES.to(dtype))
    assert f"computes in {str(dtype)[6:]}" in said
    assert f"a grid of {16 * eps:.2g}" in said  # logits between 16 and 32


def test_a_number_of_classes_that_varies_is_refused():
    def model(x):
        return linear(x)[:, : 4 if len(x) == 1 else 3]

    with pytest.raises(CleverError, match="influence each other"):
        cx.clever_score(model, IMAGES, **FEW)
