"""`clever-ext bench`."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ..gradients import model_placement
from ..sampling import check_integer
from .options import add_machine, add_model, load, read_device_batch


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
    from ..bench import measure
    from ..inputs import check_device_batch
    from ..sampling import check_norm

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
    console, table = Console(), Table(title="microseconds for each gradient evaluation")
    for column in ("stage", "floor", "ours", "floor / ours"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in costs.stages:
        floor, ours = stage.medians()
        table.add_row(stage.name, f"{floor:,.2f}", f"{ours:,.2f}", f"{floor / ours:.2f}")
    console.print(table)
    for name, value in costs.facts.items():
        console.print(f"{name}: {value}")
    return 0
