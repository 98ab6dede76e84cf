"""`clever-ext models`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..models.catalogue import NAMED, Named, pip_command, plugins
from .options import MODELS
from .terminal import facts, say, show, width_of

#: What the built-in networks need.
_DEMO = Named(
    MODELS[0],
    f"a built-in network; {', '.join(MODELS[1:])} too",
    "built_in",
    ("efficientnet-lite-pytorch",),
)
_FACTORY = (
    "module.path:factory?width=2",
    "a function or class, and arguments that it is called with",
)


def add(commands: Any) -> None:
    """Describe the command."""
    models = commands.add_parser(
        "models",
        help="list what --model can name here, and what to install for the rest",
        description="List what --model can name on this machine, which libraries are there, and "
        "how to install those that are missing. Nothing is imported or fetched.",
    )
    models.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Look, and print."""
    show(facts(_rows(), width_of()))
    say("Nothing is downloaded without --download.")
    return 0


def _rows() -> Iterator[tuple[str, str]]:
    demo = _state(_DEMO, 'pip install "clever_ext[demo]"')
    yield _DEMO.form, f"{_DEMO.what}; {demo}"
    for source in NAMED.values():
        yield source.form, f"{source.what}; {_state(source, pip_command(source))}"
    for name, plugin in sorted(plugins().items()):
        brought = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value
        yield f"{name}:...", f"a source of models of {brought}"
    yield _FACTORY


def _state(source: Named, command: str) -> str:
    """Say which packages are there; how to install them where one is missing."""
    try:
        there = [f"{package} {version(package)}" for package in source.packages]
    except PackageNotFoundError as error:
        return f"missing: {error.name}; run {command}"
    return f"installed: {', '.join(there)}" if there else "nothing else is needed"
