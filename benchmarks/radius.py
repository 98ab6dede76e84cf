"""What radius="auto" finds, beside the best of a grid of 20 fixed radii.

For each picture and norm, the runner-up as target. The grid is log-spaced from half to twice the
score that was found, under the same seed. A radius below that score cannot give a better one
(a score is at most its radius), so only the upper half of the grid is computed.

    python benchmarks/radius.py --out benchmarks/results/radius-cpu.json
    python benchmarks/radius.py --choose --out benchmarks/results/radius-choosing-cpu.json
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from published import CHOOSING, REPORTED, Case
from side_by_side import arguments, parsed, write

import clever_ext as cx

_REPORTED = ("lenet-clean", "lenet-adversarial", "mnist-7-layer")
_GRID = 20
#: What float32 gradients may differ by, from radius to radius, where all are the same.
_ROUNDING = 1 - 1e-5
_NORMS = (1.0, 2.0, np.inf)


def measure(case: Case, n_images: int, n_batches: int, batch_samples: int) -> list[dict[str, Any]]:
    """Score pictures with "auto" and on the grid; one record for each picture and norm."""
    model, images = case.build(), case.data()[0][:n_images]
    given: dict[str, Any] = {
        "targets": "top2", "n_batches": n_batches, "batch_samples": batch_samples,
        "prepare": "none", "device_batch": 64,
    }  # fmt: skip
    found = cx.clever_score(model, images, norm=_NORMS, radius="auto", **given).table
    records = []
    for _, row in found.iterrows():
        grid = row["score"] * np.geomspace(0.5, 2, _GRID)
        image = int(row["image_id"])
        curve = cx.clever_score(
            model, images[image : image + 1], norm=row["norm"], image_ids=[image],
            radius=[float(r) for r in grid if r > row["score"]], **given,
        ).table  # fmt: skip
        best = curve.iloc[int(curve["score"].argmax())]
        records.append(
            {
                "image": image,
                "norm": f"{row['norm']:g}",
                "first_order": row["margin"] / row["norm_at_image"],
                "radius": row["radius"],
                "score": row["score"],
                "score_low": row["score_low"],
                "score_high": row["score_high"],
                "status": row["status"],
                "shape": row["shape"],
                "gradients": int(row["n_gradients"]),
                "best_of_grid": best["score"],
                "best_low": best["score_low"],
                "best_radius": best["radius"],
            }
        )
    return records


def summary(name: str, records: list[dict[str, Any]], n_gradients: int) -> dict[str, Any]:
    """Figures of one network."""
    score, high, best, low, spent = (
        np.array([record[key] for record in records])
        for key in ("score", "score_high", "best_of_grid", "best_low", "gradients")
    )
    ratio = spent / n_gradients
    return {
        "figure": "auto radius against a grid",
        "case": name,
        "cases": len(records),
        "at_least_the_best": float(np.mean(score >= best * _ROUNDING)),
        "within_its_interval": float(np.mean(high >= best * _ROUNDING)),
        "within_the_interval_of_the_best": float(np.mean(score >= low * _ROUNDING)),
        "score_over_best": np.quantile(score / best, [0.05, 0.5, 0.95]).round(4).tolist(),
        "gradients_over_one_radius": [float(np.median(ratio)), float(ratio.max())],
    }


def main() -> None:
    """Measure all networks of one kind."""
    parser = arguments(__doc__)
    parser.add_argument("--choose", action="store_true", help="networks for choosing constants")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--n-batches", type=int, default=40)
    parser.add_argument("--batch-samples", type=int, default=16)
    args = parsed(parser)
    if args.quick:
        args.images = 3
    networks = CHOOSING if args.choose else {name: REPORTED[name] for name in _REPORTED}
    figures = []
    for name, case in networks.items():
        begin = time.perf_counter()
        records = measure(case, args.images, args.n_batches, args.batch_samples)
        found = summary(name, records, args.n_batches * args.batch_samples)
        print(found, f"{time.perf_counter() - begin:.0f} s", flush=True)
        figures.append({**found, "records": records})
        write(
            args.out, figures, seed=0, n_batches=args.n_batches, batch_samples=args.batch_samples,
            unit="lengths for pixels in [0, 1]",
        )  # fmt: skip


if __name__ == "__main__":
    main()
