"""What `run.json` says of a run that is to begin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import PIL
import torch

from ..data import ImageSource
from ..engine.choice import Choice
from ..errors import CleverError
from ..findings import Finding, of_concern
from ..inputs.batch import Batch
from ..kernels.balls import AUTO
from ..machine import limits
from ..results.result import CleverResult
from ..scoring import describe, of_scores
from .fingerprint import fingerprint
from .identity import run_id
from .pieces import Pieces
from .scorer import Scorer


def describe_run(
    scorer: Scorer,
    source: ImageSource,
    first: Batch,
    pieces: Pieces,
    earlier: dict[str, Any] | None = None,
    found: Sequence[Finding] = (),
) -> dict[str, Any]:
    """Describe a run that is to begin, all but how its passes will be made.

    Args:
        scorer: The model and the settings.
        source: The pictures.
        first: One of them, as the model gets it.
        pieces: How they are cut up.
        earlier: The description of the run that goes on.
        found: What was seen besides.
    """
    known = None if earlier is None else earlier["data"]["contents"]
    of_call = describe(scorer.engine, first, scorer.settings, scorer.model.name, True)
    gpu = first.images.is_cuda
    findings = [*source.findings, *findings_of(of_call), *found]
    findings += [] if gpu else threads_and_cpus(torch.get_num_threads(), limits.cpus())
    description = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**of_call["settings"], **_candidates(scorer)},
        "model": {**of_call["model"], "fingerprint": fingerprint(scorer.engine, first)},
        "preprocessing": scorer.model.preprocessing.described(),
        "data": {**source.description(), "contents": _contents(source, known)},
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
        "warnings": [each.to_json() for each in of_concern(findings)],
    }
    as_read: dict[str, Any] = json.loads(json.dumps(description))
    return {"run_id": run_id(as_read), **as_read}


def _candidates(scorer: Scorer) -> dict[str, Any]:
    """Name the candidates; without any nothing is said, as in earlier versions."""
    return {} if scorer.candidates is None else {"candidates": scorer.candidates.digest}


def _contents(source: ImageSource, known: dict[str, Any] | None) -> dict[str, Any]:
    try:
        return source.contents(known)
    except OSError as error:
        raise CleverError(
            f"the pictures cannot be read: {error}",
            "files that can be read",
            "check --images and the place where they are stored",
        ) from error


def findings_of(metadata: dict[str, Any]) -> list[Finding]:
    """Read what was seen when a run was begun, or a result made, from where it is kept."""
    return [Finding(**told) for told in metadata.get("warnings", [])]


def findings_in(result: CleverResult) -> list[Finding]:
    """Return all that is to be said of a result: what was seen at first, and what its rows show."""
    known = result.metadata.get("settings", {"norms": [], "radii": []})
    pairs = zip(known["norms"], known["radii"], strict=True)
    found_radii = [float(p) for p, radius in pairs if radius == AUTO]
    return of_concern([*findings_of(result.metadata), *of_scores(result.table, found_radii)])


def renewed(description: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """Return a description with what may have changed since: how its pictures are, and were found.

    Args:
        description: Of the run that is there.
        here: Of the same, as it was asked for again.
    """
    data = {**description["data"], "contents": here["data"]["contents"]}
    return {**description, "data": data, "warnings": here["warnings"]}


def threads_and_cpus(threads: int, cpus: float) -> list[Finding]:
    """Say where threads wait for each other, since a container has fewer CPUs than its machine."""
    if threads <= cpus:
        return []
    said = f"{threads} threads share the {cpus:g} CPUs that this container may use"
    return [Finding("place", said, f"give --threads {max(1, int(cpus))}")]


def of_parts(description: dict[str, Any]) -> dict[str, Any]:
    """Return what every part says of its run; all names and logits would fill most of it."""
    model = {name: description["model"][name] for name in ("name", "digest")}
    return {**description, "model": model, "class_names": None}


def completed(description: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """Add to a description that may be from a part what parts leave out.

    Args:
        description: Of the run that is there.
        here: Of the run that was asked for.
    """
    model = {**here["model"], **description["model"]}
    return {**description, "model": model, "class_names": here["class_names"]}


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
