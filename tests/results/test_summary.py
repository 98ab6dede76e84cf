"""What a result comes to, in numbers for a log and in tables for notebooks."""

import math
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from scored_runs import HIGH, LOW, run

import clever_ext as cx
from clever_ext import CleverResult

ODD = '<img src=x onerror="alert(1)">'


def test_a_summary_is_flat_and_of_floats():
    scores = [0.1, 0.3, 4.0, math.nan, 0.0]
    flips = [0.2, math.inf, 6.0, math.nan, 0.0]
    statuses = ["ok", "ok", "ok", "non-finite", "misclassified"]
    told = run(scores, "net", nearest_flip=flips, status=statuses, n_gradients=[7] * 5).summary()
    assert {type(value) for value in told.values()} == {float}
    assert told == pytest.approx(
        {
            "images": 5.0,
            "gradients": 35.0,
            "l2/scored": 0.8,
            "l2/score_mean": 1.1,
            "l2/score_median": 0.2,
            "l2/capped": 0.2,
            "l2/flip_seen": 0.6,
            "l2/flip_median": 0.2,
            "l2/misclassified": 0.2,
        }
    )


def test_a_summary_has_each_norm_and_no_labels_where_there_are_none():
    model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4)
    result = cx.clever_score(model, images, norm=[1, math.inf, 2.5], n_batches=4, batch_samples=8)
    told = result.summary()
    assert {name.split("/")[0] for name in told if "/" in name} == {"l1", "linf", "l2.5"}
    assert not [name for name in told if "misclassified" in name]
    assert told["l1/score_mean"] == pytest.approx(result.scores[1].mean())
    assert told["gradients"] == result.table["n_gradients"].sum()


def test_a_summary_of_nothing():
    errors = run(LOW[:2], "net", score=[np.nan] * 2, status=["error"] * 2)
    assert math.isnan(errors.summary()["l2/score_mean"])
    assert errors.summary()["l2/scored"] == 0
    without = CleverResult(errors.table.assign(norm=np.nan)).summary()
    assert without == {"images": 2.0, "gradients": 0.0}
    assert CleverResult(errors.table.iloc[:0]).summary() == {"images": 0.0, "gradients": 0.0}


def numbers():
    model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4)
    told = cx.clever_score(model, images, norm=[1, 2.5], n_batches=4, batch_samples=8).summary()
    return told | {"l1/flip_median": math.nan}


def test_tensorboard_takes_a_summary(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    told = numbers()
    with SummaryWriter(str(tmp_path)) as writer:
        for name, value in told.items():
            writer.add_scalar(f"clever/{name}", value, 7)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {f"clever/{name}" for name in told}
    (event,) = events.Scalars("clever/l2.5/score_mean")
    assert (event.step, event.value) == (7, pytest.approx(told["l2.5/score_mean"]))


def test_mlflow_takes_a_summary(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    mlflow.set_experiment("scores")
    told = numbers()
    with mlflow.start_run() as run:
        mlflow.log_metrics(told, step=7)
    kept = mlflow.get_run(run.info.run_id).data.metrics
    assert kept == pytest.approx(told, nan_ok=True)


def test_weights_and_biases_takes_a_summary(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told = numbers()
    with wandb.init(mode="offline", project="test", dir=str(tmp_path)) as run:
        run.log(told, step=7, commit=True)
        kept = {name: run.summary[name] for name in told}
    assert kept == pytest.approx(told, nan_ok=True)


class Read(HTMLParser):
    """The rows of the tables in a page, and its tags; an error where one is not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.rows = [], set(), []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert not attrs
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


TAGS = {"p", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def test_a_result_is_a_short_table():
    warning = {"warnings": [{"said": ODD}]}
    images = [ODD, *(f"{n}.png" for n in range(1, len(LOW)))]
    page = run(LOW, ODD, warning, image=images)._repr_html_()
    read = Read(page)
    assert read.tags == TAGS
    head, *rows = read.rows
    assert head == [
        "image", "label", "predicted", "target", "norm", "score", "nearest flip", "status"
    ]  # fmt: skip
    assert rows[0] == [ODD, "0", "0", "1", "2", f"{LOW[0]:.4g}", "inf", "ok"]
    assert len(rows) == 20
    assert f"and {len(LOW) - 20} rows more" in page
    assert f"mean score {np.mean(LOW):.4g}" in page


def test_what_is_missing_is_empty_in_a_table():
    result = run(LOW[:1], "net", label=[None], image=[""], score=[math.nan])
    assert Read(result._repr_html_()).rows[1][:2] == ["0", ""]
    assert Read(result._repr_html_()).rows[1][5] == ""
    assert "0 images" in CleverResult(result.table.iloc[:0])._repr_html_()


def test_a_comparison_is_tables():
    found = cx.compare(run(LOW, ODD), run(HIGH, "strong"))
    read = Read(found._repr_html_())
    assert read.tags == TAGS
    assert any(row[0] == "mean A" for row in read.rows)
    assert any(row[0] == ODD for row in read.rows)
    assert "strong is more robust than" in found._repr_html_()


def test_a_plan_is_a_table():
    plan = cx.RunPlan(1_234_567, 90.0, 2**30, 0.02, 40, 512)
    head, values = Read(plan._repr_html_()).rows
    assert dict(zip(head, values, strict=True)) == {
        "gradients": "1,234,567",
        "rows": "40",
        "time": "90 s",
        "memory": "1.00 GiB",
        "scores to about": "2 %",
        "told by": "512 gradients",
    }
