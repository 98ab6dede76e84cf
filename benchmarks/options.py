"""What each way of preparing a model does to the numbers, and to the speed.

EfficientNet-Lite0 with its published weights, 4 labelled ImageNet photographs, the runner-up, l2,
20 x 16 gradients each: the same samples whatever the option. The figures are the largest and the
median relative change against prepare="none" in float32, of the batch maxima and of the scores, and
how many times faster the whole call was. Device batch 8. Times are of one call each, after one with
a few gradients for what the first call of all pays (compilation): this is no fine comparison, see
overhead.py for one.

    python benchmarks/options.py --out benchmarks/results/options-cpu.json
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from side_by_side import arguments, show, spread, write

import clever_ext as cx
from clever_ext.data import load, sample_pictures
from clever_ext.models import load_model

#: "float16" is left out on a CPU: torch has no fast convolutions for it there.
OPTIONS = ("fold_batch_norm", "channels_last", "auto", "bfloat16", "compile")
PICTURES = 4


def main() -> None:
    """Score with each option and compare."""
    args = arguments(__doc__).parse_args()
    loaded = load_model("efficientnet-lite0")
    records = sample_pictures()[:PICTURES]
    images = torch.stack([load(record, loaded.preprocessing) for record in records])
    labels = [record.label for record in records]
    samples = 2 if args.quick else 16

    def score(prepare: str, batch_samples: int) -> tuple[cx.CleverResult, float]:
        begin = time.perf_counter()
        result = cx.clever_score(
            loaded.model, images, targets="top2", labels=labels, n_batches=20,
            batch_samples=batch_samples, clip=(0.0, 1.0), device_batch=8, prepare=prepare,
        )  # fmt: skip
        return result, time.perf_counter() - begin

    score("none", 1)
    plain, plain_seconds = score("none", samples)
    scored = plain.table["status"] != "misclassified"
    figures: list[dict[str, Any]] = []
    for option in ("auto",) if args.quick else OPTIONS:
        score(option, 1)
        result, seconds = score(option, samples)
        changes = {}
        for column in ("maxima", "score"):
            a, b = (np.stack(list(r.table[column][scored])) for r in (plain, result))
            changes[column] = np.abs(b / a - 1).ravel().tolist()
        for column, values in changes.items():
            figures.append(
                {
                    "figure": f"relative change of the {column}",
                    "case": f"{option} ({', '.join(result.metadata['engine']['options'])})",
                    "target": None,
                    "ratio": spread(values),
                    "seconds": {"none": plain_seconds, option: seconds},
                    "times_faster": plain_seconds / seconds,
                }
            )
            show(figures[-1])
    write(args.out, figures, images=int(scored.sum()))


if __name__ == "__main__":
    main()
