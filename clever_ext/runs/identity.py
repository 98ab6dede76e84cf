"""In what two runs may not differ, if one is to go on with the other or to be joined to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from ..data import other_contents
from ..errors import CleverError
from .fingerprint import difference

#: What must be the same where a run goes on or is joined, since it decides the scores' last bits.
_SAME = ("settings", "model", "preprocessing", "data", "asked", "machine", "versions")


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    identity = {name: description[name] for name in _SAME}
    # Where the pictures lie may change, and when they were written; which they are may not.
    not_which = ("path", "arguments", "contents")
    data = {name: value for name, value in identity["data"].items() if name not in not_which}
    # Pillow decodes and resizes: a picture's last bits are its own.
    versions = {name: identity["versions"].get(name) for name in ("clever_ext", "torch", "pillow")}
    model = {"digest": identity["model"]["digest"]}
    size = description["pieces"]["size"]
    return {**identity, "data": data, "versions": versions, "model": model, "piece size": size}


def run_id(description: dict[str, Any]) -> str:
    """Name what a run scores and how: shards of one run share it."""
    text = json.dumps(_identity(description), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_same(there: dict[str, Any], here: dict[str, Any], contents: bool = True) -> None:
    """Refuse to go on with a run that is another.

    Args:
        there: The description that a run folder holds.
        here: That of the run that was asked for.
        contents: Whether the pictures' files must be the same too.

    Raises:
        CleverError: they differ; it says in what. Or their models do not compute the same.
    """
    # A part is of the run whichever shard made it; a folder is of one shard.
    pair = ({**_identity(d), "shard": d["pieces"]["shard"]} for d in (there, here))
    old, new = (dict(leaves(each)) for each in pair)
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
    if contents:
        _check_same_contents(there, here)
    _check_same_function(there, here)


def _check_same_contents(there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse pictures of the same names that are other data."""
    wrong = other_contents(there["data"]["contents"], here["data"]["contents"])
    if wrong:
        raise CleverError(
            wrong,
            "the pictures that the run was begun with",
            "put them back; if only pictures that had errors were mended, give --retry-errors; "
            "or choose another --out",
        )


def _check_same_function(there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse a model that computes something else by the same weights."""
    a, b = (each["model"].get("fingerprint") for each in (there, here))
    if a is None or b is None:
        return
    share = difference(a, b, here["machine"]["device"], here["settings"]["dtype"])
    if share is not None:
        raise CleverError(
            "the model computes something else than when the run was begun, by the same weights: "
            f"its logits at the same points differ by {share:.2g} of the largest",
            "the code of the model as it was",
            "undo the change of the code, or choose another --out",
        )


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in a tree of dictionaries, each with its names joined by dots."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
