"""What race=True finds and spends, beside the scores of all targets.

Small networks: all 9 targets of 20 digits, three norms, the race and the full computation under the
same seed. EfficientNet-Lite0: all 999 targets of 5 photographs in l2; the full computation, 999
times n_batches * batch_samples gradients, is counted, not run: instead the targets of the smallest
first-order scores are all scored in full, of as many photographs as --checked says.

    python benchmarks/race.py --out benchmarks/results/race-cpu.json
    python benchmarks/race.py --choose --out benchmarks/results/race-choosing-cpu.json
    python benchmarks/race.py --lite0 --out benchmarks/results/race-lite0-cpu.json
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from published import CHOOSING, REPORTED, Case
from side_by_side import arguments, parsed, write

import clever_ext as cx

_REPORTED = ("lenet-clean", "lenet-adversarial", "mnist-7-layer")
_NORMS = (1.0, 2.0, np.inf)
_ROUNDING = 1 + 1e-5  # float32 gradients of other batches
_LITE0 = {"prepare": ["fold_batch_norm", "channels_last"], "device_batch": 8}


def measure(case: Case, n_images: int, **counts: int) -> list[dict[str, Any]]:
    """Race and score in full; one record for each picture and norm."""
    model, images = case.build(), case.data()[0][:n_images]
    given: dict[str, Any] = {
        "norm": _NORMS, "radius": case.radii, "targets": "all", "prepare": "none",
        "device_batch": 64, **counts,
    }  # fmt: skip
    full = cx.clever_score(model, images, **given)
    race = cx.clever_score(model, images, race=True, **given)
    spent = race.table.groupby(["image_id", "norm"])["n_gradients"].sum()
    of_full = full.table.groupby(["image_id", "norm"])["n_gradients"].sum()
    records = []
    for ours, theirs in zip(race.smallest(), full.smallest(), strict=True):
        key = ours["image_id"], ours["norm"]
        records.append(
            {
                "image": int(key[0]),
                "norm": f"{key[1]:g}",
                "score": ours["score"],
                "full_score": theirs["score"],
                "full_low": theirs["score_low"],
                "full_high": theirs["score_high"],
                "winner": int(ours["target"]),
                "full_winner": int(theirs["target"]),
                "p_lowest": ours["p_lowest"],
                "gradients": int(spent[key]),
                "full_gradients": int(of_full[key]),
            }
        )
    return records


def summary(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one network."""
    score, low, high, spent, full, p = (
        np.array([record[key] for record in records])
        for key in (
            "score", "full_low", "full_high", "gradients", "full_gradients", "p_lowest",
        )
    )  # fmt: skip
    inside = (score <= high * _ROUNDING) & (score >= low / _ROUNDING)
    images = np.array([record["image"] for record in records])
    whole = [bool(inside[images == image].all()) for image in np.unique(images)]
    ratio = full / spent
    return {
        "figure": "race against all targets",
        "case": name,
        "races": len(records),
        "same_minimum_within_its_interval": float(inside.mean()),
        "images_with_all_norms_so": float(np.mean(whole)),
        "same_score": float(np.mean([r["score"] <= r["full_score"] * _ROUNDING for r in records])),
        "mean_p_lowest": float(p.mean()),
        "gradients_fewer": {
            "in_all": float(full.sum() / spent.sum()),
            "median": float(np.median(ratio)),
            "min": float(ratio.min()),
        },
    }


def measure_lite0(
    n_images: int, checked: int, n_checked: int, counts: dict[str, int]
) -> list[dict[str, Any]]:
    """Race over 999 targets in l2; of some pictures the likeliest targets are scored in full."""
    case = REPORTED["efficientnet-lite0"]
    model, (images, labels) = case.build(), case.data()
    given: dict[str, Any] = {
        "norm": 2, "radius": case.radii[2.0], "targets": "all", **_LITE0, **counts
    }  # fmt: skip
    records: list[dict[str, Any]] = []
    for image in range(len(images)):
        one: dict[str, Any] = {"images": images[image : image + 1], "image_ids": [image], **given}
        begin = time.perf_counter()
        race = cx.clever_score(model, labels=labels[image : image + 1], race=True, **one)
        (row,) = race.smallest()
        if row["status"] == "misclassified":
            continue
        table = race.table
        batches = float(table["n_batches"].sum() / counts["n_batches"])
        record = {
            "image": image,
            "score": row["score"],
            "winner": int(row["target"]),
            "p_lowest": row["p_lowest"],
            "targets": len(table),
            "gradients": int(table["n_gradients"].sum()),
            "full_gradients": len(table) * counts["n_batches"] * counts["batch_samples"],
            # Of the samples alone, in units of one target's: what counts where these are many.
            "targets_worth_of_batches": batches,
            "targets_with_all_batches": int((table["n_batches"] == counts["n_batches"]).sum()),
            "seconds": time.perf_counter() - begin,
        }
        if len(records) < checked:
            order = (table["margin"] / table["norm_at_image"]).sort_values().index
            best = table.loc[order[:n_checked], "target"].to_numpy()
            full = cx.clever_score(model, targets=best[None], **one)
            (lowest,) = full.smallest()
            record |= {
                "checked_targets": len(best),
                "checked_winner": int(lowest["target"]),
                "checked_score": [lowest[k] for k in ("score_low", "score", "score_high")],
            }
        records.append(record)
        print(record, flush=True)
        if len(records) == n_images:
            break
    return records


def main() -> None:
    """Measure all networks of one kind."""
    parser = arguments(__doc__)
    parser.add_argument("--choose", action="store_true", help="networks for choosing constants")
    parser.add_argument("--lite0", action="store_true", help="999 targets")
    parser.add_argument("--images", type=int, help="pictures; default 20, of Lite0 5")
    parser.add_argument("--n-batches", type=int, default=48)
    parser.add_argument("--batch-samples", type=int, help="default 16, of Lite0 4")
    parser.add_argument("--checked", type=int, default=2, help="Lite0's pictures to check")
    parser.add_argument("--checked-targets", type=int, default=10, help="in full, of each")
    args = parsed(parser)
    samples = args.batch_samples or (4 if args.lite0 else 16)
    counts = {"n_batches": args.n_batches, "batch_samples": samples}
    n_images = args.images or (5 if args.lite0 else 20)
    if args.quick:
        n_images = min(n_images, 3)
    figures: list[dict[str, Any]] = []
    if args.lite0:
        records = measure_lite0(n_images, args.checked, args.checked_targets, counts)
        fewer = [record["full_gradients"] / record["gradients"] for record in records]
        found: dict[str, Any] = {
            "figure": "race against all targets, counted",
            "case": "efficientnet-lite0",
            "gradients_fewer": {"median": float(np.median(fewer)), "min": min(fewer)},
        }
        figures.append({**found, "records": records})
        write(args.out, figures, seed=0, **counts)
    else:
        networks = CHOOSING if args.choose else {name: REPORTED[name] for name in _REPORTED}
        for name, case in networks.items():
            begin = time.perf_counter()
            records = measure(case, n_images, **counts)
            found = summary(name, records)
            print(found, f"{time.perf_counter() - begin:.0f} s", flush=True)
            figures.append({**found, "records": records})
            write(args.out, figures, seed=0, **counts)


if __name__ == "__main__":
    main()
