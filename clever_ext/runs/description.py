"""What `run.json` says of a run that is to begin."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import PIL
import torch

from ..data import ImageSource
from ..engine import Choice
from ..inputs import Batch
from ..scoring import describe
from .identity import run_id
from .pieces import Pieces
from .scorer import Scorer


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
        "versions": {**of_call["versions"], "pillow": PIL.__version__},
        "pieces": pieces.to_json(),
        "class_names": scorer.model.class_names,
    }
    found: dict[str, Any] = json.loads(json.dumps(description))  # as a reader of the file gets it
    return {"run_id": run_id(found), **found}


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
