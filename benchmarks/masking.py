"""What is said of masked networks, and of networks as they are.

Each case of `masks.py` is made of two networks, on six MNIST digits that they classify right,
against the runner-up in l2 and l-inf. Its scores are held against the nearest flips that are known:
those of brackets of the network without the mask, of the masked one, and of the network with
gradients passed around the mask, brought onto the masked one's boundary by bisection. What is said
is a flag of masking in a row, or a line of `check` that asks for something to be done.

    python masking.py --out results/masking-cpu.json
    python masking.py --choosing --out results/masking-choosing-cpu.json   # thresholds are of these
"""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from masks import CASES, Case, distilled, saturated
from peers import peer
from published import CHOOSING, REPORTED, WEIGHTS, digits
from side_by_side import arguments, parsed, quantity, share, show, write
from torch import Tensor, nn

import clever_ext as cx
from clever_ext.estimators.tables import MASKING

Floats = npt.NDArray[np.float64]
_NORMS = [2.0, np.inf]
_HOW: dict[str, Any] = {
    "targets": "top2", "clip": (0, 1), "prepare": "none", "device_batch": 64, "norm": _NORMS,
}  # fmt: skip
#: Scores beside which the flips are held, and their budgets.
_SCORES: dict[str, dict[str, Any]] = {
    "first order": {"estimator": "first-order"},
    "the paper's": {"n_batches": 8, "batch_samples": 8},
    "bracket": {"estimator": "steepest", "max_gradients": 100, "keep_witness": True},
}
_DIGITS, _HALVINGS = 6, 12
#: What stands for larger ratios, and for those of flips that were not found.
_FAR = 1e3
#: Lengths of the segments that are bisected, in distances of flips of other networks.
_BEYOND = (1.0, 1.1, 1.5)
_RANDOM = ("resnet18", "mobilenetv2_050", "efficientnet_b0", "convnext_atto", "densenet121")


