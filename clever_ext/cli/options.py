"""Options that several commands share: the model, and the machine that it runs on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

# torch and what needs it are imported where they are used: the help shall come at once.
if TYPE_CHECKING:
    import torch

    from ..models import LoadedModel

DTYPES = ("float32", "float64", "float16", "bfloat16")
PREPARATIONS = "fold_batch_norm, channels_last, bfloat16, float16, compile, tf32, cuda_graph"


def add_model(command: argparse.ArgumentParser) -> None:
    """Add what names a model and how it is fed."""
    model = command.add_argument_group("model")
    model.add_argument(
        "--model", required=True, help="a built-in name, module.path:factory, or a .pt2 program"
    )
    model.add_argument("--weights", help="state dict: .safetensors, .pt or .pth")
    model.add_argument("--image-size", type=int, help="height and width of the model's input")
    model.add_argument("--resize", type=int, help="short side of a picture before the centre crop")
    model.add_argument("--mean", type=float, nargs="+", help="of the normalisation, per channel")
    model.add_argument("--std", type=float, nargs="+", help="of the normalisation, per channel")


def add_machine(command: argparse.ArgumentParser) -> None:
    """Add where and how its passes are made."""
    machine = command.add_argument_group("machine")
    machine.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where it can be used")
    machine.add_argument("--device-batch", default="auto", help="points at once, or auto")
    machine.add_argument("--dtype", choices=DTYPES, help="default: the model's own")
    machine.add_argument(
        "--prepare",
        nargs="+",
        default=["auto"],
        metavar="OPTION",
        help=f"auto, none, or some of {PREPARATIONS}",
    )
    machine.add_argument("--threads", type=int, help="of the CPU; default: torch's own choice")


def dtype_of(name: str | None) -> torch.dtype | None:
    """Return the type of numbers of a name; None where none was asked for."""
    import torch

    return None if name is None else getattr(torch, name)


def read_device_batch(text: str) -> int | str:
    """Read a number of points, or auto."""
    return int(text) if text.isdecimal() else text


def load(args: argparse.Namespace) -> LoadedModel:
    """Load the model that the arguments name, onto the device that they name."""
    import torch

    from ..doctor import devices
    from ..inputs import check_device
    from ..models import load_model
    from ..sampling import check_integer

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
    model.model.to(check_device(args.device, None, best), dtype_of(args.dtype))
    return model
