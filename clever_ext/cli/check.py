"""`clever-ext check`."""

from __future__ import annotations

import argparse
from typing import Any

from .config import add_config
from .images import add_images, open_from
from .options import add_machine, add_model, load
from .settings import add_settings, scorer_of, shard_of
from .terminal import sentence, show, width_of

_STATUSES = """exit status:
  0  nothing to say
  1  something to look at: a run would give scores, but perhaps
     not those that you want
  2  something is refused: a run would score nothing"""


def add(commands: Any) -> None:
    """Describe the command."""
    check = commands.add_parser(
        "check",
        usage="%(prog)s --model MODEL --images PATH [option ...]",
        help="look at model, pictures, labels, units, cost and disk before a run",
        description="Say what can be known before a run, with the options of that run. It takes "
        "seconds.",
        epilog=_STATUSES,
    )
    check.set_defaults(run=run)
    add_model(check)
    add_images(check)
    add_settings(check)
    add_machine(check)
    add_config(check)
    of_run = check.add_argument_group("run")
    of_run.add_argument(
        "--out",
        default=".",
        metavar="RUN",
        help="folder of the run to come (default: the current folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Look, and print."""
    from ..checks.run import check_run
    from ..data.loading import Loader

    shard = shard_of(args.shard)
    model = load(args)
    source = open_from(args)
    scorer = scorer_of(args, model)
    with Loader(source, model.preprocessing, args.workers) as loader:
        checked = check_run(source, scorer, loader, args.out, shard)
    width = width_of()
    for sign, topic, said, fix in checked.rows:
        first = f"{sign} {topic:<8}  "
        show(sentence(said, width, first, " " * len(first)))
        if fix:
            rest = " " * len(first)
            show(sentence(f"Fix: {fix}.", width, rest, rest))
    return 2 if checked.refused else int(not checked.well)
