"""Floor and gap: what each stage of a score takes, beside the least that it could take.

The floor of the passes is the model's own forward and input-gradient backward pass at its best
batch and memory format; that of sampling and norms is the bytes that they must move over the
bandwidth of a copy. `clever-ext bench --model ...` measures the same for a model of your own.

    python benchmarks/floor.py --out benchmarks/results/floor-cpu.json
"""

from __future__ import annotations

import math
from typing import Any

import torch
from networks import NETWORKS
from side_by_side import arguments, figure, parsed, show, write

from clever_ext.engine.bench import measure

#: Networks, and the numbers of targets of each point.
CASES = {"efficientnet-lite0": (1, 9), "mnist-7-layer": (1, 9), "tiny": (1, 9)}


def main() -> None:
    """Measure the stages of a score of each network."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu")
    args = parsed(parser)
    figures: list[dict[str, Any]] = []
    for name, counts in CASES.items():
        if args.quick and name == "efficientnet-lite0":
            continue
        network = NETWORKS[name]
        torch.manual_seed(0)
        model, image = network.build().to(args.device), torch.rand(1, *network.shape)
        for n_targets in counts[:1] if args.quick else counts:
            for p in [2.0] if args.quick or n_targets > 1 else [1.0, 2.0, math.inf]:
                costs = measure(model, image.to(args.device), p, n_targets, rounds=args.rounds)
                plural = "s" if n_targets > 1 else ""
                case = f"{name}, p = {p:g}, {n_targets} target{plural}"
                for stage in costs.stages:
                    floor, ours = stage.medians()
                    found = figure(
                        stage.name, case, None, stage.floor, stage.ours,
                        floor_us=floor, ours_us=ours, facts=costs.facts,
                    )  # fmt: skip
                    show(found)
                    figures.append(found)
    write(args.out, figures, unit="microseconds for each gradient evaluation; ratio: floor / ours")


if __name__ == "__main__":
    main()