def right_digits(network: nn.Module) -> Tensor:
    """Return test digits that a network classifies right, [6, 1, 28, 28]."""
    x, labels = digits(200)
    with torch.no_grad():
        right = np.flatnonzero(network(x).argmax(dim=1).numpy() == labels)
    return x[right[:: len(right) // _DIGITS][:_DIGITS]]


def bracket(model: nn.Module, images: Tensor) -> pd.DataFrame:
    """Return the rows of a bracket, with the nearest flips that it finds."""
    return cx.clever_score(model, images, **_SCORES["bracket"], **_HOW).table


def flips_in(table: pd.DataFrame, images: Tensor) -> Tensor:
    """Return the flips of rows, [I, norms, *shape]; the images themselves where there is none."""
    found = [
        torch.from_numpy(each).float().view_as(images[0]) if len(each) else images[image]
        for image, each in zip(table["image_id"], table["witness"], strict=True)
    ]
    return torch.stack(found).view(len(images), len(_NORMS), *images.shape[1:])


def nearest(model: nn.Module, images: Tensor, flips: Tensor) -> Floats:
    """Return distances of flips on the segments towards points [I, M, *shape], [I, norms]."""
    with torch.no_grad():
        best = model(images).topk(2, dim=1).indices
    n = flips.shape[1] * len(_BEYOND)
    row = torch.arange(len(images)).repeat_interleave(n)
    start = images[row]
    ends = torch.stack([images[:, None] + by * (flips - images[:, None]) for by in _BEYOND], dim=1)
    end = ends.flatten(0, 2).clamp(0, 1)

    def flipped(x: Tensor) -> Tensor:
        with torch.no_grad():
            of_best = model(x).gather(1, best[row])
        found: Tensor = of_best[:, 0] <= of_best[:, 1]
        return found

    there, low, high = flipped(end), torch.zeros(len(row)), torch.ones(len(row))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = flipped(torch.lerp(start, end, middle.view(-1, 1, 1, 1)))
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    moved = (high[:, None] * (end - start).flatten(1)).double()
    of_norms = [torch.where(there, moved.norm(p, dim=1), torch.inf) for p in _NORMS]
    nearest_of = [each.view(len(images), n).amin(dim=1).numpy() for each in of_norms]
    return np.stack(nearest_of, axis=1)


def said_by_check(model: Any, images: Tensor) -> list[str]:
    """Return what `check` says of a model that asks for something to be done."""
    found = cx.check(model, images, targets="top2", clip=(0, 1), prepare="none", device_batch=64)
    return [each.said for each in found.concerns if each.topic == "model"]


def measure(
    name: str, model: nn.Module, images: Tensor, known: Tensor, case: Case
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one case; `known` are points [I, M, *shape] behind other boundaries."""
    said = said_by_check(model, images)
    flagged = np.zeros(1, dtype=bool)
    with suppress(cx.CleverError):  # which check says too
        tables = {
            each: cx.clever_score(model, images, **budget, **_HOW).table
            for each, budget in _SCORES.items()
        }
        every = torch.cat([known, flips_in(tables["bracket"], images)], dim=1)
        flips = nearest(model, images, every).ravel()
        ratios = {f"{each} / flip": table["score"] for each, table in tables.items()}
        ratios["bracket's flip / flip"] = tables["bracket"]["nearest_flip"]
        for figure, distances in ratios.items():
            ratio = np.minimum(distances.to_numpy(dtype=np.float64) / flips, _FAR)
            yield quantity(figure, name, None, ratio[~np.isnan(ratio)])
        flags = np.concatenate([table["flags"] for table in tables.values()])
        flagged = np.array([any(word in row for word in MASKING) for row in flags])
        yield share("rows flagged", name, None, flagged)
    yield share("check asks", name, None, np.array([bool(said)]), said=said)
    either = np.array([bool(said) or bool(flagged.any())])
    yield share("said", name, case.target, either, at_most=case.target == 0)


def of_network(name: str, network: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield the figures of all cases of one network."""
    images = right_digits(network)
    plain = flips_in(bracket(network, images), images)
    for mask, case in CASES.items():
        known = [plain]
        if case.before is not None:
            around = cx.BPDA(network, case.before).eval()
            with suppress(cx.CleverError):  # of what is random
                known.append(flips_in(bracket(around, images), images))
        model = case.build(network).eval()
        yield from measure(f"{name}, {mask}", model, images, torch.cat(known, dim=1), case)


def trained_to_saturate() -> Iterator[dict[str, Any]]:
    """Yield the figures of the networks that are trained so, and of what is behind them."""
    for name, network in (("distilled at T = 100", distilled()), ("steep sigmoids", saturated())):
        images = right_digits(network)
        plain = flips_in(bracket(network, images), images)
        for mask in ("as it is", "softmax(z) behind it"):
            case = CASES[mask]
            yield from measure(f"{name}, {mask}", case.build(network).eval(), images, plain, case)


def normal() -> Iterator[dict[str, Any]]:
    """Yield what is said of networks as they are: those of the studies, and random ones."""
    for name, case in REPORTED.items():
        try:
            network, images = case.build(), case.data()[0]
        except SystemExit as missing:
            print(f"{name}: {missing}", flush=True)
            continue
        yield _of_normal(name, network, images)
    numbers = torch.Generator().manual_seed(1)
    for name in _RANDOM:
        torch.manual_seed(0)
        try:
            network = peer("timm").create_model(name, pretrained=False, num_classes=10).eval()
        except unittest.SkipTest as missing:
            print(f"{name}: {missing}", flush=True)
            continue
        coarse = torch.rand(4, 3, 8, 8, generator=numbers)
        images = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
        yield _of_normal(f"{name}, random weights", network, images)


def _of_normal(name: str, network: nn.Module, images: Tensor) -> dict[str, Any]:
    said = said_by_check(network, images)
    figure = share("said of networks as they are", name, 0.0, np.array([bool(said)]), said=said)
    return figure | {"at_most": True}


def main() -> None:
    """Measure all cases and write what was found."""
    parser = arguments(__doc__)
    parser.add_argument("--choosing", action="store_true", help="the networks of the thresholds")
    parser.add_argument("--only", nargs="+", metavar="PART", help="networks, trained, normal")
    args = parsed(parser)
    warnings.simplefilter("ignore")
    networks = CHOOSING if args.choosing else REPORTED
    names = list(networks) if args.choosing else ["lenet-clean", "lenet-adversarial"]
    figures: list[dict[str, Any]] = []
    parts = {
        name: of_network(name, networks[name].build())
        for name in names
        if not args.choosing or (WEIGHTS / f"{name}.pt").exists()
    }
    if not args.choosing:
        parts |= {"trained": trained_to_saturate(), "normal": normal()}
    for name, part in parts.items():
        if args.only and name not in args.only:
            continue
        for found in part:
            figures.append(found)
            show(found)
            write(args.out, figures, digits=_DIGITS)
    write(args.out, figures, digits=_DIGITS)


if __name__ == "__main__":
    main()
