"""`clever-ext score`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from ..errors import CleverError
from ..inputs import ESTIMATORS
from .images import add_images, open_from
from .options import DTYPES, add_machine, add_model, load, read_device_batch
from .tables import print_run


def add(commands: Any) -> None:
    """Describe the command."""
    score = commands.add_parser("score", help="score a model on a folder of pictures")
    score.set_defaults(run=run)
    add_model(score)
    add_images(score)
    how = score.add_argument_group("score")
    how.add_argument("--norm", nargs="+", default=["2"], help="1, 2, inf or any p between")
    how.add_argument(
        "--radius",
        nargs="+",
        help="one for each norm, or one for all: a number, several joined by commas, or auto",
    )
    how.add_argument(
        "--race", action="store_true", help="drop targets that cannot have the smallest score"
    )
    how.add_argument(
        "--targets", default="top-10", help="all, top-K, random, least-likely or class numbers"
    )
    how.add_argument("--n-batches", type=int, default=500, help="N_b, the number of batch maxima")
    how.add_argument("--batch-samples", type=int, default=1024, help="N_s, the samples of each")
    how.add_argument("--estimator", choices=ESTIMATORS, default="clever")
    how.add_argument(
        "--tolerance", type=float, help="add batches until intervals are this narrow, e.g. 0.05"
    )
    how.add_argument(
        "--max-gradients", type=int, help="of a row, with a tolerance or the steepest estimator"
    )
    how.add_argument("--clip", nargs=2, type=float, default=(0.0, 1.0), metavar=("LOW", "HIGH"))
    how.add_argument("--no-clip", dest="clip", action="store_const", const=None)
    how.add_argument("--seed", type=int, default=0)
    add_machine(score)
    score.add_argument(
        "--out", required=True, help="folder of the run; one that was stopped goes on"
    )
    score.add_argument(
        "--dry-run", action="store_true", help="tell what the run will take, from a measurement"
    )
    score.add_argument(
        "--shard", default="0/1", metavar="I/N", help="score every N-th piece from the I-th on"
    )


def _radii(given: Sequence[str] | None, norms: Sequence[str]) -> Any:
    if given is None:
        return None
    radii = [_radius(text) for text in given]
    if len(radii) == 1:
        return radii[0]
    if len(radii) != len(norms):
        raise CleverError(
            f"--radius has {len(radii)} numbers for {len(norms)} norms",
            "one value, or one for each norm; several radii of one norm are joined by commas",
            "give as many as --norm has",
        )
    return dict(zip(norms, radii, strict=True))


def _radius(text: str) -> Any:
    """Read auto, a number, or numbers joined by commas; what is none is refused later."""
    try:
        radii = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    return radii if len(radii) > 1 else radii[0]


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise CleverError(
            f"--shard {text} is no shard",
            "i/n with 0 <= i < n, such as 0/4 to 3/4",
            "number the shards from 0",
        )
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Score pictures, or go on with that."""
    from ..data.loading import Loader
    from ..inputs import Settings
    from ..runs.estimate import estimate
    from ..runs.folder import RunFolder
    from ..runs.loop import score_run
    from ..runs.ranks import find_ranks, local_device
    from ..runs.scorer import Scorer
    from ..targets import parse_targets

    shard = _shard(args.shard)
    args.device = local_device(args.device)
    model = load(args)
    settings = Settings.check(
        norm=args.norm,
        radius=_radii(args.radius, args.norm),
        targets=parse_targets(args.targets),
        n_batches=args.n_batches,
        batch_samples=args.batch_samples,
        clip=args.clip,
        seed=args.seed,
        race=args.race,
        estimator=args.estimator,
        tolerance=args.tolerance,
        max_gradients=args.max_gradients,
    )
    source = open_from(args)
    scorer = Scorer(
        model,
        settings,
        device_batch=read_device_batch(args.device_batch),
        dtype=DTYPES.get(args.dtype),
        prepare=args.prepare,
        threads=args.threads,
    )
    if args.dry_run:
        with Loader(source, model.preprocessing, args.workers) as loader:
            Console().print(str(estimate(source, scorer, loader, shard)), highlight=False)
        return 0
    folder, ranks = RunFolder(args.out), find_ranks()
    status = score_run(folder, source, scorer, ranks, args.workers, shard, show=True)
    if ranks.leader:
        print_run(folder.path)
    return status
