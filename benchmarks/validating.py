"""Validates small networks and photographs in a few minutes: what `clever-ext validate` prints.

    python validating.py          # two LeNets in three norms, EfficientNet-Lite0 in l2
    python validating.py lenet-adversarial --attack-gradients 1000 --attacks FMN APGD

Attacks are Foolbox's, which comes with the checkout, unless others are named. Nothing is kept but
the seconds, in the file of --out.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
from attacks import NORMS, beside_torch
from published import REPORTED
from side_by_side import arguments, parsed, quantity, write

import clever_ext as cx
from clever_ext.validation.attacks import ATTACKS

#: What is asked of each network: little, for a look in minutes.
_DIGITS: dict[str, Any] = {
    "norm": NORMS, "attack_gradients": 100, "n_batches": 50, "batch_samples": 8,
    "attacks": [each.name for each in ATTACKS if each.library == "foolbox"],
}  # fmt: skip
_PHOTOGRAPHS: dict[str, Any] = {
    "limit": 12, "attack_gradients": 40, "max_gradients": 100, "n_batches": 8, "batch_samples": 8,
    "attacks": ["FMN", "DDN", "boundary"],
}  # fmt: skip
#: What all of them may take on two cores.
_MINUTES = 10
NETWORKS = {
    "lenet-clean": _DIGITS,
    "lenet-adversarial": _DIGITS,
    "efficientnet-lite0": _PHOTOGRAPHS,
}


def validated(name: str, asked: dict[str, Any]) -> cx.Validation:
    """Validate a network on its pictures."""
    case = REPORTED[name]
    images, labels = case.data()
    channels, height, width = images.shape[1:]
    model = cx.load_model(case.build(), image_size=(height, width), channels=channels)
    source = cx.open_images(images, labels=labels.tolist())
    with tempfile.TemporaryDirectory() as folder:
        return cx.validate(model, source, folder, **{**NETWORKS[name], **asked})


def main() -> None:
    """Validate networks, and print."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--attack-gradients", type=int, metavar="N")
    parser.add_argument("--attacks", nargs="+", metavar="ATTACK")
    args = parsed(parser)
    given = {"attack_gradients": args.attack_gradients, "attacks": args.attacks}
    asked = {name: value for name, value in given.items() if value is not None}
    beside_torch()
    figures = []
    for name in args.names:
        begin = time.monotonic()
        found = validated(name, asked)
        taken = time.monotonic() - begin
        print(f"\n{name}, {taken:.0f} s\n{found}\n", flush=True)
        print(found.attacks.to_string(index=False), flush=True)
        figures.append(quantity("seconds", name, None, np.array([taken])))
    if args.names == list(NETWORKS):
        taken = sum(figure["ratio"]["median"] for figure in figures)
        figures.append(
            quantity("seconds", "all of them", _MINUTES * 60.0, np.array([taken]), at_most=True)
        )
    write(args.out, figures)


if __name__ == "__main__":
    main()
