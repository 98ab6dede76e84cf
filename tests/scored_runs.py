"""Results as clever_score makes them, with scores that are given."""

import numpy as np

from clever_ext import CleverResult
from clever_ext.results.result import make_table

SETTINGS = {
    "norms": ["2"], "radii": [4.0], "n_batches": 20, "batch_samples": 8, "clip": [0, 1], "seed": 0,
    "estimator": "clever", "max_gradients": None, "race": False, "tolerance": None,
    "targets": "top2", "shape": [1, 8, 8], "dtype": "float32",
}  # fmt: skip


def run(scores, name, metadata=(), settings=(), **columns):
    """A result as clever_score makes it, of one target and one norm, with these scores."""
    n = len(scores)
    base = np.random.default_rng(9).uniform(5, 9, n)  # margins
    rows = {
        "image_id": np.arange(n),
        "image": [f"{i}.png" for i in range(n)],
        "label": np.arange(n) % 2,
        "predicted": np.arange(n) % 2,
        "target": 1 - np.arange(n) % 2,
        "norm": np.full(n, 2.0),
        "estimator": ["clever"] * n,
        "radius": np.full(n, 4.0),
        "margin": base,
        "score": np.asarray(scores, dtype=float),
        "nearest_flip": np.full(n, np.inf),
        "capped": np.asarray(scores) == 4.0,
        "status": np.full(n, "ok", dtype=object),
        "flags": [""] * n,
    } | columns
    described = {
        "settings": SETTINGS | dict(settings),
        "model": {"name": name, "digest": name},
        "complete": True,
    }
    return CleverResult(make_table(rows), described | dict(metadata))


RANDOM = np.random.default_rng(0)
EASE = RANDOM.gamma(4, 0.1, 60)
LOW, SAME, HIGH = (EASE * factor * RANDOM.uniform(0.9, 1.1, 60) for factor in (1, 1, 1.5))


def only(comparison):
    assert len(comparison.pairs) == 1
    return comparison.pairs.iloc[0]


def searched(scores, name, **settings):
    of_search = {"estimator": "steepest", "max_gradients": 100} | settings
    return run(scores, name, settings=of_search, estimator=["steepest"] * len(scores))


def bracketed(lower, upper, name, metadata=(), settings=(), **columns):
    """A bracket: lower ends as scores, upper ends as nearest flips."""
    of_search = {"estimator": "steepest", "max_gradients": 100, "radii": ["auto"]} | dict(settings)
    ends = {"nearest_flip": np.asarray(upper, dtype=float), "radius": np.asarray(lower)} | columns
    return run(lower, name, metadata, of_search, estimator=["steepest"] * len(lower), **ends)


def flagged(share, word):
    return ["far-location," + word if i < share * 60 else "" for i in range(60)]
