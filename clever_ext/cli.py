"""The command line: `clever-ext score`, `clever-ext bench` and `clever-ext doctor`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from .errors import CleverError
from .gradients import model_placement
from .inputs import ESTIMATORS
from .preparation import OPTIONS
from .results import CleverResult
from .sampling import check_integer

if TYPE_CHECKING:
    from .models import LoadedModel

#: What a score means, in one line; every table of scores ends with it.
MEANING = (
    "A score estimates how far the picture can move, in the norm's own units (pixels in [0, 1]; "
    "for l2 the root of the sum of squared changes), before any attack could reach the target."
)

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def _add_model(command: argparse.ArgumentParser) -> None:
    model = command.add_argument_group("model")
    model.add_argument(
        "--model", required=True, help="a built-in name, module.path:factory, or a .pt2 program"
    )
    model.add_argument("--weights", help="state dict: .safetensors, .pt or .pth")
    model.add_argument("--image-size", type=int, help="height and width of the model's input")
    model.add_argument("--resize", type=int, help="short side of a picture before the centre crop")
    model.add_argument("--mean", type=float, nargs="+", help="of the normalisation, per channel")
    model.add_argument("--std", type=float, nargs="+", help="of the normalisation, per channel")


def _add_machine(command: argparse.ArgumentParser) -> None:
    machine = command.add_argument_group("machine")
    machine.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where it can be used")
    machine.add_argument("--device-batch", default="auto", help="points at once, or auto")
    machine.add_argument("--dtype", choices=_DTYPES, help="default: the model's own")
    machine.add_argument(
        "--prepare",
        nargs="+",
        default=["auto"],
        metavar="OPTION",
        help=f"auto, none, or some of {', '.join(OPTIONS)}",
    )
    machine.add_argument("--threads", type=int, help="of the CPU; default: torch's own choice")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clever-ext", description="CLEVER robustness scores of image classifiers."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    score = commands.add_parser("score", help="score a model on a folder of pictures")
    score.set_defaults(run=_score)
    _add_model(score)
    data = score.add_argument_group("pictures")
    data.add_argument("--images", required=True, help="folder of pictures")
    data.add_argument("--include", default="*", help="pattern of the names to take")
    data.add_argument("--label-pattern", help="regular expression whose first group is the class")
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
    _add_machine(score)
    score.add_argument("--out", required=True, help="folder for the run")

    bench = commands.add_parser("bench", help="tell what a model's score costs, stage by stage")
    bench.set_defaults(run=_bench)
    _add_model(bench)
    bench.add_argument("--norm", default="2", help="1, 2, inf or any p between")
    bench.add_argument("--n-targets", type=int, default=1, help="targets of each point")
    bench.add_argument("--rounds", type=int, default=5, help="how often each stage is measured")
    _add_machine(bench)

    doctor = commands.add_parser("doctor", help="tell versions and devices, and test the kernels")
    doctor.set_defaults(run=_doctor)
    return parser


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


def _device_batch(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _load(args: argparse.Namespace) -> LoadedModel:
    """Load the model that the arguments name, onto the device that they name."""
    from .doctor import devices
    from .inputs import check_device
    from .models import load_model

    if args.threads is not None:
        torch.set_num_threads(check_integer("threads", args.threads, 1, 4096))
    model = load_model(
        args.model,
        weights=args.weights,
        image_size=args.image_size,
        resize=args.resize,
        mean=args.mean,
        std=args.std,
    )
    best = devices()[-1]
    model.model.to(check_device(args.device, None, best), _DTYPES.get(args.dtype))
    return model


def _score(args: argparse.Namespace) -> int:
    from .data import ImageFolder
    from .inputs import Settings
    from .progress import gradient_bar
    from .runs import RunFolder, Scorer, score_folder
    from .targets import parse_targets

    model = _load(args)
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
    folder = ImageFolder(args.images, include=args.include, label_pattern=args.label_pattern)
    scorer = Scorer(
        model,
        settings,
        device_batch=_device_batch(args.device_batch),
        dtype=_DTYPES.get(args.dtype),
        prepare=args.prepare,
    )
    run = RunFolder(args.out)
    with gradient_bar() as progress:
        complete = score_folder(run, folder, scorer, progress)
    print_scores(run.load(), model.class_names)
    Console().print(f"Results: {args.out}")
    return 0 if complete else 130


def _name_of(class_names: Sequence[str] | None) -> Callable[[Any], str]:
    def name(number: Any) -> str:
        if number is None or number != number:
            return ""
        return class_names[int(number)] if class_names else str(number)

    return name


def print_scores(result: CleverResult, class_names: Sequence[str] | None = None) -> None:
    """Print for each image and norm its smallest score over the targets, and what a score means.

    Args:
        result: Scores.
        class_names: Name of each logit, or None for numbers.
    """
    name = _name_of(class_names)
    table = Table()
    for column in ("picture", "predicted", "target", "norm", "margin", "score (95 %)", "status"):
        table.add_column(column, overflow="fold")
    for row in result.smallest():
        if row["status"] == "error":
            table.add_row(row["image"], "", "", "", "", "", f"error: {row['error']}")
            continue
        score = f"{row['score']:.4g} ({row['score_low']:.4g}, {row['score_high']:.4g})"
        status = ", ".join(filter(None, [row["status"], row["flags"]]))
        table.add_row(
            row["image"] or str(row["image_id"]),
            name(row["predicted"]),
            name(row["target"]),
            f"{row['norm']:g}",
            f"{row['margin']:.3f}",
            score + (" = R" if row["capped"] else ""),
            status,
        )
    console = Console()
    console.print(table)
    console.print(MEANING)


def _bench(args: argparse.Namespace) -> int:
    from .bench import measure
    from .inputs import check_device_batch
    from .sampling import check_norm

    loaded = _load(args)
    device, dtype = model_placement(loaded.model)
    size = loaded.image_size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, size, size, generator=generator).to(device, dtype)
    costs = measure(
        loaded.model,
        image,
        p=check_norm(args.norm),
        n_targets=check_integer("n-targets", args.n_targets, 1, 2**20),
        prepare=args.prepare,
        device_batch=check_device_batch(_device_batch(args.device_batch)),
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


def _doctor(_: argparse.Namespace) -> int:
    from .doctor import describe, self_test

    console = Console()
    facts = Table(show_header=False, box=None)
    for fact in describe():
        facts.add_row(*fact)
    console.print(facts)
    failed = 0
    for check in self_test():
        verdict = "ok" if check.passed else "[red]FAILED[/red]"
        console.print(f"{check.name}: {verdict} (off by {check.difference:.1e})")
        failed += not check.passed
    console.print("all kernels agree with their references" if not failed else f"{failed} failed")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Status 2 is bad input, said in one message on standard error; 130 an interrupted run, whose
    finished part is kept.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except CleverError as error:
        print(f"clever-ext: {error}", file=sys.stderr)
        return 2
    return status
