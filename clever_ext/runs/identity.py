"""In what two runs may not differ, if one is to go on with the other or to be joined to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from ..errors import CleverError

#: What must be the same where a run goes on or is joined, since it decides the scores' last bits.
_SAME = ("settings", "model", "preprocessing", "data", "asked", "machine", "versions")


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    identity = {name: description[name] for name in _SAME}
    # Where the pictures lie may change; which they are may not.
    data = {
        name: value for name, value in identity["data"].items() if name not in ("path", "arguments")
    }
    # Pillow decodes and resizes: a picture's last bits are its own.
    versions = {name: identity["versions"].get(name) for name in ("clever_ext", "torch", "pillow")}
    model = {"digest": identity["model"]["digest"]}
    size = description["pieces"]["size"]
    return {**identity, "data": data, "versions": versions, "model": model, "piece size": size}


def run_id(description: dict[str, Any]) -> str:
    """Name what a run scores and how: shards of one run share it."""
    text = json.dumps(_identity(description), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_same(there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse to go on with a run that is another.

    Args:
        there: The description that a run folder holds.
        here: That of the run that was asked for.

    Raises:
        CleverError: they differ; it says in what.
    """
    # A part is of the run whichever shard made it; a folder is of one shard.
    pair = ({**_identity(d), "shard": d["pieces"]["shard"]} for d in (there, here))
    old, new = (dict(_leaves(each)) for each in pair)
    different = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if different:
        said = "; ".join(
            f"{name} was {old.get(name)}, now it is {new.get(name)}" for name in different
        )
        raise CleverError(
            f"the run was made otherwise: {said}",
            "the same pictures, weights, settings and versions",
            "start it with the settings that it was made with, or choose another --out",
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
