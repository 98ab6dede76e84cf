"""Whether the default preparation changes scores: many architectures, one line of JSON for each.

Networks of timm and torchvision at low resolution and of a home-made kind, with random weights and
batch norms whose statistics are those of random images. Each is scored by prepare="none", twice by
the default, with as many gradients as it takes for trials to be made, and once with all that the
default may choose, whatever is faster. The scores are margin / L, whether capped or not.

    python benchmarks/architectures.py --out benchmarks/results/architectures-cpu.jsonl

A line holds: name; difference, the largest relative one between scores of "none" and the default,
and between the maxima; forced, the same for all options; same_twice, whether the default gave the
same bits; options and notes of both; or refused, what the model is refused with.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from peers import peer
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import clever_ext as cx
from clever_ext.engine import Choice, Engine
from clever_ext.inputs import Settings, check_batch
from clever_ext.preparation import AUTOMATIC
from clever_ext.progress import silent
from clever_ext.scoring import score_batch

SMALL = (3, 16, 16)
#: (N_b, N_s) for small networks of several targets and for real ones of one target: enough for
#: trials of the options; and of the scores by all options.
MANY, ENOUGH, FEW = (16, 512), (8, 128), (4, 32)
#: Of timm, by the side of their pictures.
TIMM = {
    32: (
        "resnet10t", "resnet18", "resnetv2_18", "seresnet18", "skresnet18", "ecaresnet26t",
        "resnext26ts", "gcresnext26ts", "efficientnet_lite0", "tf_efficientnet_b0",
        "tf_efficientnetv2_b0", "test_efficientnet", "mobilenetv2_035", "mobilenetv3_small_050",
        "tf_mobilenetv3_small_minimal_100", "mobilenetv4_conv_small_035", "lcnet_035", "tinynet_e",
        "mnasnet_small", "fbnetc_100", "spnasnet_100", "ghostnet_050", "hardcorenas_a",
        "regnetx_002", "regnety_002", "rexnetr_100", "dla46_c", "dla46x_c", "selecsls42b",
        "ese_vovnet19b_dw", "repvgg_a0", "mobileone_s0", "repghostnet_050", "darknet17",
        "nf_resnet26", "nfnet_l0", "convnext_atto", "efficientformerv2_s0", "poolformer_s12",
        "test_vit", "test_resnet", "test_convnext", "test_byobnet", "mixer_s32_224",
        "gmixer_12_224", "resmlp_12_224", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
        "pvt_v2_b0", "xcit_nano_12_p16_224", "coat_lite_tiny",
    ),
    64: (
        "hrnet_w18_small", "densenet121", "fastvit_t8", "edgenext_xx_small", "mobilevit_xxs",
        "mobilevitv2_050", "levit_128s", "visformer_tiny", "xception41", "cspresnet50",
    ),
}  # fmt: skip
#: Of torchvision, the same.
TORCHVISION = {
    32: (
        "vgg11", "vgg11_bn", "resnet18", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small",
        "mnasnet0_5", "shufflenet_v2_x0_5", "densenet121", "googlenet", "efficientnet_b0",
        "regnet_y_400mf", "convnext_tiny", "swin_t",
    ),
    64: ("alexnet",),
    96: ("inception_v3",),
}  # fmt: skip


def of_timm(name: str, side: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Build a network of timm for ten classes, for smaller pictures where it takes these."""
    timm = peer("timm")
    try:
        model = timm.create_model(name, num_classes=10, img_size=side)
    except TypeError:  # it takes any size
        model = timm.create_model(name, num_classes=10)
    return model, (3, side, side)


