"""Whether the default preparation changes scores: many architectures, one line of JSON for each.

Networks of timm and torchvision at low resolution and of peculiar kinds, with random weights and
batch norms whose statistics are those of random images. Each is scored by prepare="none", twice by
the default, with as many gradients as it takes for trials to be made, and once with all that the
default may choose, whatever is faster. The scores are margin / L, whether capped or not.

    python benchmarks/architectures.py --out benchmarks/results/architectures-cpu.jsonl

A line holds: name; samples, of each image (too few for trials where a gradient takes over 3 ms);
difference, the largest relative one between scores of "none" and the default, and between the
maxima; forced, the same for all options; same_twice, whether the default gave the same bits;
engine, options and notes of both; or refused, what the model is refused with; or raised, which must
not be.
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
from peculiar import PECULIAR, SMALL
from peers import peer
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.engine.choice import Choice
from clever_ext.engine.engine import Engine
from clever_ext.engine.preparation import AUTOMATIC
from clever_ext.engine.trials import pass_seconds
from clever_ext.estimators.table import check_settings
from clever_ext.inputs.batch import check_batch
from clever_ext.progress import silent
from clever_ext.scoring import score_batch

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
        "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5",
        "efficientnet_b0", "regnet_y_400mf", "googlenet", "resnet18", "densenet121",
    ),
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
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = peer("torchvision.models").get_model(name, weights=None, num_classes=10, **more)
    return model, (3, side, side)


def calibrated(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give batch norms the statistics of random images, and weights that are not all one."""
    for parameter in model.parameters():  # a last layer of zeros has no gradient
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.05)
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


#: Seconds of a gradient up to which the default way is taken with enough of them for trials.
_AFFORDABLE = 0.003
Case = tuple[nn.Module, tuple[int, ...]]  # and the shape of an image


def scored(
    model: Any, images: Tensor, prepare: str, size: tuple[int, int], choice: Choice | None = None
) -> Any:
    """Score by the default ways; or by a choice, whatever is faster."""
    targets = "top-4" if size == MANY else "top2"
    settings = check_settings(2, 1.0, targets, *size, None, 0)
    engine = Engine(model, prepare, "auto")
    if choice is not None:
        engine.settle(choice)
    return score_batch(engine, check_batch(images, None, None, model, None, None), settings, silent)


def seconds_of_a_gradient(model: nn.Module, images: Tensor) -> float:
    """Time passes over eight points."""
    points = images.expand(8, *images.shape[1:]).contiguous()
    zero, one = torch.zeros(8, dtype=torch.int64), torch.ones(8, 1, dtype=torch.int64)
    return min(pass_seconds(cx.TorchOracle(model), points, zero, one) for _ in range(3)) / 8


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
        if size == ENOUGH and seconds_of_a_gradient(model, images) > _AFFORDABLE:
            size = FEW
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
        "samples": math.prod(size),
        "capped": int(none.table["capped"].sum()),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def cases() -> dict[str, tuple[Callable[[], Case], tuple[int, int]]]:
    """Return what builds each network, and how many samples it gets, by name."""

    def home_made(make: Callable[[], nn.Module]) -> Callable[[], Case]:
        return lambda: (make(), SMALL)

    found = {name: (home_made(make), MANY) for name, make in PECULIAR.items()}
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
