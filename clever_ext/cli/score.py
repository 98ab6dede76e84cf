"""`clever-ext score`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from .config import add_config, as_config
from .images import add_images, open_from
from .options import add_machine, add_model, load
from .settings import add_settings, scorer_of, shard_of
from .tables import print_run
from .terminal import say, tell

_STATUSES = """exit status:
  0         every picture has a score
  2         bad input, or a file that cannot be written
  3         some pictures have no score; --retry-errors tries
            those with errors again
  4         no picture has a score, or none can be read
  130, 143  stopped by SIGINT (Ctrl-C) or SIGTERM; the same
            command goes on
Under torchrun, 0 stands for 3 and 4 too: torchrun starts
processes again that end with another status."""


def add(commands: Any) -> None:
    """Describe the command."""
    score = commands.add_parser(
        "score",
        usage="%(prog)s --model MODEL --images PATH --out RUN [option ...]",
        help="score a model on pictures",
        description="Score a model on pictures. The same command continues a run that was stopped.",
        epilog=_STATUSES,
    )
    score.set_defaults(run=run, parser=score)
    add_model(score)
    add_images(score)
    add_settings(score)
    add_machine(score)
    add_config(score)
    of_run = score.add_argument_group("run")
    of_run.add_argument("--out", required=True, metavar="RUN", help="folder of the run")
    of_run.add_argument(
        "--retry-errors",
        action="store_true",
        help="score finished pieces again if pictures in them had errors",
    )
    of_run.add_argument(
        "--dry-run",
        action="store_true",
        help="measure a few pictures and tell what the run will take; write nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Score pictures, or go on with that."""
    from ..checks.run import look_at_run
    from ..data.loading import Loader
    from ..runs.estimate import estimate
    from ..runs.folder import RunFolder, read_scores
    from ..runs.loop import score_pieces
    from ..runs.outcome import outcome
    from ..runs.pieces import Pieces
    from ..runs.ranks import find_ranks, local_device

    asked = as_config(args, args.parser)
    shard = shard_of(args.shard)
    args.device = local_device(args.device)
    model = load(args)
    source = open_from(args)
    scorer = scorer_of(args, model)
    if args.dry_run:
        with Loader(source, model.preprocessing, args.workers) as loader:
            for line in str(estimate(source, scorer, loader, shard)).splitlines():
                say(line)
        return 0
    folder, ranks = RunFolder(args.out), find_ranks()
    look = partial(look_at_run, source, scorer, args.out, shard)
    status = score_pieces(
        folder,
        source,
        scorer,
        ranks,
        workers=args.workers,
        shard=shard,
        tell=tell,
        retry_errors=args.retry_errors,
        look=look,
        asked=asked,
    )
    if not ranks.leader:
        return status
    result = read_scores(folder.path) if folder.finished() else None
    if result is not None or Pieces.of(folder.read()).numbers:
        print_run(folder.path, result)
    if status or result is None or ranks.job is not None:
        return status
    return outcome(result)
