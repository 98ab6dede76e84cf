"""Weights of a network: reading them from a file that may run no code, and their digest."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..errors import CleverError, few
from ..findings import Finding

_scalar: Any = np.float64(0).__reduce__()[0]
#: What checkpoints hold beside tensors, and runs no code: options of a training script in a
#: namespace, and numbers of numpy's such as the best accuracy, under their names of numpy 1 and 2.
_VALUES: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(each)) for each in "?bhilqBHILQefd"),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def safe_values() -> AbstractContextManager[None]:
    """Let `torch.load` with `weights_only` read values that are no tensors and run no code.

    It is an unpickler that builds tensors and containers, and calls nothing else.
    """
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals(_VALUES)
    return allowed


def _read_torch(path: Path) -> Any:
    with safe_values():
        return torch.load(path, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), _read_torch),
}
"""How weights are read, by the ending of their file in lower case."""

#: Under which name checkpoints keep a state dict, the likeliest first.
_ENTRIES = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
    "weights", "params", "model_ema", "state_dict_ema", "ema_state_dict", "ema",
)  # fmt: skip
#: What torch's own wrappers put into the names of the module inside them.
_MARKERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def load_weights(
    model: nn.Module, path: Path, rename: Callable[[str], str] | None = None
) -> list[Finding]:
    """Load a state dict from a file into a model, which it must fit exactly.

    A checkpoint that holds the state dict among other things is opened, and a prefix that all of
    its names have, such as `module.`, is taken off.

    Args:
        model: Gets the weights, in its own dtypes.
        path: A .safetensors, .pt, .pth, .bin or .ckpt file.
        rename: From an entry's name in older files of this network to its name now.

    Returns:
        What was taken out of the file, where that was not all.

    Raises:
        CleverError: If the file is missing, of another kind, damaged, holds no tensors by name, or
            does not fit the model.
    """
    state, findings = _state_dict(_read(path), path)
    if rename is not None and any(rename(name) != name for name in state):
        state = {rename(name): value for name, value in state.items()}
    state, renamed = _named_as(model.state_dict(), state, path)
    _check_kinds(model, state, path)
    try:
        model.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError) as error:
        raise CleverError(
            f"the weights {path.name!r} do not fit the model ({_difference(model, state, error)})",
            "the same names and shapes as the model's own state dict",
            "use the weights of this very network, or rename their entries",
        ) from error
    return findings + renamed


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over a model's state dict: names, dtypes, shapes and bytes, sorted by name.

    A normalisation's buffers are part of it: they change the function that is scored. Where the
    tensors lie, and in which memory format, makes no difference. Of tensors without values (on the
    meta device) names, dtypes and shapes count.

    Raises:
        CleverError: the model does not give its weights.
    """
    digest = hashlib.sha256()
    try:
        for name, tensor in sorted(model.state_dict().items()):
            if isinstance(tensor, torch.Tensor):  # modules may add extra state of any type
                _add(digest, name, tensor)
    except Exception as error:  # whatever a state dict's own code, or a kind of tensor, raises
        raise CleverError(
            f"the model does not give its weights ({type(error).__name__}: {error})",
            "a model whose state_dict() holds its weights",
            "see that model.state_dict() works",
        ) from error
    return digest.hexdigest()


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    """Add a tensor's name, dtype, shape and bytes to a digest."""
    shape = tuple(tensor.shape) if not tensor.is_nested else len(tensor.unbind())
    digest.update(f"{name}\0{tensor.dtype}\0{shape}\0".encode())
    for part in _dense_parts(tensor.detach()):
        flat = part.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)


def _dense_parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the plain tensors that hold all of a tensor's values, whatever its kind."""
    if hasattr(tensor, "full_tensor"):  # distributed: each process has a shard
        yield from _dense_parts(tensor.full_tensor())
    elif tensor.is_meta or is_lazy(tensor):
        return
    elif hasattr(tensor, "__tensor_flatten__"):  # a tensor made of others, as torchao's are
        for name in tensor.__tensor_flatten__()[0]:
            yield from _dense_parts(getattr(tensor, name))
    elif tensor.is_nested:
        for each in tensor.unbind():
            yield torch.tensor(each.shape, device="cpu")
            yield from _dense_parts(each)
    elif tensor.is_quantized:
        yield tensor.int_repr()
        if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            numbers = [tensor.q_scale(), tensor.q_zero_point()]
            yield torch.tensor(numbers, dtype=torch.float64, device="cpu")
        else:
            yield tensor.q_per_channel_scales()
            yield tensor.q_per_channel_zero_points()
    elif tensor.layout == torch.sparse_coo:
        whole = tensor.coalesce()
        yield whole.indices()
        yield whole.values()
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    elif tensor.layout != torch.strided:
        yield tensor.to_dense()
    else:
        yield tensor


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


