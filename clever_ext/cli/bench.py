"""`clever-ext bench`."""

from __future__ import annotations

import argparse
from typing import Any

from .options import add_machine, add_model, load, read_device_batch
from .terminal import Column, facts, show, table, terminal_width


def add(commands: Any) -> None:
    """Describe the command."""
    bench = commands.add_parser("bench", help="tell what a model's score costs, stage by stage")
    bench.set_defaults(run=run)
    add_model(bench)
    bench.add_argument("--norm", default="2", help="1, 2, inf or any p between")
    bench.add_argument("--n-targets", type=int, default=1, help="targets of each point")
    bench.add_argument("--rounds", type=int, default=5, help="how often each stage is measured")
    add_machine(bench)


def run(args: argparse.Namespace) -> int:
    """Measure, and print."""
    import torch

    from ..classifier.oracle import model_placement
    from ..engine.bench import measure
    from ..inputs.batch import check_device_batch
    from ..kernels.balls import check_integer, check_norm

    loaded = load(args)
    device, dtype = model_placement(loaded.model)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, *loaded.preprocessing.shape, generator=generator).to(device, dtype)
    costs = measure(
        loaded.model,
        image,
        p=check_norm(args.norm),
        n_targets=check_integer("n-targets", args.n_targets, 1, 2**20),
        prepare=args.prepare,
        device_batch=check_device_batch(read_device_batch(args.device_batch)),
        rounds=check_integer("rounds", args.rounds, 1, 10**6),
    )
    columns = [Column("stage"), *(Column(n, True) for n in ("floor", "ours", "floor / ours"))]
    rows = []
    for stage in costs.stages:
        floor, ours = stage.medians()
        rows.append([stage.name, f"{floor:,.2f}", f"{ours:,.2f}", f"{floor / ours:.2f}"])
    show(["Microseconds for each gradient evaluation"])
    show(table(columns, rows, terminal_width()))
    show(facts(((name, str(value)) for name, value in costs.facts.items()), terminal_width()))
    return 0