def of_torchvision(name: str, side: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Build a network of torchvision for ten classes."""
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = peer("torchvision.models").get_model(name, weights=None, num_classes=10, **more)
    return model, (3, side, side)


# --- the home-made ----------------------------------------------------------------------------


class Net(nn.Module):
    """Two convolutions with batch norms and a linear layer; the others differ from it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.out = nn.Linear(8 * 64, 10)

    def begin(self, x: Tensor) -> Tensor:
        """Return what the first convolution and its batch norm give."""
        return F.relu(self.norm(self.first(x)))

    def end(self, x: Tensor) -> Tensor:
        """Return the logits of that."""
        return self.out(F.relu(self.norm2(self.second(x))).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 3, 16, 16] to [B, 10]."""
        return self.end(self.begin(x))


class Views(Net):
    """Flattens by `view`, as the tutorials do."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.relu(self.norm2(self.second(self.begin(x))))
        return self.out(x.view(len(x), -1))


class Residual(Net):
    """Reads the first convolution's result twice."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        between = self.first(x)
        return self.end(self.norm(between) + 0.1 * between)


class Shared(Net):
    """Calls one convolution twice, before two batch norms."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.norm2(self.first(x[:, :3])))
        return self.end(x)


class Conditional(Net):
    """Goes another way where a row is bright."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        bright = x.mean(dim=(1, 2, 3), keepdim=True) > 0.5
        between = self.first(x)
        if bool(bright.all()):
            return self.end(F.relu(self.norm(between)))
        return self.end(torch.where(bright, F.relu(self.norm(between)), between.tanh()))


class InPlace(Net):
    """Modifies its input, and results, in place."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x -= 0.5
        x /= 0.25
        return self.end(self.norm(self.first(x)).relu_())


class ReluFirst(Net):
    """Begins with an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(self.before(x))


class UnderNoGrad(Net):
    """Sets a few values in place under no_grad."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + 0
        with torch.no_grad():
            x[:, :, 0] = 0.5
        return super().forward(x)


class StraightThrough(torch.autograd.Function):
    """Clamps, with the backward pass of the identity."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        """Clamp."""
        return x.clamp(0.2, 0.8)

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        """Hand on."""
        return gradients[0]


class ClampedStraight(Net):
    """Clamps its input without losing gradients."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = StraightThrough.apply(x)  # type: ignore[no-untyped-call]
        return super().forward(y)


class Once(torch.autograd.Function):
    """Its backward pass can be made once, for one gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Square."""
        ctx.kept = [2 * x]
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Use up what was kept."""
        if gradients[0].sum().item() == math.inf:
            raise ValueError
        return ctx.kept.pop() * gradients[0]


class OneBackward(Net):
    """Frees what its backward pass needs."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = Once.apply(x)  # type: ignore[no-untyped-call]
        return super().forward(y)


class Checkpointed(Net):
    """Computes its first part again in the backward pass."""

    reentrant = False

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.end(checkpoint(self.begin, x, use_reentrant=self.reentrant))


class Reentrant(Checkpointed):
    """The same in torch's older way, which takes no gradient of an input alone."""

    reentrant = True


class Standardised(nn.Conv2d):
    """Standardises its weights at each call."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class SamePadding(nn.Conv2d):
    """Pads its input itself."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Counting(Net):
    """Counts its calls, and keeps its last features."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        self.calls += 1
        self.features = self.begin(x)
        return self.end(self.features)


class LayoutDependent(Net):
    """Reads its numbers as they lie in memory."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        first = x[0]
        flat = x.as_strided((len(x), first.numel()), (first.numel(), 1), x.storage_offset())
        return super().forward(x) + 0.1 * flat[:, :10]


def changed(change: Callable[[Any], object]) -> Callable[[], nn.Module]:
    """Build a Net and change it."""

    def build() -> nn.Module:
        model = Net()
        return made if isinstance(made := change(model), nn.Module) else model

    return build


def hooks(model: Net) -> None:
    """Clamp the input, scale the first convolution's result and shift a batch norm's input."""
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0].clamp(0.1, 0.9),))
    model.first.register_forward_hook(lambda _, __, out: 1.5 * out)
    model.norm2.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 0.1,))


def hook_on_output(model: Net) -> None:
    """Scale the logits by a hook of the model itself."""
    model.register_forward_hook(lambda _, __, out: 2 * out.tanh())


