"""Options that say how pictures are scored, for the commands that score them or look beforehand."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CleverError
from .options import dtype_of, read_device_batch

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..runs.scorer import Scorer


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add what decides scores besides the model and the pictures."""
    how = command.add_argument_group("score")
    _add_what(how)
    _add_samples(how)


def add_norm(
    how: argparse._ArgumentGroup, which: str = "1, 2, inf (L1, L2, Linf) or another p of at least 1"
) -> None:
    """Add the norms."""
    how.add_argument(
        "--norm",
        nargs="+",
        default=["2"],
        metavar="P",
        help=which,
    )


def add_seed(how: argparse._ArgumentGroup) -> None:
    """Add the seed of the samples."""
    how.add_argument("--seed", type=int, default=0, metavar="SEED", help="seed of the samples")


def _add_what(how: argparse._ArgumentGroup) -> None:
    """Add what is scored: norms, balls and targets."""
    add_norm(how)
    how.add_argument(
        "--radius",
        nargs="+",
        metavar="R",
        help="radius of the ball, one for all norms or one for each: auto finds that of the best "
        "bound, a number fixes it, several are joined by commas (default: auto)",
    )
    how.add_argument(
        "--targets",
        metavar="TARGETS",
        help="classes to score against: all, near-K (the K nearest by their gradients), top-K, "
        "random, least-likely, or class numbers joined by commas (default: near-10; all if the "
        "model has at most 20 classes)",
    )
    how.add_argument(
        "--estimator",
        metavar="NAME",
        help="steepest gives two ends: the nearest attack that it finds, and how much of this way "
        "the steepest slope explains; clever is the paper's, from random samples; first-order "
        "takes one gradient, at the picture (default: steepest; clever if --n-batches, "
        "--batch-samples, --tolerance or --race is given)",
    )
    how.add_argument(
        "--max-gradients",
        type=int,
        metavar="N",
        help="most gradients for a picture, target and norm, with steepest or --tolerance "
        "(default: 100 for steepest with --radius auto, else 2000 for steepest, 512000 for "
        "--tolerance)",
    )
    how.add_argument(
        "--candidates",
        metavar="FILE",
        help="points that attacks have found, which steepest looks at too: .npz with an array "
        "[M, channels, height, width] for each picture, by its name, or the arrays image_id and "
        "points; in the units of the model's input, pixels in [0, 1] (default: none)",
    )


def _add_samples(how: argparse._ArgumentGroup) -> None:
    """Add how the paper's estimator spends gradients, and where samples lie."""
    how.add_argument(
        "--n-batches",
        type=int,
        metavar="N",
        help="batches of samples for each score: N_b in the paper (default: 500)",
    )
    how.add_argument(
        "--batch-samples",
        type=int,
        metavar="N",
        help="samples in each batch: N_s (default: 1024)",
    )
    how.add_argument(
        "--race", action="store_true", help="drop targets that cannot have the smallest score"
    )
    how.add_argument(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="add batches until half the width of a score's interval is at most this share of "
        "the score, e.g. 0.05 (default: none, and --n-batches counts)",
    )
    how.add_argument(
        "--keep-witness",
        action="store_true",
        help="keep the nearest flip and the steepest point of each picture and norm, for "
        "steepest; the report shows them",
    )
    how.add_argument(
        "--clip",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="keep samples within this range",
    )
    how.add_argument(
        "--no-clip",
        dest="clip",
        action="store_const",
        const=None,
        help="let samples leave the range of pixels",
    )
    add_seed(how)
    how.add_argument(
        "--shard",
        default="0/1",
        metavar="I/N",
        help="score a part of the run: every N-th piece from piece I on; 0/1 is all",
    )


def scorer_of(args: argparse.Namespace, model: LoadedModel) -> Scorer:
    """Return a model and how to score with it.

    Raises:
        CleverError: an option is something else than it should be.
    """
    from ..inputs.batch import check_device_batch
    from ..inputs.targets import parse_targets
    from ..runs.scorer import Scorer

    return Scorer.of(
        model,
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
        candidates=args.candidates,
        keep_witness=args.keep_witness,
        device_batch=check_device_batch(read_device_batch(args.device_batch)),
        dtype=dtype_of(args.dtype),
        prepare=args.prepare,
        threads=args.threads,
        called=lambda name: "--" + name.replace("_", "-"),
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


def shard_of(text: str) -> tuple[int, int]:
    """Read i/n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise CleverError(
            f"--shard {text} is no shard",
            "i/n with 0 <= i < n, such as 0/4 to 3/4",
            "number the shards from 0",
        )
    return int(match[1]), int(match[2])
