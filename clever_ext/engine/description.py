"""How passes were made, for a result's metadata."""

from __future__ import annotations

from typing import Any

import torch

from ..classifier.oracle import TorchOracle, parts_of
from ..classifier.process_state import precision
from .folding import Folded
from .plan import Plan


def described(plan: Plan, asked: tuple[str, ...], device: torch.device) -> dict[str, Any]:
    """Return how a plan's passes were made.

    Args:
        plan: After the passes.
        asked: The options that the user asked for.
        device: Where they ran.
    """
    tf32 = "tf32" in asked and "tf32" not in plan.notes
    others = {"tf32": tf32, "cuda_graph": plan.capture}
    options = [*plan.options, *(name for name, used in others.items() if used)]
    notes = dict(plan.notes)
    if _unfolded(plan):
        options.remove("fold_batch_norm")
        notes["fold_batch_norm"] = "undone: a convolution's result was read by others as well"
    short = precision(device)
    return {
        "options": options,
        "device_batch": plan.device_batch,
        "batched_backward": isinstance(plan.oracle, TorchOracle) and plan.oracle.batched_backward,
        "notes": notes,
        **({"precision": short} if short else {}),
    }


def _unfolded(plan: Plan) -> bool:
    """Tell whether batch norms were folded, and are no longer."""
    parts = parts_of(getattr(plan.oracle, "model", None)).values()
    return any(isinstance(part, Folded) and part.folded == 0 for _, part in parts)
