"""Scores EfficientNet-Lite0 on photographs, and draws them with their scores.

Writes a run folder and one picture: each photograph with its score, and the fit of its batch maxima
under it. `make demo` runs it on the labelled ImageNet photographs that the package foolbox ships;
`python examples/demo.py --images FOLDER` on others.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import clever_ext as cx
from clever_ext.cli.tables import print_scores
from clever_ext.data import load, open_images, sample_pictures
from clever_ext.estimators.table import check_settings
from clever_ext.models.loading import load_model
from clever_ext.runs.folder import RunFolder
from clever_ext.runs.loop import score_run
from clever_ext.runs.ranks import Alone
from clever_ext.runs.scorer import Scorer

OUT = Path("runs/demo")


def main() -> None:
    """Score, print and draw."""
    parser = argparse.ArgumentParser(description="Score EfficientNet-Lite0 on photographs.")
    parser.add_argument("--images", help="folder of photographs; default: foolbox's")
    # 16 x 8 gradients a picture show how it works in two minutes; a score to publish takes
    # thousands.
    parser.add_argument("--n-batches", type=int, default=16)
    parser.add_argument("--batch-samples", type=int, default=8)
    args = parser.parse_args()

    model = load_model("efficientnet-lite0")
    pictures = open_images(args.images) if args.images else sample_pictures()
    settings = check_settings(
        norm=2,
        radius=None,
        targets="top2",
        n_batches=args.n_batches,
        batch_samples=args.batch_samples,
        clip=(0, 1),
        seed=0,
    )
    shutil.rmtree(OUT, ignore_errors=True)  # the demo's own, from the last time
    run = RunFolder(OUT)
    score_run(run, pictures, Scorer(model, settings), Alone(), tell=print)
    result = run.load()
    print_scores(result, model.class_names)

    from clever_ext.results import plot

    records = {record.name: record for record in pictures}
    names = model.class_names or []

    def title(row: Any) -> str:
        status = "" if row["status"] == "ok" else f" ({row['status']})"
        target = names[row["target"]]
        return f"{names[row['predicted']]}{status}\nscore {row['score']:.3f} against {target}"

    figure = plot.contact_sheet(
        result,
        norm=2,
        picture=lambda row: (
            load(records[row["image"]], model.preprocessing).permute(1, 2, 0).numpy()
        ),
        title=title,
    )
    figure.savefig(OUT / "scores.png", dpi=110)
    if not args.images:
        correct = int((result.table["predicted"] == result.table["label"]).sum())
        print(f"{correct} of {len(pictures)} photographs are classified correctly.")
    print(f"Run folder: {OUT}   picture: {OUT / 'scores.png'}   clever_ext {cx.__version__}")


if __name__ == "__main__":
    main()
