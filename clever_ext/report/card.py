"""A model card: what a run says of its model, as lists of models have it of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TextIO

from ..results.brackets import is_bracket
from .export import plain
from .reading import Run
from .summary import NormSummary, summarise

#: What RobustBench's lists of models tell of each and a run cannot know: its author fills it in.
_OF_THE_AUTHOR = ("link", "authors", "venue", "architecture", "additional_data")

#: Settings that no other estimator uses.
_OF_CLEVER = ("n_batches", "batch_samples", "tolerance", "confidence", "race")


def write_cards(runs: Sequence[Run], handle: TextIO) -> None:
    """Write the card of a run, or a list of those of several, as JSON."""
    cards = [card(run) for run in runs]
    json.dump(cards if len(cards) > 1 else cards[0], handle, indent=2, ensure_ascii=False)
    handle.write("\n")


def card(run: Run) -> dict[str, Any]:
    """Return the card of a run; what stands there in percent is text, as RobustBench has it."""
    metadata, summary = run.result.metadata, summarise(run.result)
    known, settings = metadata.get("model", {}), metadata.get("settings", {})
    accuracy = None if summary.accuracy is None else f"{100 * summary.accuracy:.2f}"
    unused = _OF_CLEVER if settings.get("estimator") != "clever" else ()
    estimator = "bracket" if is_bracket(metadata) else settings.get("estimator")
    found: dict[str, Any] = {
        "name": known.get("name") or run.name,
        **dict.fromkeys(_OF_THE_AUTHOR),
        "dataset": metadata.get("data", {}).get("path"),
        "images": summary.images,
        "clean_acc": accuracy,
        "clever": {_threat(own.norm): _numbers(own) for own in summary.norms},
        "estimator": estimator,
        "settings": {k: v for k, v in settings.items() if k not in unused},
        "preprocessing": metadata.get("preprocessing"),
        "weights_sha256": known.get("digest"),
        "run_id": metadata.get("run_id"),
        "created": metadata.get("created"),
        "versions": metadata.get("versions"),
        "warnings": summary.warnings,
    }
    return {name: plain(value) for name, value in found.items()}


def _threat(norm: float) -> str:
    """Name a norm as lists of attacks do."""
    return f"L{norm:g}"


def _numbers(own: NormSummary) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "images": own.images,
        "mean": own.mean,
        "mean_95": [own.mean_low, own.mean_high],
        "median": own.median,
        "score_is_radius": own.capped,
    }
    if own.no_flip is not None:
        numbers |= {"upper_median": own.upper_median, "no_flip": own.no_flip}
    return numbers
