"""Scores EfficientNet-Lite0 on photographs, and draws them with what was found.

Each photograph gets two ends by the bracket: the nearest change of its class that was found (the
upper one, which is shown), and how much of the way to it the steepest slope explains (the lower
one). Beside them stands the paper's score with its fit. `make demo` runs it on the labelled
ImageNet photographs that the package foolbox ships; `python examples/demo.py --images FOLDER` on
others.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import clever_ext as cx
from clever_ext.cli.tables import print_scores
from clever_ext.data import ImageRecord, ImageSource, load, sample_pictures

Array = npt.NDArray[np.float64]

OUT = Path("runs/demo")
#: Photographs in one line of the picture, and pictures of each.
_IN_LINE, _PANELS = 2, 4
#: The share of a difference's values that may be too large to show.
_CLIPPED = 1e-3


def main() -> None:
    """Score, print and draw."""
    parser = argparse.ArgumentParser(description="Score EfficientNet-Lite0 on photographs.")
    parser.add_argument("--images", help="folder of photographs; default: foolbox's")
    parser.add_argument("--max-gradients", type=int, default=100)
    # 12 x 3 gradients show how the paper's score works; one to publish takes thousands.
    parser.add_argument("--n-batches", type=int, default=12)
    parser.add_argument("--batch-samples", type=int, default=3)
    args = parser.parse_args()

    model = cx.load_model("efficientnet-lite0")
    pictures = cx.open_images(args.images) if args.images else sample_pictures()
    shutil.rmtree(OUT, ignore_errors=True)  # the demo's own, from the last time
    bracket = scored(
        "bracket", model, pictures,
        estimator="steepest", max_gradients=args.max_gradients, keep_witness=True,
    )  # fmt: skip
    clever = scored(
        "clever", model, pictures, n_batches=args.n_batches, batch_samples=args.batch_samples
    )
    figure = drawn(bracket, clever, model, {record.name: record for record in pictures})
    figure.savefig(OUT / "bracket.png", dpi=100)
    if not args.images:
        correct = int((bracket.table["predicted"] == bracket.table["label"]).sum())
        print(f"{correct} of {len(pictures)} photographs are classified correctly.")
    print(f"Runs: {OUT}   picture: {OUT / 'bracket.png'}   clever_ext {cx.__version__}")


def scored(name: str, model: cx.LoadedModel, pictures: ImageSource, **how: Any) -> cx.CleverResult:
    """Score the photographs against the runner-up into a folder, and print the scores."""
    result = cx.score_run(model, pictures, OUT / name, targets="top2", **how)
    print_scores(result, model.class_names)
    return result


def drawn(
    bracket: cx.CleverResult,
    clever: cx.CleverResult,
    model: cx.LoadedModel,
    records: dict[str, ImageRecord],
) -> Figure:
    """Draw each photograph, its flip, their difference, and the fit of the paper's score."""
    lines = -(-len(bracket.table) // _IN_LINE)
    columns = _IN_LINE * _PANELS
    figure = Figure(figsize=(1.9 * columns, 2.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    fits = clever.table.set_index("image")
    for number, (_, row) in enumerate(bracket.table.iterrows()):
        line, first = number // _IN_LINE, number % _IN_LINE * _PANELS
        photograph = load(records[row["image"]], model.preprocessing)
        draw_row(
            grid[line, first : first + _PANELS], row, fits.loc[row["image"]], photograph, model
        )
    return figure


def draw_row(
    panels: Any, row: Any, fit: Any, photograph: torch.Tensor, model: cx.LoadedModel
) -> None:
    """Draw one photograph's panels."""
    names = model.class_names or []
    first, flipped, difference, of_fit = panels
    show(first, photograph, names[row["predicted"]])
    if row["status"] != "ok":
        first.set_title(f"{names[row['predicted']]}\n{row['status']}", fontsize=8)
        return
    ends = f"lower end {row['score']:.3f}, upper {row['nearest_flip']:.3f}"
    first.set_title(f"{names[row['predicted']]}\n{ends}", fontsize=8)
    if np.isfinite(row["nearest_flip"]):
        flip = torch.tensor(row["witness"]).to(photograph).view_as(photograph)
        with torch.no_grad():
            found = int(model.model(flip[None]).argmax())
        show(flipped, flip, f"flip: {names[found]}\nl2 distance {(flip - photograph).norm():.3f}")
        change = flip - photograph
        factor = amplification(change.double().numpy())
        show(difference, 0.5 + factor * change, f"the difference,\n{factor:g} times as large")
    of_fit.set_axis_on()
    cx.plot.fit(fit, of_fit)
    of_fit.set_title(f"the paper's score: {fit['score']:.3f}", fontsize=8)


def show(axes: Axes, picture: torch.Tensor, title: str) -> None:
    """Draw a picture [3, H, W] in [0, 1] under a title."""
    axes.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy())
    axes.set_title(title, fontsize=8)


def amplification(change: Array) -> float:
    """Return the factor, 1, 2 or 5 times a power of ten, that brings a change to a half."""
    most = 0.5 / max(float(np.quantile(np.abs(change), 1 - _CLIPPED)), 1e-12)
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most))


if __name__ == "__main__":
    main()
