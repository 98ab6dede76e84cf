"""Runs that keep the points behind their scores."""

import numpy as np
import pytest
from small_run import SmallRun

from clever_ext import CleverError
from clever_ext.cli import main
from clever_ext.results.brackets import POINTS, with_deciding_points
from clever_ext.runs.estimate import run_bytes

BRACKET = {"estimator": "steepest", "radius": "auto", "norm": [2, "inf"], "max_gradients": 40}


@pytest.fixture
def small(tmp_path):
    return SmallRun(tmp_path, 4)


def lengths(table, name):
    return table[name].map(len).groupby([table["image_id"], table["norm"]]).agg(["sum", "max"])


def test_a_run_keeps_the_points_that_decide(small):
    assert small.score("run", keep_witness=True, **BRACKET) == 0
    result = small.folder("run").load()
    assert result.metadata["settings"]["keep_witness"]
    table = result.table
    for name in POINTS:  # one point of each picture and norm
        assert (lengths(table, name) == 3 * 8 * 8).all(axis=None)
    decides = result.decisive()
    assert (decides["steepest"].map(len) > 0).all()
    nearest = table[table["witness"].map(len) > 0]
    found = {(row.image_id, row.norm): row.nearest_flip for row in nearest.itertuples()}
    images = table["image_id"].unique()
    for norm, flips in result.flips.items():
        assert [found[image, norm] for image in images] == flips.tolist()
    assert small.score("plain", **BRACKET) == 0
    plain = small.table("plain")
    assert table.drop(columns=list(POINTS)).equals(plain.drop(columns=list(POINTS)))
    assert (plain["witness"].map(len) == 0).all()


def test_a_run_without_points_does_not_go_on_with_them(small):
    assert small.score("run", **BRACKET) == 0
    with pytest.raises(CleverError, match=r"settings\.keep_witness was None, now it is True"):
        small.score("run", keep_witness=True, **BRACKET)


def test_the_search_of_one_ball_keeps_its_steepest_point(small):
    assert small.score("run", keep_witness=True, **BRACKET | {"radius": 0.5}) == 0
    result = small.folder("run").load()
    assert (lengths(result.table, "witness") == 3 * 8 * 8).all(axis=None)
    assert (result.decisive()["witness"].map(len) > 0).all()
    assert (result.table["steepest"].map(len) == 0).all()


def test_what_a_run_will_take_knows_of_points(small):
    """Real points of noise, which packs worst: what is foretold is what is written."""
    assert small.score("run", keep_witness=True, **BRACKET) == 0
    assert small.score("plain", **BRACKET) == 0
    written = [
        sum(path.stat().st_size for path in small.folder(name).finished().values())
        for name in ("run", "plain")
    ]
    foretold = [
        run_bytes(small.scorer(keep_witness=keep, **BRACKET).settings, 4, 32, 1, 3 * 8 * 8)
        for keep in (True, False)
    ]
    assert foretold[0] - foretold[1] == 4 * 2 * 2 * 192 * 4
    assert 0.5 < (written[0] - written[1]) / (foretold[0] - foretold[1]) < 2


def test_the_command_keeps_them(small, monkeypatch, capsys):
    monkeypatch.chdir(small.path)
    monkeypatch.syspath_prepend(str(small.path))
    command = [*small.searching[2:], "--estimator", "steepest", "--radius", "auto"]
    command += ["--max-gradients", "20", "--keep-witness", "--out", "run", "--limit", "2"]
    assert main(command) == 0
    table = small.table("run")
    assert (lengths(table, "steepest")["sum"] == 192).all()
    assert main([*command, "--estimator", "clever"]) == 2
    assert "keep_witness with estimator='clever'" in capsys.readouterr().err


def test_nothing_but_points_changes(small):
    assert small.score("run", **BRACKET) == 0
    result = small.folder("run").load()
    result.table["witness"] = [np.ones(2)] * len(result.table)
    kept = with_deciding_points(result)
    rest = [name for name in kept.table if name not in POINTS]
    assert kept.table[rest].equals(result.table[rest])
    assert all(len(x) == 2 for x in result.table["witness"])  # the given one is not touched
