"""`clever-ext score`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CleverError
from .images import add_images, open_from
from .options import add_machine, add_model, dtype_of, load, read_device_batch
from .tables import print_run
from .terminal import print_findings, say

if TYPE_CHECKING:
    from ..findings import Finding

_STATUSES = """exit status:
  0        every picture has a score
  2        bad input, or a file that cannot be written
  3        some pictures have no score; --retry-errors tries those with errors again
  4        no picture has a score, or none can be read
  130, 143 stopped by SIGINT (Ctrl-C) or SIGTERM; the same command goes on
  Under torchrun 0 stands for 3 and 4 too: it would start processes that end by another again."""


def add(commands: Any) -> None:
    """Describe the command."""
    score = commands.add_parser(
        "score", help="score a model on a folder of pictures", epilog=_STATUSES
    )
    score.set_defaults(run=run)
    add_model(score)
    add_images(score)
    how = score.add_argument_group("score")
    how.add_argument("--norm", nargs="+", default=["2"], help="1, 2, inf or any p between")
    how.add_argument(
        "--radius",
        nargs="+",
        help="one for each norm, or one for all: a number, several joined by commas, or auto; "
        "default: 2 for l2, and about as long a way in the others",
    )
    how.add_argument(
        "--race", action="store_true", help="drop targets that cannot have the smallest score"
    )
    how.add_argument(
        "--targets",
        help="all, top-K, random, least-likely or class numbers; default: top-10, or all of fewer",
    )
    how.add_argument("--n-batches", type=int, default=500, help="N_b, the number of batch maxima")
    how.add_argument("--batch-samples", type=int, default=1024, help="N_s, the samples of each")
    how.add_argument("--estimator", default="clever", help="clever, or steepest")
    how.add_argument(
        "--tolerance",
        type=float,
        help="add batches until intervals are this narrow, e.g. 0.05; default: --n-batches of them",
    )
    how.add_argument(
        "--max-gradients",
        type=int,
        help="of a row; default: 2000 for the steepest estimator, 512000 with a tolerance",
    )
    how.add_argument(
        "--clip",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="samples stay within",
    )
    how.add_argument("--no-clip", dest="clip", action="store_const", const=None)
    how.add_argument("--seed", type=int, default=0, help="of the samples")
    add_machine(score)
    score.add_argument(
        "--out", required=True, help="folder of the run; one that was stopped goes on"
    )
    score.add_argument(
        "--retry-errors",
        action="store_true",
        help="score the finished pieces again that have pictures with errors",
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
    from ..runs.folder import RunFolder, read_scores
    from ..runs.loop import score_run
    from ..runs.outcome import outcome
    from ..runs.ranks import find_ranks, local_device
    from ..runs.scorer import Scorer
    from ..targets import parse_targets

    shard = _shard(args.shard)
    args.device = local_device(args.device)
    model = load(args)
    settings = Settings.check(
        norm=args.norm,
        radius=_radii(args.radius, args.norm),
        targets=None if args.targets is None else parse_targets(args.targets),
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
        dtype=dtype_of(args.dtype),
        prepare=args.prepare,
        threads=args.threads,
    )
    if args.dry_run:
        with Loader(source, model.preprocessing, args.workers) as loader:
            for line in str(estimate(source, scorer, loader, shard)).splitlines():
                say(line)
        return 0
    folder, ranks = RunFolder(args.out), find_ranks()
    status = score_run(folder, source, scorer, ranks, args.workers, shard, _tell, args.retry_errors)
    if not ranks.leader:
        return status
    result = read_scores(folder.path) if folder.finished() else None
    print_run(folder.path, result)
    if status or result is None or ranks.job is not None:
        return status
    return outcome(result)


def _tell(said: str | Finding) -> None:
    """Say what is known before the first gradient."""
    if isinstance(said, str):
        say(said, sys.stderr)
    else:
        print_findings([said], sys.stderr)
