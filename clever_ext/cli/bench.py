"""`clever-ext bench`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .options import add_machine, add_model, load, read_device_batch
from .terminal import Column, facts, say, show, table, width_of

if TYPE_CHECKING:
    from ..engine.bench import Costs


def add(commands: Any) -> None:
    """Describe the command."""
    bench = commands.add_parser(
        "bench",
        usage="%(prog)s --model MODEL [option ...]",
        help="measure what a model's score costs, stage by stage",
        description="Measure what a model's score costs, stage by stage, beside the least that "
        "each stage could cost.",
    )
    bench.set_defaults(run=run)
    add_model(bench)
    how = bench.add_argument_group("measurement")
    how.add_argument(
        "--norm",
        default="2",
        metavar="P",
        help="1, 2, inf (L1, L2, Linf) or another p of at least 1",
    )
    how.add_argument("--n-targets", type=int, default=1, metavar="N", help="targets of each point")
    how.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="how often each stage is measured"
    )
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
    columns = [Column("stage"), Column("floor", True), Column("ours", True)]
    columns.append(Column("floor / ours", True, spare=1))
    rows = []
    for stage in costs.stages:
        floor, ours = stage.medians()
        rows.append([stage.name, f"{floor:,.2f}", f"{ours:,.2f}", f"{floor / ours:.2f}"])
    say("Microseconds for each gradient: the least that a stage could take (floor), and ours.")
    show(["", *table(columns, rows, width_of())])
    show(facts(_facts(costs), width_of()))
    return 0


def _facts(costs: Costs) -> Iterator[tuple[str, str]]:
    """Say how the stages were measured."""
    known = costs.facts
    floor, ours = known["bare"], known["engine"]
    yield "floor", f"{floor['batch']} points at once, {floor['memory_format']}"
    options = ", ".join(ours["options"]) or "no options"
    yield "ours", f"{ours['device_batch']} points at once, {options}"
    yield from ours["notes"].items()
    if "precision" in ours:
        yield "precision", str(ours["precision"])
    yield "bandwidth", f"{known['bandwidth_gb_per_s']:.3g} GB/s"
    yield "norm", str(known["norm"])
    yield "targets", str(known["n_targets"])
    yield "threads", str(known["threads"])
