"""`clever-ext validate`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import durable
from ..validation.asked import (
    ATTACK_GRADIENTS,
    ATTACKS,
    BATCH_SAMPLES,
    LIMIT,
    MAX_GRADIENTS,
    N_BATCHES,
    TARGETS,
    Asked,
)
from .config import add_config, as_config
from .images import add_images, open_from
from .options import add_machine, add_model, dtype_of, load, read_device_batch
from .settings import add_norm, add_seed
from .terminal import Column, at_the_end, print_findings, say, show, table, tell, width_of

if TYPE_CHECKING:
    from ..validation.validation import Validation

_STATUSES = """exit status:
  0         every picture has scores
  2         bad input, or no attacks, or a file that cannot be
            written
  3         some pictures have no score
  4         no picture has a score, or none can be read
  130, 143  stopped by SIGINT (Ctrl-C) or SIGTERM; the same
            command goes on"""


def add(commands: Any) -> None:
    """Describe the command."""
    validate = commands.add_parser(
        "validate",
        usage="%(prog)s --model MODEL --images PATH --out FOLDER [option ...]",
        help="tell how far each score can be believed on a model, beside attacks on it",
        description="Score pictures by every estimator, attack them, and tell how far each score "
        "can be believed on this model. The same command continues one that was stopped.",
        epilog=_STATUSES,
    )
    validate.set_defaults(run=run, parser=validate)
    add_model(validate)
    add_images(validate, LIMIT)
    how = validate.add_argument_group("scores and attacks")
    add_norm(how, "1, 2, inf (L1, L2, Linf)")
    _add_budgets(how)
    add_seed(how)
    add_machine(validate)
    add_config(validate)
    validate.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="folder of the runs, of what attacks found, and of validation.parquet",
    )


def _add_budgets(how: argparse._ArgumentGroup) -> None:
    """Add what is attacked, by what, and what all of it may spend."""
    how.add_argument(
        "--targets",
        default=TARGETS,
        metavar="TARGETS",
        help="classes to score and attack against, as for clever-ext score",
    )
    how.add_argument(
        "--attacks",
        nargs="+",
        metavar="NAME",
        help=f"some of {', '.join(ATTACKS)} (default: all that suit a norm and are installed)",
    )
    how.add_argument(
        "--attack-gradients",
        type=int,
        default=ATTACK_GRADIENTS,
        metavar="N",
        help="gradients of each attack for a picture, target and norm; boundary and hop-skip-jump "
        "take five forward passes in the place of one",
    )
    how.add_argument(
        "--max-gradients",
        type=int,
        default=MAX_GRADIENTS,
        metavar="N",
        help="most gradients of a bracket for a picture, target and norm",
    )
    how.add_argument(
        "--n-batches",
        type=int,
        default=N_BATCHES,
        metavar="N",
        help="batches of samples for each of the paper's scores",
    )
    how.add_argument(
        "--batch-samples",
        type=int,
        default=BATCH_SAMPLES,
        metavar="N",
        help="samples in each of these batches",
    )


def run(args: argparse.Namespace) -> int:
    """Validate, or go on with that, and print."""
    from ..inputs.batch import check_device_batch
    from ..inputs.targets import parse_targets
    from ..runs.folder import read_scores
    from ..runs.outcome import outcome
    from ..validation.validating import ESTIMATORS, chosen_for, validated

    config = as_config(args, args.parser)
    asked = Asked(
        norm=args.norm,
        targets=parse_targets(args.targets),
        max_gradients=args.max_gradients,
        n_batches=args.n_batches,
        batch_samples=args.batch_samples,
        seed=args.seed,
        attack_gradients=args.attack_gradients,
        device_batch=check_device_batch(read_device_batch(args.device_batch)),
        dtype=dtype_of(args.dtype),
        prepare=args.prepare,
        threads=args.threads,
    )
    chosen = chosen_for(asked, args.attacks)
    if args.limit is None and args.sample is None:
        args.limit = LIMIT
    model, source, out = load(args), open_from(args), Path(args.out)
    keep = partial(durable.write, out / "config.yaml", config.encode())
    # One that is refused further on is not to change what goes on.
    begun = (lambda: None) if (out / "config.yaml").exists() else keep
    found = validated(model, source, out, asked, chosen, args.workers, tell, show=True, begun=begun)
    keep()
    _print(found)
    say(f"Results: {out}")
    return max(outcome(read_scores(out / name)) for name in ESTIMATORS)


def _print(found: Validation) -> None:
    """Print the figures of the scores, what they mean, and what the attacks did."""
    head, rows = found.figures()
    columns = [Column(name, right=number > 1) for number, name in enumerate(head)]
    show(["", *table(columns, rows, width_of())])
    for sentence in found.words():
        say(sentence)
    attacks = [
        [
            f"{each['norm']:g}",
            str(each["attack"]),
            str(each["library"]),
            f"{each['flips']} of {each['rows']}",
            str(each["near"]),
            f"{each['ratio']:.2f}",
            f"{each['seconds']:.1f}",
        ]
        for each in found.attacks.to_dict("records")
    ]
    columns = [
        Column("norm"),
        Column("attack"),
        Column("library", cut=at_the_end, spare=1),
        Column("flips of rows", right=True),
        Column("within 5 %", right=True),
        Column("flip / nearest", right=True),
        Column("seconds", right=True, spare=2),
    ]
    show(["", *table(columns, attacks, width_of())])
    print_findings(found.findings)
