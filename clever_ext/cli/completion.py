"""Completion in the shell by argcomplete: what the words of a command line may become.

It answers while somebody waits, so nothing here imports torch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..models.catalogue import NAMED
from ..validation.asked import ATTACKS
from .options import CROP_MODES, ESTIMATORS, INTERPOLATIONS, MODELS, PREPARATIONS

#: From the start of a word to what it may become; argcomplete leaves out what does not begin so.
Completer = Callable[..., Iterable[str]]


def _paths(*endings: str, names: Iterable[str] = ()) -> Completer:
    """Offer names, folders, and files with these endings; hidden ones where a dot is typed."""

    def offered(prefix: str, **_: Any) -> Iterator[str]:
        yield from names
        folder, start = os.path.split(prefix)
        try:
            entries = list(os.scandir(os.path.expanduser(folder) or "."))  # noqa: PTH111
        except OSError:
            return
        for entry in entries:
            hidden = entry.name.startswith(".") and not start
            if hidden or not entry.name.startswith(start):
                continue
            path = os.path.join(folder, entry.name)  # noqa: PTH118 - as it was typed
            if entry.is_dir():
                yield path + "/"
            elif entry.name.lower().endswith(endings):
                yield path

    return offered


def _words(*names: str) -> Completer:
    return lambda **_: names


_FOLDERS, _FILES = _paths(), _paths("")
#: By the name of an argument, else by what its help calls its value.
_OFFERED: dict[Any, Completer] = {
    "RUN": _FOLDERS,
    "FILE": _FILES,
    "PATH": _FILES,
    "runs": _paths(".parquet"),
    "model": _paths(".pt2", names=(*MODELS, *(f"{name}:" for name in NAMED))),
    "weights": _paths(".safetensors", ".pt", ".pth", ".bin", ".ckpt"),
    "model_dir": _FOLDERS,
    "labels": _paths(".csv", ".tsv", ".txt", ".json", ".jsonl", ".npy", names=("none",)),
    "candidates": _paths(".npz"),
    "config": _paths(".yaml", ".yml", ".json"),
    "crop_mode": _words(*CROP_MODES),
    "interpolation": _words(*INTERPOLATIONS),
    "device": _words("cpu", "cuda"),
    "device_batch": _words("auto"),
    "prepare": _words("auto", "none", *PREPARATIONS),
    "norm": _words("1", "2", "inf"),
    "radius": _words("auto"),
    "targets": _words("all", "near-10", "top2", "top-10", "random", "least-likely"),
    "estimator": _words(*ESTIMATORS),
    "attacks": _words(*ATTACKS),
}


def offered_for(action: argparse.Action) -> Completer | None:
    """Return what completes the value of an argument; None for numbers, and for choices."""
    return _OFFERED.get(action.dest) or _OFFERED.get(action.metavar)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Return the parsers of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, which asks by variables of the environment, and end the process."""
    from argcomplete import autocomplete
    from argcomplete.completers import SuppressCompleter

    for command in commands_of(parser):
        for action in command._actions:
            offered = offered_for(action)
            if offered:
                action.completer = offered  # type: ignore[attr-defined]
    autocomplete(parser, always_complete_options=False, default_completer=SuppressCompleter())
