import copy
import gc
import math
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import clever_ext as cx
from clever_ext.classifier.process_state import process_settings
from clever_ext.engine.preparation import OPTIONS, CannotPrepareError, apply, check_options
from clever_ext.models.loading import load_model


class Block(nn.Module):
    """Convolutions with and without bias, groups and a residual, each with its batch norm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(8, affine=False)
        )
        self.out = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.tanh(self.norm(self.first(x)))
        x = torch.tanh(x + self.inner(x))
        return self.out(x.mean(dim=(2, 3)))


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator)
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.eval()


def points(*shape: int) -> torch.Tensor:
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))


def gradients(model, x):
    leaf = x.detach().requires_grad_()
    logits = model(leaf)
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), leaf)[0]


def norms_computed(model: nn.Module, x: torch.Tensor) -> int:
    """Count the batch norms that a pass computes."""
    with torch.profiler.profile() as profile:
        model(x)
    return sum(event.name == "aten::batch_norm" for event in profile.events())


def test_folded_batch_norms_are_not_computed_and_change_rounding_alone():
    model, x = trained(Block()).double(), points(3, 6, 6).double()
    prepared = apply(model, ["fold_batch_norm"], x)
    assert prepared.model.folded == 2
    assert norms_computed(prepared.model, x) == 0
    assert norms_computed(model, x) == 2
    torch.testing.assert_close(prepared.model(x), model(x))
    torch.testing.assert_close(gradients(prepared.model, x), gradients(model, x))


def test_every_batch_norm_of_a_real_network_is_folded():
    model = load_model("efficientnet-lite0").model
    x = points(3, 224, 224)
    prepared = apply(model, ["fold_batch_norm", "channels_last"], x)
    assert prepared.model.folded == 49
    assert prepared.memory_format == torch.channels_last
    torch.testing.assert_close(prepared.model(x), model(x), rtol=0, atol=1e-4)
    norms = [gradients(m, x).flatten(1).norm(dim=1) for m in (model, prepared.model)]
    torch.testing.assert_close(norms[0].median(), norms[1].median(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("options", [["fold_batch_norm"], ["channels_last"], ["bfloat16"]])
def test_the_model_itself_is_left_as_it_was(options):
    model, x = trained(Block()), points(3, 6, 6)
    before = copy.deepcopy(model.state_dict())
    logits, layouts = model(x), [p.is_contiguous() for p in model.parameters()]
    apply(model, options, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.is_contiguous() for p in model.parameters()] == layouts
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(model(x), logits)


def test_a_convolution_of_a_class_of_its_own_is_folded():
    class SamePadding(nn.Conv2d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    model = nn.Sequential(SamePadding(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    x = points(3, 4, 4)
    prepared = apply(trained(model), ["fold_batch_norm"], x)
    assert prepared.model.folded == 1


def test_a_result_that_others_read_too_is_not_folded():
    class Shared(Block):
        def forward(self, x):
            x = self.first(x)
            return self.out((self.norm(x) + x + self.inner(x)).mean(dim=(2, 3)))

    model, x = trained(Shared()), points(3, 6, 6)
    prepared = apply(model, ["fold_batch_norm"], x)
    assert prepared.model.folded == 1  # of two
    torch.testing.assert_close(prepared.model(x), model(x))


def test_a_convolution_that_is_called_twice_is_not_folded():
    class Twice(Block):
        def forward(self, x):
            x = torch.tanh(self.inner[0](self.first(x)))
            return self.out(self.inner(x).mean(dim=(2, 3)))

    with pytest.raises(CannotPrepareError, match="no convolution"):
        apply(trained(Twice()), ["fold_batch_norm"], points(3, 6, 6))


class Rounding(torch.autograd.Function):
    """A straight-through estimator: steps forwards, the identity backwards."""

    @staticmethod
    def forward(_, x):
        return (x * 8).round() / 8

    @staticmethod
    def backward(_, gradient):
        return gradient


class Quantised(Block):
    def forward(self, x):
        return super().forward(Rounding.apply(x))


class Clamped(Block):
    """Clamps its input by a hook of the model itself."""

    def __init__(self):
        super().__init__()
        self.register_forward_pre_hook(lambda _, inputs: (inputs[0].clamp(0.2, 0.8),))


class Branching(Block):
    def forward(self, x):
        return super().forward(x if x.mean() > 0 else -x)


class WithoutGradients(Block):
    def forward(self, x):
        with torch.no_grad():
            scale = x.abs().amax(dim=(1, 2, 3), keepdim=True)
        return super().forward(x / scale)


class InPlace(Block):
    def forward(self, x):
        x = x + 0
        with torch.no_grad():
            x[:, 0] = 0.5
        return super().forward(x)


@pytest.mark.parametrize("kind", [Quantised, Clamped, Branching, WithoutGradients, InPlace])
def test_what_a_forward_pass_does_besides_is_kept(kind):
    model, x = trained(kind()), 2 * points(3, 6, 6) - 0.5
    prepared = apply(model, ["fold_batch_norm", "channels_last"], x)
    assert prepared.model.folded == 2
    torch.testing.assert_close(prepared.model(x), model(x))
    torch.testing.assert_close(gradients(prepared.model, x), gradients(model, x))


def old_norm(name):
    def change(model):
        getattr(nn.utils, name)(model.first)

    return change


def fixed_weights(model):
    class Fixed(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
            weight = weight / weight.std(dim=(1, 2, 3), keepdim=True)
            return nn.functional.conv2d(x, weight, self.bias, padding=1)

    model.first.__class__ = Fixed


def rectified(model):
    class Rectified(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).clamp(min=-100.0, max=0.5)

    model.norm.__class__ = Rectified


def hooked(model):
    model.first.register_forward_hook(lambda *args: args[2] * 2)


def hooked_before(model):
    model.norm.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))


def another_forward(model):
    own = model.first.forward
    model.first.forward = lambda x: own(x).relu()


def pruned(model):
    prune.l1_unstructured(model.first, "weight", amount=0.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: weight_norm(model.first), old_norm("weight_norm"), old_norm("spectral_norm"),
        fixed_weights, rectified, hooked, hooked_before, another_forward, pruned,
    ],
)  # fmt: skip
def test_modules_that_are_more_than_their_weights_are_not_folded(change):
    model, x = Block(), points(3, 6, 6)
    change(model)
    trained(model)(x)
    prepared = apply(model, ["fold_batch_norm"], x)
    assert prepared.model.folded == 1  # the other pair
    torch.testing.assert_close(prepared.model(x), model(x))
    torch.testing.assert_close(gradients(prepared.model, x), gradients(model, x))


class Turning(Block):
    """Reads the result of a convolution where the image is bright, which `points` are not."""

    swallows = False

    def forward(self, x):
        between = self.first(x)
        if x.mean() > 1:
            try:
                between = between * 2
            except RuntimeError:
                if not self.swallows:
                    raise
        return self.out(torch.tanh(self.norm(between)).mean(dim=(2, 3)))


@pytest.mark.parametrize("swallows", [False, True])
def test_a_branch_that_was_not_seen_undoes_the_folding(swallows):
    model, x = trained(Turning()), points(3, 6, 6)
    model.swallows = swallows
    prepared = apply(model, ["fold_batch_norm"], x)
    assert prepared.model.folded == 1
    for each, left in ((x, 1), (x + 1, 0), (x, 0)):
        torch.testing.assert_close(prepared.model(each), model(each))
        torch.testing.assert_close(gradients(prepared.model, each), gradients(model, each))
        assert prepared.model.folded == left


def test_statistics_that_the_forward_pass_sets_are_used():
    class Adapting(Block):
        def forward(self, x):
            if x.mean() > 1:
                self.norm.running_mean = torch.full((8,), float(x.mean()))
            return super().forward(x)

    model, x = trained(Adapting()), points(3, 6, 6)
    prepared = apply(model, ["fold_batch_norm"], x)
    for each in (x, x + 1):
        torch.testing.assert_close(prepared.model(each), model(each))


def test_a_copy_that_shares_weights_is_refused():
    class Single(Block):
        def __deepcopy__(self, memo):
            return self

    model = trained(Single())
    with pytest.raises(CannotPrepareError, match="shares weights"):
        apply(model, ["fold_batch_norm"], points(3, 6, 6))
    assert all(p.requires_grad for p in model.parameters())


def test_a_copy_goes_with_what_uses_it():
    prepared = apply(trained(Block()), ["fold_batch_norm", "channels_last"], points(3, 6, 6))
    prepared.model(points(3, 6, 6))
    gone = weakref.ref(prepared.model.model)
    gc.disable()  # which would find it, but late
    try:
        del prepared
        assert gone() is None
    finally:
        gc.enable()


def test_a_view_of_another_layout_is_refused():
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), Views(), nn.Linear(64, 3)))
    with pytest.raises(CannotPrepareError, match="view"):
        apply(model, ["channels_last"], points(3, 6, 6))


class Views(nn.Module):
    def forward(self, x):
        return x.view(len(x), -1)


def test_a_callable_has_nothing_to_copy():
    def model(x):
        return x.flatten(1)[:, :3]

    for name in ("fold_batch_norm", "channels_last"):
        with pytest.raises(CannotPrepareError, match=r"no torch\.nn\.Module"):
            apply(model, [name], points(3, 4, 4))


def test_channels_last_is_for_pictures():
    with pytest.raises(CannotPrepareError, match="no pictures"):
        apply(nn.Linear(4, 3).eval(), ["channels_last"], points(4))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_shorter_types_give_float32_logits_and_gradients_near_the_model_s(name):
    model, x = trained(Block()), points(3, 16, 16)
    prepared = apply(model, [name], x)
    assert prepared.model(x).dtype == torch.float32
    ours = gradients(prepared.model, x)
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, gradients(model, x))
    norms = [g.flatten(1).norm(dim=1) for g in (ours, gradients(model, x))]
    torch.testing.assert_close(norms[0], norms[1], rtol=OPTIONS[name].worst, atol=0)
    with pytest.raises(CannotPrepareError, match="float64"):
        apply(model.double(), [name], x.double())


def test_a_compiled_model_takes_several_backward_passes():
    model, x = trained(Block()), points(3, 6, 6)
    with process_settings(["compile"], torch.device("cpu")), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        prepared = apply(model, ["fold_batch_norm", "compile"], x)
        assert prepared.fixed_batch
        leaf = x.clone().requires_grad_()
        logits = prepared.model(leaf)
        found = [
            torch.autograd.grad(logits[:, k].sum(), leaf, retain_graph=k < 2)[0] for k in range(3)
        ]
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    for k in range(3):
        expected = torch.autograd.grad(logits[:, k].sum(), leaf, retain_graph=True)[0]
        torch.testing.assert_close(found[k], expected, rtol=1e-4, atol=1e-6)


def test_options_by_name():
    assert check_options("auto") == ((), True)
    assert check_options("none") == ((), False)
    assert check_options(["channels-last", "auto"]) == (("channels_last",), True)
    assert check_options(("compile", "fold_batch_norm"))[0] == ("fold_batch_norm", "compile")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("fast", "names 'fast'"),
        (["auto", "fuse"], "names 'fuse'"),
        (["none", "compile"], "prepare="),
        (["bfloat16", "float16"], "one of the two"),
        (3, "prepare=3"),
        ([1], "prepare="),
    ],
)
def test_unknown_options_are_refused(prepare, message):
    with pytest.raises(cx.CleverError, match=message):
        check_options(prepare)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_scores_do_not_move_with_what_auto_may_choose(p):
    model, x = trained(Block()), points(3, 8, 8)
    few = {"norm": p, "n_batches": 10, "batch_samples": 16}
    plain = cx.clever_score(model, x, prepare="none", **few)
    both = cx.clever_score(model, x, prepare=["fold_batch_norm", "channels_last"], **few)
    assert both.metadata["engine"]["options"] == ["fold_batch_norm", "channels_last"]
    torch.testing.assert_close(
        torch.tensor(both.table["score"]), torch.tensor(plain.table["score"]), rtol=1e-4, atol=0
    )