def _read(path: Path) -> Any:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CleverError(
            f"the weights {path.name!r} end in {path.suffix or 'nothing'}",
            "a file ending in " + ", ".join(READERS),
            "save them with `safetensors.torch.save_file(model.state_dict(), path)`",
        )
    check_file(path)
    try:
        return reader(path)
    except pickle.UnpicklingError as error:
        raise CleverError(
            f"the weights {path.name!r} are damaged, or refused because reading them may run code",
            "a state dict, which is tensors by name and nothing else",
            "save them with `torch.save(model.state_dict(), path)`, or as .safetensors",
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        raise unreadable(path, f"{type(error).__name__}: {error}", "a state dict") from error


def _is_state_dict(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and len(entry) > 0
        and all(isinstance(key, str) for key in entry)
        and all(isinstance(value, torch.Tensor) for value in entry.values())
    )


def _state_dict(read: Any, path: Path) -> tuple[dict[str, torch.Tensor], list[Finding]]:
    """Find the state dict in what a file holds."""
    if _is_state_dict(read):
        return read, []
    inside = dict(_state_dicts(read)) if isinstance(read, Mapping) else {}
    known = [name for name in _ENTRIES if name in inside] or list(inside)
    if not known or (len(known) > 1 and known[0] not in _ENTRIES):
        keys = f" with {few(list(map(str, read)))}" if isinstance(read, Mapping) else ""
        raise CleverError(
            f"the weights {path.name!r} hold a {type(read).__name__}{keys}",
            "a state dict, which is tensors by name, or a checkpoint with one of them",
            "take the state dict out of the checkpoint and save it alone",
        )
    name, others = known[0], [each for each in inside if each != known[0]]
    beside = f"; it holds {few(others)} too" if others else ""
    said = f"the weights are the entry {name!r} of the checkpoint {path.name!r}{beside}"
    fix = f"save {others[0]!r} in a file of its own if that was meant" if others else ""
    return dict(inside[name]), [Finding("model", said, fix)]


def _state_dicts(read: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[str, torch.Tensor]]]:
    """Yield the state dicts in a checkpoint, at most two levels deep, by their entries' names."""
    for name, entry in read.items():
        if _is_state_dict(entry):
            yield str(name), entry
        elif isinstance(entry, Mapping):
            for inner, value in entry.items():
                if inner in _ENTRIES and _is_state_dict(value):
                    yield str(name), value
                    break


def _named_as(
    own: Mapping[str, Any], state: dict[str, torch.Tensor], path: Path
) -> tuple[dict[str, torch.Tensor], list[Finding]]:
    """Rename entries as a model has them, where the two differ by a prefix or torch's marks."""
    if set(own) <= set(state) or not own or not state:
        return state, []
    names = {_without_markers(name): name for name in own}
    plain = {_without_markers(name): value for name, value in state.items()}
    for prefix in _prefixes(plain, next(iter(names))):
        found = {n.removeprefix(prefix): v for n, v in plain.items() if n.startswith(prefix)}
        if set(found) == set(names):
            left = [name for name in plain if not name.startswith(prefix)]
            said = f"the names in {path.name!r} were read without {prefix or 'the marks of torch'}"
            fix = f"see that the model needs none of {few(left)}" if left else ""
            said += f"; {len(left)} others were left out" if left else ""
            return {names[name]: value for name, value in found.items()}, [
                Finding("model", said, fix)
            ]
    for prefix in _prefixes(names, next(iter(plain))):
        if {prefix + name for name in plain} == set(names):
            said = f"the names in {path.name!r} were read as {prefix}..., as the model has them"
            return {names[prefix + name]: value for name, value in plain.items()}, [
                Finding("model", said)
            ]
    return state, []


def _prefixes(names: Mapping[str, Any], ending: str) -> list[str]:
    """Return what stands before a name in others that end with it, the shortest first."""
    found = {name[: -len(ending)] for name in names if f".{name}".endswith(f".{ending}")}
    return sorted(found, key=len)


def _without_markers(name: str) -> str:
    for marker in _MARKERS:
        name = name.replace(marker, "")
    return name


def _check_kinds(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse numbers that loading would turn into others: a quantised network's, or complex."""
    for name, own in model.state_dict().items():
        given = state.get(name)
        if not isinstance(own, torch.Tensor) or given is None or not own.is_floating_point():
            continue
        if given.is_quantized or not given.is_floating_point():
            raise CleverError(
                f"the weights {path.name!r} hold {given.dtype} for {name}, where the model has "
                f"{own.dtype}",
                "floating point numbers",
                "save the weights as they were before they were quantised or converted",
            )


def _difference(model: nn.Module, state: dict[str, torch.Tensor], error: Exception) -> str:
    """What keeps a state dict from fitting: the first few keys of each kind."""
    own = model.state_dict()
    shared = [key for key in own if key in state and own[key].shape != state[key].shape]
    shapes = [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in shared]
    kinds = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "other shapes": shapes,
    }
    parts = [f"{kind}: {few(keys)}" for kind, keys in kinds.items() if keys]
    return "; ".join(parts) or str(error).splitlines()[0]
