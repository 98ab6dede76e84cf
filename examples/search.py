"""Draws docs/images/search.png: samples and the search in four balls of a photograph.

python examples/search.py      # two minutes; needs the extra [demo]
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from matplotlib.figure import Figure

import clever_ext as cx
from clever_ext.data import load, open_images
from clever_ext.models.loading import load_model

ROOT = Path(__file__).resolve().parent.parent
RADII = (0.1, 0.5, 2.0)


def main() -> None:
    """Score a photograph by both estimators at four radii, and draw them beside one search."""
    loaded = load_model("efficientnet-lite0")
    spec = find_spec("foolbox")
    assert spec is not None, "pip install clever_ext[demo]"
    assert spec.origin is not None
    folder = open_images(Path(spec.origin).parent / "data", include="imagenet_04*")
    image = load(folder[0], loaded.preprocessing)[None]
    steepest = cx.clever_score(
        loaded.model, image, radius=RADII, targets="top2", estimator="steepest", max_gradients=150
    ).table
    clever = cx.clever_score(
        loaded.model, image, radius=RADII, targets="top2", n_batches=15, batch_samples=10
    ).table
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(RADII, clever["score"], "o-", label="clever, 150 gradients")
    left.plot(RADII, steepest["score"], "s-", label="steepest, 150 gradients")
    left.plot(RADII, RADII, ":", color="gray", label="score = R")
    flip = steepest["nearest_flip"].min()
    left.axhline(flip, color="#cb181d", lw=1, label="nearest flip the search saw")
    left.set(xscale="log", yscale="log", xlabel="radius (l2)", ylabel="score")
    left.legend(fontsize=7)
    cx.plot.search(steepest.iloc[1], right)
    right.set_title(f"the search in R = {RADII[1]:g}", fontsize=9)
    figure.savefig(ROOT / "docs" / "images" / "search.png", dpi=110)
    print(steepest[["radius", "score", "nearest_flip"]], clever[["radius", "score", "flags"]])


if __name__ == "__main__":
    main()
