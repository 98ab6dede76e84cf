"""First-order scores on disk and after: runs, the command line, reports, exports, comparisons."""

import json

import numpy as np
import pandas as pd
import pytest
from small_run import SmallRun, assert_same_bits

import clever_ext as cx
from clever_ext.cli import main
from clever_ext.cli.tables import print_scores
from clever_ext.report.reading import read_runs
from clever_ext.report.rows import make_rows
from clever_ext.results import glossary


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = SmallRun(tmp_path_factory.mktemp("first-order"))
    for out, estimator in (("run", "first-order"), ("paper", "clever")):
        assert (
            made.score(out, estimator=estimator, norm=[2, "inf"], radius={2: 0.5, "inf": 0.1}) == 0
        )
    return made


def test_a_run_has_the_bits_of_its_shards(small):
    how = {"estimator": "first-order", "norm": [2, "inf"], "radius": {2: 0.5, "inf": 0.1}}
    for part in range(2):
        assert small.score(f"shard{part}", shard=(part, 2), **how) == 0
    parts = [small.path / f"shard{part}" for part in range(2)]
    assert main(["merge", *map(str, parts), "--out", str(small.path / "whole")]) == 0
    assert_same_bits(small.table("whole"), small.table("run"))


def test_a_run_that_was_stopped_goes_on(small, monkeypatch):
    from clever_ext.runs.scorer import Scorer

    calls, piece = [], Scorer.piece

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return piece(*arguments)

    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 2)
    monkeypatch.setattr(Scorer, "piece", stopped)
    assert small.score("again", estimator="first-order") == 130
    monkeypatch.setattr(Scorer, "piece", piece)
    assert small.score("again", estimator="first-order") == 0
    assert small.score("at-once", estimator="first-order") == 0
    assert_same_bits(small.table("again"), small.table("at-once"))


def test_the_column_of_a_run_is_the_score_of_another(small):
    own, paper = small.table("run"), small.table("paper")
    assert (own["estimator"] == "first-order").all()
    assert np.array_equal(own["score"], np.minimum(own["first_order"], own["radius"]))
    assert np.allclose(own["first_order"], paper["first_order"], rtol=1e-5)
    parts = sorted((small.path / "paper" / "parts").iterdir())
    raw = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    assert np.array_equal(raw["first_order"], paper["first_order"])


def test_the_command_scores_and_prints_it(small, monkeypatch, capsys):
    monkeypatch.chdir(small.path)
    monkeypatch.syspath_prepend(str(small.path))
    words = [*small.searching[2:], "--out", "by-command", "--estimator", "first-order"]
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main([*words, "--norm", "1", "2", "inf"]) == 0
    said = capsys.readouterr().out
    heading = next(line for line in said.splitlines() if line.startswith("picture"))
    assert "interval" not in heading
    assert "first order" not in heading
    rows = small.table("by-command")
    assert (rows["radius"] == rows["score"]).all()
    assert not rows["capped"].any()
    assert main([*words[:-4], "--out", "dry", "--estimator", "first-order", "--dry-run"]) == 0
    assert "gradients" in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminals_leave_the_column_out_and_say_so(small, monkeypatch, capsys, width):
    result = cx.load_run(small.path / "paper")
    monkeypatch.setenv("COLUMNS", str(width))
    print_scores(result, list("abcde"))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "first order" in " ".join(said.partition("Left out for want of room")[2].split())
    monkeypatch.setenv("COLUMNS", "200")
    print_scores(result, list("abcde"))
    said = capsys.readouterr().out
    assert "first order" in said.splitlines()[0]
    assert f"{result.smallest()[0]['first_order']:.4g}" in said.splitlines()[2]


def test_results_without_it_show_no_empty_column(small, capsys):
    result = cx.load_run(small.path / "paper")
    print_scores(cx.CleverResult(result.table.assign(first_order=np.nan), result.metadata))
    assert "first order" not in capsys.readouterr().out


def test_reports_and_exports_have_it(small, tmp_path):
    runs = [small.path / "run", small.path / "paper"]
    for name, form in (("page", "html"), ("rows", "csv"), ("all", "json")):
        cx.write_report(runs, tmp_path / name, form)
    assert glossary.explain("first order") in (tmp_path / "page").read_text()
    table = pd.read_csv(tmp_path / "rows")
    both = pd.concat([small.table("run"), small.table("paper")])
    assert np.allclose(table["first_order"], both["first_order"])
    rows = json.loads((tmp_path / "all").read_text())["runs"][1]["rows"]
    assert rows[0]["first_order"] == small.table("paper")["first_order"][0]
    for run in read_runs(runs):
        row = make_rows(run, list(run.result.table["image_id"].unique()), {})[0]
        said = dict(row.details["facts"])
        decisive = run.result.decisive().iloc[0]
        assert said["first order"] == f"{decisive['first_order']:.4g}"
        assert ("steepest seen (L')" in said) == (decisive["estimator"] == "first-order")


def test_comparisons_of_it_ask_for_no_batches(small):
    for out, seed, n_batches in (("a", 0, 6), ("b", 1, 9)):
        assert small.score(out, estimator="first-order", seed=seed, n_batches=n_batches) == 0
    b = cx.load_run(small.path / "b")
    moved = cx.CleverResult(b.table.assign(score=b.table["score"] * 2), b.metadata)
    found = cx.compare(small.path / "a", moved)
    assert set(found.pairs["estimator"]) == {"first-order"}
    assert not any("gradients a row" in each for row in found.pairs["cautions"] for each in row)
    assert np.allclose(found.pairs["ratio"], 0.5)


def test_it_is_not_refined(small):
    result = cx.load_run(small.path / "run")
    with pytest.raises(cx.CleverError, match="batches of samples"):
        cx.refine(result, small.model.model, np.zeros((6, 3, 8, 8), np.float32), n_batches=9)
    pd.testing.assert_frame_equal(cx.refit(result).table, result.table)
