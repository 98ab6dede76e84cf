"""What a run's folder tells while the run goes on, or after."""

import numpy as np
import pandas as pd
import pytest

from clever_ext.progress import duration
from clever_ext.runs.log import Moments, Tally, open_log
from clever_ext.runs.status import read_status


def test_a_complete_run(small):
    small.score("run", norm=["2", "inf"])
    status = read_status(small.folder("run"))
    assert status.complete
    assert status.state == "complete"
    facts = dict(status.facts())
    assert facts["pictures"] == "6 of 6, 0 with errors"
    assert facts["pieces"] == "3 of 3"
    assert "waiting for pictures" in facts["time"]
    assert facts["gradients"] == f"{6 * 2 * 4 * 24:,}"
    scores = small.table("run").groupby(["image_id", "norm"])["score"].min().unstack()
    for norm in (2, np.inf):
        mean = f"l{norm:g} {scores[norm].mean():.4g}"
        half = f"± {1.96 * scores[norm].std() / np.sqrt(6):.2g}"
        assert f"{mean} {half}" in facts["mean scores"]


def test_a_run_at_work_and_a_stopped_one(small):
    small.score("run")
    folder = small.folder("run")
    folder.part(2).unlink()
    status = read_status(folder)
    assert not status.complete
    assert "the same command goes on" in status.state
    with folder.locked(None):
        assert read_status(folder).state == "running"
        assert "gradients/s" in dict(read_status(folder).facts())["speed"]


def test_a_part_that_the_log_does_not_know_is_counted(small):
    small.score("run")
    whole = read_status(small.folder("run")).tally
    log = small.folder("run").log
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"piece": 1' not in line))
    part = read_status(small.folder("run")).tally
    assert part.images == whole.images
    assert part.gradients == whole.gradients
    assert part.scores["2"].mean == pytest.approx(whole.scores["2"].mean, rel=1e-12)


def test_a_piece_that_is_scored_twice_counts_once_and_odd_lines_not_at_all(tmp_path):
    path = tmp_path / "log.jsonl"
    facts = {"images": 2, "errors": 0, "gradients": 10, "scores": {"2": [2, 3.0, 5.0]}}
    with open_log(path) as log:
        for piece in (0, 1, 0):
            log.write("piece", piece=piece, **facts)
    with path.open("a") as file:
        file.write('not json\n[1]\n{"event": "piece"}\n{"event": "piece", "piece": 7')
    tally = Tally(path)
    tally.update()
    tally.update()
    assert set(tally.pieces) == {0, 1}
    assert tally.images == 4
    with open_log(path) as log:
        log.write("piece", piece=2, **facts)
    tally.update()
    assert set(tally.pieces) == {0, 1, 2}


def test_moments():
    values = np.random.default_rng(0).normal(3, 2, 50)
    moments = Moments()
    for part in np.split(values, 5):
        moments.add(len(part), part.sum(), (part**2).sum())
    assert moments.mean == pytest.approx(values.mean())
    assert moments.half_width == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(50))
    assert np.isnan(Moments().mean)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (90, "90 s"), (600, "10 min"), (12000, "3 h 20 min"), (187200, "2 d 4 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("damage", ["cut", "foreign", "another run's", "another piece"])
def test_a_part_that_a_report_would_refuse_is_not_finished(small, damage):
    small.score("run")
    folder = small.folder("run")
    part = folder.part(1)
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:500])
    elif damage == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(part)
    elif damage == "another run's":
        small.score("other", seed=1)
        part.write_bytes(small.folder("other").part(1).read_bytes())
    else:
        part.write_bytes(folder.part(0).read_bytes())
    status = read_status(folder)
    facts = dict(status.facts())
    assert not status.complete
    assert status.tally.images == 4
    assert facts["pictures"] == "4 of 6, 0 with errors"
    assert facts["pieces"] == "2 of 3"
    assert "part-00001.parquet" in facts["damaged parts"]
    small.score("run")
    assert read_status(folder).complete


def test_a_piece_that_is_gone_is_not_counted(small):
    small.score("run")
    small.folder("run").part(1).unlink()
    assert read_status(small.folder("run")).tally.images == 4


def test_a_log_that_cannot_be_read_is_done_without(small):
    small.score("run")
    folder = small.folder("run")
    folder.log.unlink()
    folder.log.mkdir()
    status = read_status(folder)
    assert status.complete
    assert status.tally.images == 6
    assert dict(status.facts())["pictures"] == "6 of 6, 0 with errors"


def test_the_mean_of_one_score_has_no_interval():
    tally = Tally(None)
    tally.add(0, 0.0, {"images": 1, "errors": 0, "gradients": 1, "scores": {"2": [1, 0.5, 0.25]}})
    assert tally.means() == "l2 0.5"
