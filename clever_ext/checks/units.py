"""Which numbers the model gets as pixels, and what a radius means in them."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Finding
from .looked import Looked


def of_units(looked: Looked) -> Iterator[Finding]:
    """Tell the range of the images' values, in whose units radii and scores are."""
    images, settings = looked.subjects.batch.images, looked.settings
    low, high = float(images.min()), float(images.max())
    shape = " x ".join(map(str, images.shape[1:]))
    yield Finding("units", f"images of {shape} values from {low:.4g} to {high:.4g}")
    balls = ", ".join(
        f"{r:g} in l{p:g}" if r == r else f"to be found in l{p:g}" for p, r in settings.balls
    )
    yield Finding("units", f"radius {balls}; scores are in the units of these values")
