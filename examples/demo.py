"""Scores EfficientNet-Lite0 on the labelled ImageNet photographs that the package foolbox ships.

Writes a run folder and one picture: each photograph with its score, and the fit of its batch maxima
under it. `make demo` runs it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import clever_ext as cx
from clever_ext.cli import print_scores
from clever_ext.data import load, sample_pictures
from clever_ext.inputs import Settings
from clever_ext.models import load_model
from clever_ext.progress import gradient_bar
from clever_ext.runs import RunFolder, Scorer, score_folder

OUT = Path("runs/demo")


def main() -> None:
    """Score, print and draw."""
    model = load_model("efficientnet-lite0")
    pictures = sample_pictures()
    # 128 gradients a picture show how it works in two minutes; a score to publish takes thousands.
    settings = Settings.check(
        norm=2, radius=None, targets="top2", n_batches=16, batch_samples=8, clip=(0, 1), seed=0
    )
    shutil.rmtree(OUT, ignore_errors=True)  # the demo's own, from the last time
    run = RunFolder(OUT)
    with gradient_bar("EfficientNet-Lite0 on 20 photographs") as progress:
        score_folder(run, pictures, Scorer(model, settings, "auto", None), progress)
    result = run.load()
    print_scores(result, model.class_names)

    from clever_ext import plot

    records = {record.name: record for record in pictures}
    names = model.class_names or []

    def title(row: Any) -> str:
        status = "" if row["status"] == "ok" else f" ({row['status']})"
        target = names[row["target"]]
        return f"{names[row['predicted']]}{status}\nscore {row['score']:.3f} against {target}"

    figure = plot.contact_sheet(
        result,
        norm=2,
        picture=lambda row: load(records[row["image"]], model.preprocessing).permute(1, 2, 0),
        title=title,
    )
    figure.savefig(OUT / "scores.png", dpi=110)
    correct = int((result.table["predicted"] == result.table["label"]).sum())
    print(f"{correct} of {len(pictures)} photographs are classified correctly.")
    print(f"Run folder: {OUT}   picture: {OUT / 'scores.png'}   clever_ext {cx.__version__}")


if __name__ == "__main__":
    main()