def replaced_forward(model: Net) -> None:
    """Give a convolution a forward pass of its own, as libraries do that patch models."""
    own = model.first.forward
    model.first.forward = lambda x: own(x).clamp(min=-0.5)  # type: ignore[method-assign]


def replaced(name: str, make: Callable[[nn.Module], nn.Module]) -> Callable[[Net], None]:
    """Put another module in the place of one."""
    return lambda model: setattr(model, name, make(getattr(model, name)))


def pruned(model: Net) -> None:
    """Prune both convolutions; one for good."""
    prune.l1_unstructured(model.first, "weight", amount=0.3)
    prune.random_structured(model.second, "weight", amount=0.3, dim=0)
    prune.remove(model.second, "weight")


def fake_quantised(model: Net) -> nn.Module:
    """Quantise weights and activations to 8 bits, as in training for that."""
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    made: nn.Module = quantization.prepare_qat(model.train())
    made(torch.rand(8, *SMALL))
    return made.apply(quantization.disable_observer)


def fused_qat(model: Net) -> nn.Module:
    """The same of a convolution and batch norm in one module."""
    parts = nn.Sequential(model.first, model.norm, nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10))
    fused = quantization.fuse_modules_qat(parts.train(), [["0", "1", "2"]])
    fused.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    made: nn.Module = quantization.prepare_qat(fused)
    made(torch.rand(8, *SMALL))
    return made.apply(quantization.disable_observer)


