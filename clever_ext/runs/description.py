"""What a run is: the contents of `run.json`, and in what two runs may not differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import torch

from ..data import ImageSource
from ..engine import Choice
from ..errors import CleverError
from ..inputs import Batch
from ..scoring import describe
from .pieces import Pieces
from .scorer import Scorer

#: What must be the same where a run goes on or is joined, since it decides the scores' last bits.
_SAME = ("settings", "model", "preprocessing", "data", "asked", "machine", "versions")


def describe_run(
    scorer: Scorer, source: ImageSource, first: Batch, pieces: Pieces
) -> dict[str, Any]:
    """Describe a run that is to begin, all but how its passes will be made.

    Args:
        scorer: The model and the settings.
        source: The pictures.
        first: One of them, as the model gets it.
        pieces: How they are cut up.
    """
    of_call = describe(scorer.engine, first, scorer.settings, scorer.model.name, True)
    gpu = first.images.is_cuda
    description = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": of_call["settings"],
        "model": of_call["model"],
        "preprocessing": vars(scorer.model.preprocessing),
        "data": source.description(),
        "asked": {
            "prepare": [scorer.prepare]
            if isinstance(scorer.prepare, str)
            else sorted(scorer.prepare),
            "device_batch": scorer.device_batch,
        },
        # The threads of a CPU share out sums; those beside a GPU do not touch its numbers.
        "machine": {
            "device": first.images.device.type,
            "threads": None if gpu else torch.get_num_threads(),
        },
        "device": of_call["device"],
        "versions": of_call["versions"],
        "pieces": pieces.to_json(),
        "class_names": scorer.model.class_names,
    }
    found: dict[str, Any] = json.loads(json.dumps(description))  # as a reader of the file gets it
    return {"run_id": run_id(found), **found}


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    identity = {name: description[name] for name in _SAME}
    # Where the pictures lie may change; which they are may not.
    data = {
        name: value for name, value in identity["data"].items() if name not in ("path", "arguments")
    }
    versions = {name: identity["versions"][name] for name in ("clever_ext", "torch")}
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


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """Return what `run.json` says of how passes are made."""
    return {
        "options": list(choice.options),
        "device_batch": choice.device_batch,
        "batched_backward": choice.batched_backward,
    }


def choice_of(description: dict[str, Any]) -> Choice:
    """Read from `run.json` how passes are made."""
    found = description["engine"]
    options = tuple(found["options"])
    return Choice(options, found["device_batch"], found["batched_backward"])
