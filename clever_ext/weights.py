"""Weights of a network: reading them from a file that may run no code, and their digest."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from .errors import CleverError


def _read_torch(path: Path) -> Any:
    # weights_only: an unpickler that builds tensors and containers, and calls nothing else.
    return torch.load(path, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
"""How weights are read, by the ending of their file in lower case."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict from a file into a model, which it must fit exactly.

    Args:
        model: Gets the weights, in its own dtypes.
        path: A .safetensors, .pt or .pth file.

    Raises:
        CleverError: If the file is missing, of another kind, damaged, holds anything but tensors
            by name, or does not fit the model.
    """
    state = _read(path)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CleverError(
            f"the weights {path.name!r} do not fit the model ({_difference(model, state, error)})",
            "the same names and shapes as the model's own state dict",
            "use the weights of this very network, or rename their entries",
        ) from error


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over a model's state dict: names, dtypes, shapes and bytes, sorted by name.

    A normalisation's buffers are part of it: they change the function that is scored. Where the
    tensors lie, and in which memory format, makes no difference.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):  # modules may add extra state of any type
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_file(path: Path) -> None:
    """Raise a `CleverError` unless the path is that of a file."""
    if not path.is_file():
        raise CleverError(
            f"{str(path)!r} is not a file",
            "an existing file",
            "check the path; it is relative to the current folder",
        )


def unreadable(path: Path, why: str, expected: str) -> CleverError:
    """The error for a damaged file; of a long reason the first line is kept."""
    lines = why.strip().splitlines() or ["no reason given"]
    return CleverError(
        f"{path.name!r} cannot be read ({lines[0]})", expected, "save the file anew and try again"
    )


def _read(path: Path) -> dict[str, torch.Tensor]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CleverError(
            f"the weights {path.name!r} end in {path.suffix or 'nothing'}",
            "a file ending in " + ", ".join(READERS),
            "save them with `safetensors.torch.save_file(model.state_dict(), path)`",
        )
    check_file(path)
    try:
        state = reader(path)
    except pickle.UnpicklingError as error:
        raise CleverError(
            f"the weights {path.name!r} are damaged, or refused because reading them may run code",
            "a state dict, which is tensors by name and nothing else",
            "save them with `torch.save(model.state_dict(), path)`, or as .safetensors",
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        raise unreadable(path, f"{type(error).__name__}: {error}", "a state dict") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        keys = f" with {_few(list(map(str, state)))}" if isinstance(state, dict) else ""
        raise CleverError(
            f"the weights {path.name!r} hold a {type(state).__name__}{keys}",
            "a state dict, which is tensors by name and nothing else",
            "take the state dict out of the checkpoint and save it alone",
        )
    return state


def _difference(model: nn.Module, state: dict[str, torch.Tensor], error: RuntimeError) -> str:
    """What keeps a state dict from fitting: the first few keys of each kind."""
    own = model.state_dict()
    shared = [key for key in own if key in state and own[key].shape != state[key].shape]
    shapes = [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in shared]
    kinds = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "other shapes": shapes,
    }
    parts = [f"{kind}: {_few(keys)}" for kind, keys in kinds.items() if keys]
    return "; ".join(parts) or str(error).splitlines()[0]


def _few(keys: list[str], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
