"""What each way of preparing a model does to the numbers.

EfficientNet-Lite0 with its published weights, 4 labelled ImageNet photographs, the runner-up, l2,
20 x 16 gradients each, device batch 8: the same samples whatever the option. The figures are the
median, smallest and largest relative change against prepare="none" in float32, of the batch maxima
and of the scores. Of the speed, overhead.py tells.

    python benchmarks/options.py --out benchmarks/results/options-cpu.json
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from side_by_side import arguments, parsed, show, spread, write

import clever_ext as cx
from clever_ext.data import load, sample_pictures
from clever_ext.engine.preparation import PrepareWord
from clever_ext.models.loading import load_model

#: "float16" is left out on a CPU: torch has no fast convolutions for it there.
OPTIONS: tuple[PrepareWord, ...] = (
    "fold_batch_norm",
    "channels_last",
    "auto",
    "bfloat16",
    "compile",
)
PICTURES = 4


def main() -> None:
    """Score with each option and compare."""
    args = parsed(arguments(__doc__))
    loaded = load_model("efficientnet-lite0")
    records = sample_pictures()[:PICTURES]
    images = torch.stack([load(record, loaded.preprocessing) for record in records])
    labels = np.array([record.label for record in records])
    samples = 2 if args.quick else 16

    def score(prepare: PrepareWord) -> cx.CleverResult:
        return cx.clever_score(
            loaded.model, images, targets="top2", labels=labels, n_batches=20,
            batch_samples=samples, clip=(0.0, 1.0), device_batch=8, prepare=prepare,
        )  # fmt: skip

    plain = score("none")
    scored = plain.table["status"] != "misclassified"
    figures: list[dict[str, Any]] = []
    for option in OPTIONS[:1] if args.quick else OPTIONS:
        result = score(option)
        for column in ("maxima", "score"):
            a, b = (np.stack(list(r.table[column][scored])) for r in (plain, result))
            done = " and ".join(result.metadata["engine"]["options"])
            figures.append(
                {
                    "figure": f"relative change of the {column}",
                    "case": option if option == done else f"{option}: {done}",
                    "target": None,
                    "ratio": spread(np.abs(b / a - 1).ravel().tolist()),
                }
            )
            show(figures[-1])
    write(args.out, figures, images=int(scored.sum()))


if __name__ == "__main__":
    main()
