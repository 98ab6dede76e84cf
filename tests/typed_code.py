"""Code of a user, as mypy sees it; tests/test_types.py runs mypy, and nobody runs this.

What is wrong says `type: ignore`: mypy is told to refuse one that hides nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import clever_ext as cx

if TYPE_CHECKING:  # tests are imported when their doctests are looked for
    model = torch.nn.Linear(4, 3)
    images = torch.rand(2, 4)
    array: np.ndarray[Any, np.dtype[np.float32]] = images.numpy()

    # Words.
    cx.clever_score(model, images, "L2", "auto", "near-10", estimator="steepest", prepare="none")
    cx.clever_score(
        model, images, ["l1", math.inf], targets="least-likely", prepare=["auto", "tf32"]
    )
    cx.clever_score(model, images, estimator="stepest")  # type: ignore[arg-type]
    cx.clever_score(model, images, targets="near10")  # type: ignore[arg-type]
    cx.clever_score(model, images, targets="least_likely")  # type: ignore[arg-type]
    cx.clever_score(model, images, norm="L3")  # type: ignore[arg-type]
    cx.clever_score(model, images, norm=["l1", "max"])  # type: ignore[list-item]
    cx.clever_score(model, images, radius="best")  # type: ignore[arg-type]
    cx.clever_score(model, images, prepare="channel_last")  # type: ignore[arg-type]
    cx.clever_score(model, images, prepare=("auto", "tf23"))  # type: ignore[arg-type]
    cx.clever_score(model, images, device_batch="all")  # type: ignore[arg-type]

    # Arrays, and lists of them.
    ids = [7, 8]
    radii = {2: 0.5, 1: 9.0}
    by_norm: OrderedDict[float, list[float]] = OrderedDict({2.0: [0.1, 0.2], math.inf: [0.01]})
    cx.clever_score(model, array, radius=radii, labels=np.array([0, 1]), image_ids=ids)
    cx.clever_score(model, [array[0], array[1]], radius=by_norm, labels=pd.Series([0, 1]))
    cx.clever_score(model, list(images), radius={"L2": "auto", "linf": 0.1}, targets=[[1], [2]])
    cx.clever_score(model, [[0.1] * 4, [0.2] * 4], targets=torch.tensor([[1], [2]]), labels=(0, 1))
    cx.clever_score(model, images, radius=[0.1, 0.2], targets=2, candidates=[images, images])
    cx.clever_score(
        model, images, norm=np.array([1, 2]), device=torch.device("cpu"), device_batch=8
    )
    cx.clever_score(model, images, labels=["cat", "dog"])  # type: ignore[arg-type]
    cx.clever_score(model, images, radius={"L2": "best"})  # type: ignore[dict-item]

    # Pictures.
    picture = Image.new("RGB", (32, 32))
    digits = TensorDataset(images, torch.tensor([0, 1]))
    opened = cx.open_images("photos")
    cx.clever_score(cx.load_model("lenet"), [picture, picture], labels=[0, 1])
    cx.clever_score(model, digits, estimator="steepest")
    cx.clever_score(model, DataLoader(digits), estimator="steepest")
    cx.clever_score(model, opened)
    cx.clever_score(model, "photos")  # type: ignore[arg-type]
    cx.score_run("lenet", "photos", "runs/x", norm=["l2", "linf"], targets="top2")
    cx.score_run(model, digits, "runs/y", estimator="clever", device_batch=8)
    cx.score_run("lenet", "photos", "runs/x", estimator="clver")  # type: ignore[arg-type]

    # The other functions.
    checked: cx.Checked = cx.check(model, array, "linf", estimator="first-order", prepare="auto")
    cx.check(model, images, estimator="first_order")  # type: ignore[arg-type]
    cx.check(model, images, tolerence=0.1)  # type: ignore[call-arg]
    plan: cx.RunPlan = cx.plan(model, images, ["l1", "l2"], {1: 40.0, 2: 2.0}, targets="top2")
    cx.plan(model, images, targets="top_2")  # type: ignore[arg-type]
    result: cx.CleverResult = cx.load_run("runs/x")
    cx.refine(
        cx.refit(result), model, array, n_batches=500, device="cuda", prepare="fold_batch_norm"
    )
    cx.refine(result, model, images, prepare="fast")  # type: ignore[arg-type]
    compared: cx.Comparison = cx.compare(result, "runs/y", norm="linf")
    cx.compare(result, "runs/y", norm="infinity")  # type: ignore[arg-type]
    cx.write_report([result, "runs/y"], "both.html", format="md")
    cx.write_report(result, "one.pdf", format="pdf")  # type: ignore[arg-type]
    loaded: cx.LoadedModel = cx.load_model("lenet", crop_mode="squash", interpolation="bilinear")
    cx.load_model("lenet", crop_mode="centre")  # type: ignore[arg-type]
    cx.load_model("lenet", interpolation="cubic")  # type: ignore[arg-type]
    points: torch.Tensor = cx.sample_lp_ball(images[0], 8, p="linf", radius=0.5)
    cx.sample_lp_ball(images[0], 8, p="max")  # type: ignore[arg-type]
    cx.sample_lp_ball(array, 8)  # type: ignore[arg-type]
    largest: torch.Tensor = cx.grad_norm_max(images[None], q="l1")
    cx.grad_norm_max(array[None])  # type: ignore[arg-type]
    fitted: cx.ReverseWeibullFit = cx.fit_reverse_weibull(images)
    cx.fit_reverse_weibull([[0.1, 0.2], [0.3, 0.4]])
    cx.fit_reverse_weibull({"maxima": images})  # type: ignore[arg-type]

    # What a result holds.
    scores: np.ndarray[Any, np.dtype[np.float64]] = result.scores[2]
    flips: np.ndarray[Any, np.dtype[np.float64]] = result.flips[math.inf]
    table: pd.DataFrame = result.table
    numbers: dict[str, float] = result.summary()
    rows: list[pd.Series[Any]] = result.smallest()
    score = result.score  # type: ignore[attr-defined]
    cx.plot.curve({"mine": result}, norm=2).set_title("mine")
    cx.plot.curve(result, norm="L2")  # type: ignore[arg-type]
