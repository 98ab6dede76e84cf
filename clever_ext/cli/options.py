"""Options that several commands share: the model, and the machine that it runs on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

# torch and what needs it are imported where they are used: the help shall come at once.
if TYPE_CHECKING:
    import torch

    from ..models.loading import LoadedModel

DTYPES = ("float32", "float64", "float16", "bfloat16")
PREPARATIONS = "fold_batch_norm, channels_last, bfloat16, float16, compile, tf32, cuda_graph"


def add_model(command: argparse.ArgumentParser) -> None:
    """Add what names a model and how it is fed."""
    model = command.add_argument_group("model")
    model.add_argument(
        "--model", required=True, help="a built-in name, module.path:factory, or a .pt2 program"
    )
    model.add_argument("--weights", help="state dict: .safetensors, .pt or .pth")
    model.add_argument("--mean", type=float, nargs="+", help="of the normalisation, per channel")
    model.add_argument("--std", type=float, nargs="+", help="of the normalisation, per channel")
    pixels = command.add_argument_group("pixels")
    pixels.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        metavar="N",
        help="side of the model's input, or height and width; default: the model's own, else 224",
    )
    pixels.add_argument(
        "--resize",
        type=int,
        nargs="+",
        metavar="N",
        help="short side of a picture before the centre crop, or height and width; default: the "
        "model's own, else --image-size",
    )
    pixels.add_argument(
        "--crop-pct", type=float, help="share of the resized picture that the crop keeps, as 0.875"
    )
    pixels.add_argument(
        "--crop-mode",
        help="center: keep the shape and cover (the default); squash: get the crop's shape; "
        "border: keep the shape and fit in",
    )
    pixels.add_argument(
        "--interpolation",
        default="bicubic",
        help="of the resizing: bicubic (the default), bilinear, lanczos, nearest, box or hamming",
    )
    pixels.add_argument("--channels", type=int, help="3: RGB (the default); 1: grey")


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

    from ..inputs.batch import check_device
    from ..kernels.balls import check_integer
    from ..machine.doctor import devices
    from ..models.loading import load_model

    if args.threads is not None:
        torch.set_num_threads(check_integer("threads", args.threads, 1, 4096))
    model = load_model(
        args.model,
        weights=args.weights,
        image_size=args.image_size,
        resize=args.resize,
        crop_pct=args.crop_pct,
        crop_mode=args.crop_mode,
        interpolation=args.interpolation,
        channels=args.channels,
        mean=args.mean,
        std=args.std,
    )
    best = devices()[-1]
    model.model.to(check_device(args.device, None, best), dtype_of(args.dtype))
    return model