def exported(model: nn.Module) -> nn.Module:
    """Export and load again, as a module."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(
        model.eval(), (torch.rand(4, *SMALL),), dynamic_shapes={"x": {0: batch}}
    )
    made: nn.Module = program.module()
    return made


HOME_MADE: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "float64": lambda: Net().double(),
    "view": Views,
    "conv output used twice": Residual,
    "shared convolution": Shared,
    "conditional": Conditional,
    "input modified in place": InPlace,
    "ReLU(inplace) first": ReluFirst,
    "in place under no_grad": UnderNoGrad,
    "straight-through clamp": ClampedStraight,
    "one backward pass for a forward pass": OneBackward,
    "checkpoint": Checkpointed,
    "checkpoint, reentrant": Reentrant,
    "keeps features": Counting,
    "reads memory as it lies": LayoutDependent,
    "hooks and pre-hooks": changed(hooks),
    "hook on the output": changed(hook_on_output),
    "replaced forward": changed(replaced_forward),
    "weight standardisation": changed(
        replaced("first", lambda _: Standardised(3, 8, 3, padding=1))
    ),
    "same padding": changed(replaced("first", lambda _: SamePadding(3, 8, 3))),
    "weight_norm, old": changed(replaced("first", lambda m: weight_norm(m))),
    "weight_norm": changed(replaced("first", lambda m: parametrizations.weight_norm(m))),
    "spectral_norm, old": changed(replaced("first", lambda m: spectral_norm(m))),
    "spectral_norm": changed(replaced("first", lambda m: parametrizations.spectral_norm(m))),
    "orthogonal": changed(replaced("second", lambda m: parametrizations.orthogonal(m))),
    "pruned": changed(pruned),
    "fake quantisation": changed(fake_quantised),
    "fused fake quantisation": changed(fused_qat),
    "frozen parameters": changed(lambda model: model.requires_grad_(False)),
    "channels_last": changed(lambda model: model.to(memory_format=torch.channels_last)),
    "jit.script": changed(lambda model: torch.jit.script(model.eval())),
    "jit.trace": changed(lambda model: torch.jit.trace(model.eval(), torch.rand(2, *SMALL))),
    "torch.export": changed(exported),
    "torch.fx": changed(lambda model: torch.fx.symbolic_trace(model.eval())),
    "torch.compile": changed(lambda model: torch.compile(model, dynamic=True)),
    "model.compile()": changed(lambda model: model.compile(dynamic=True)),
    "DataParallel": changed(lambda model: nn.DataParallel(model)),
}  # fmt: skip


# --- the study --------------------------------------------------------------------------------


def calibrated(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give batch norms the statistics of random images, and weights that are not all one."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        if norm.affine and norm.weight.min() == norm.weight.max():
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
    if norms and not isinstance(model, (torch.fx.GraphModule, torch.jit.ScriptModule)):
        model.train()
        with torch.no_grad():
            for _ in range(4):
                model(torch.rand(8, *shape).to(next(model.parameters()).dtype))
    return model if isinstance(model, torch.fx.GraphModule) else model.eval()


Case = tuple[nn.Module, tuple[int, ...]]  # and the shape of an image


def scored(
    model: Any, images: Tensor, prepare: str, size: tuple[int, int], choice: Choice | None = None
) -> Any:
    """Score by the default ways; or by a choice, whatever is faster."""
    targets = "top-4" if size == MANY else "top2"
    settings = Settings.check(2, 1.0, targets, *size, None, 0)
    engine = Engine(model, prepare, "auto")
    if choice is not None:
        engine.settle(choice)
    return score_batch(engine, check_batch(images, None, None, model, None, None), settings, silent)


def apart(a: Any, b: Any) -> dict[str, float]:
    """Return the largest relative differences of scores and maxima of two results."""

    def largest(x: Any, y: Any) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.abs(x - y) / np.abs(y)
        return float(np.max(np.where(x == y, 0.0, found)))

    scores = [np.asarray(r.table["margin"] / r.table["lipschitz"]) for r in (a, b)]
    maxima = [np.stack(r.table["maxima"].tolist()) for r in (a, b)]
    return {"scores": largest(*scores), "maxima": largest(*maxima)}


def same(a: Any, b: Any) -> bool:
    """Tell whether two results hold the same bits."""
    return np.array_equal(
        np.stack(a.table["maxima"].tolist()), np.stack(b.table["maxima"].tolist())
    )


def study(name: str, build: Callable[[], Case], size: tuple[int, int]) -> dict[str, Any]:
    """Score one network in all ways; return its line."""
    begin = time.perf_counter()
    torch.manual_seed(0)
    model, shape = build()
    model = calibrated(model, shape)
    images = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
    try:
        none = scored(model, images, "none", size)
        auto, again = (scored(model, images, "auto", size) for _ in range(2))
        few, forced = (
            scored(model, images, "auto", FEW, Choice(options, 8, bool(options)))
            for options in ((), AUTOMATIC)
        )
    except cx.CleverError as error:
        return {"name": name, "refused": str(error)}
    except Exception as error:  # what must not be
        return {"name": name, "raised": f"{type(error).__name__}: {error}"}
    ways = [result.metadata["engine"] for result in (auto, forced)]
    return {
        "name": name,
        "difference": apart(auto, none),
        "forced": apart(forced, few),
        "same_twice": same(auto, again),
        "engine": dict(zip(("default", "forced"), ways, strict=True)),
        "capped": int(none.table["capped"].sum()),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def cases() -> dict[str, tuple[Callable[[], Case], tuple[int, int]]]:
    """Return what builds each network, and how many samples it gets, by name."""

    def home_made(make: Callable[[], nn.Module]) -> Callable[[], Case]:
        return lambda: (make(), SMALL)

    found = {name: (home_made(make), MANY) for name, make in HOME_MADE.items()}
    for library, build, names in (
        ("timm", of_timm, TIMM),
        ("torchvision", of_torchvision, TORCHVISION),
    ):
        found |= {
            f"{library} {name}": (partial(build, name, side), ENOUGH)
            for side, of_side in names.items()
            for name in of_side
        }
    return found


def main() -> None:
    """Study all networks, or those whose names hold a word, and write a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a file of lines; else they are printed alone")
    parser.add_argument("--only", default="", help="networks whose names hold this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with args.out.open("w") if args.out is not None else nullcontext() as file:
        for name, (build, size) in cases().items():
            if args.only in name:
                line = json.dumps(study(name, build, size))
                print(line, flush=True)
                if file is not None:
                    print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
