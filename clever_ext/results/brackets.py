"""What only brackets have: two ends of each image, of which a score is the lower one."""

from __future__ import annotations

from typing import Any


def is_bracket(metadata: dict[str, Any]) -> bool:
    """Tell whether a result's scores are the lower ends of brackets, its nearest flips the upper.

    Args:
        metadata: Of a `CleverResult`.
    """
    settings = metadata.get("settings", {})
    return settings.get("estimator") == "steepest" and "auto" in settings.get("radii", ())
