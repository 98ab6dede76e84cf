"""Options that several commands share: the model, and the machine that it runs on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..models.catalogue import NAMED

# torch and what needs it are imported where they are used: the help shall come at once.
if TYPE_CHECKING:
    import torch

    from ..models.loaded import LoadedModel

# Names that the help and the shell's completion list; the modules that know them need torch.
MODELS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "nearest", "box", "hamming")
DTYPES = ("float32", "float64", "float16", "bfloat16")
ESTIMATORS = ("clever", "first-order", "steepest")
PREPARATIONS = (
    "fold_batch_norm", "channels_last", "bfloat16", "float16", "compile", "tf32", "cuda_graph",
)  # fmt: skip


def add_model(command: argparse.ArgumentParser) -> None:
    """Add what names a model and how it is fed."""
    model = command.add_argument_group("model")
    model.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help=f"a built-in name ({', '.join(MODELS)}), module.path:factory, a path ending in .pt2, "
        f"or {', '.join(each.form for each in NAMED.values())}; see clever-ext models",
    )
    model.add_argument(
        "--weights",
        metavar="FILE",
        help="weights as .safetensors, .pt, .pth, .bin or .ckpt (default: the model's own)",
    )
    model.add_argument(
        "--download",
        action="store_true",
        help="fetch weights that are not on this machine; nothing is fetched without it",
    )
    model.add_argument(
        "--model-dir",
        metavar="DIR",
        help="folder of RobustBench's checkpoints (default: models in the current folder)",
    )
    model.add_argument(
        "--mean",
        type=float,
        nargs="+",
        metavar="X",
        help="mean of each channel that the model expects; give --std too (default: the model's "
        "own, else no normalisation)",
    )
    model.add_argument(
        "--std",
        type=float,
        nargs="+",
        metavar="X",
        help="standard deviation of each channel (default: as for --mean)",
    )
    _add_pixels(command.add_argument_group("size and colour of the pictures"))


def _add_pixels(pixels: argparse._ArgumentGroup) -> None:
    pixels.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        metavar="N",
        help="side of the model's input in pixels, or height and width (default: the model's own, "
        "else 224)",
    )
    pixels.add_argument(
        "--resize",
        type=int,
        nargs="+",
        metavar="N",
        help="short side of a picture before its centre is cropped, or height and width (default: "
        "the model's own, else --image-size)",
    )
    pixels.add_argument(
        "--crop-pct",
        type=float,
        metavar="SHARE",
        help="share of the resized picture that the crop keeps, e.g. 0.875; in place of --resize "
        "(default: what --resize says)",
    )
    pixels.add_argument(
        "--crop-mode",
        metavar="MODE",
        help="center keeps a picture's shape and fills --resize, border keeps it and fits inside, "
        "squash changes it (default: center; squash if --resize has two numbers)",
    )
    pixels.add_argument(
        "--interpolation",
        metavar="NAME",
        help=f"how pictures are resized: {', '.join(INTERPOLATIONS)} (default: the model's own, "
        "else bicubic)",
    )
    pixels.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help="3 for colour, 1 for grey (default: the model's own, else 3; 1 for grey arrays)",
    )


def add_machine(command: argparse.ArgumentParser) -> None:
    """Add where and how its passes are made."""
    machine = command.add_argument_group("machine")
    machine.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda or e.g. cuda:1 (default: a GPU if one can be used, else the CPU)",
    )
    machine.add_argument(
        "--device-batch",
        default="auto",
        metavar="N",
        help="how many points go through the model at once; auto finds a fast number",
    )
    machine.add_argument(
        "--dtype",
        choices=DTYPES,
        help="type of the numbers that the model computes with (default: the model's own)",
    )
    machine.add_argument(
        "--prepare",
        nargs="+",
        default=["auto"],
        metavar="OPTION",
        help=f"how to make the model faster: auto, none, or some of {', '.join(PREPARATIONS)}",
    )
    machine.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the CPU (default: torch's own choice)",
    )


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
        download=args.download,
        model_dir=args.model_dir,
    )
    best = devices()[-1]
    return model.to(check_device(args.device, None, best), dtype_of(args.dtype))
