"""Options in a file, and what a run keeps of its own."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_run import SmallRun

import clever_ext as cx
from clever_ext.cli import main


@pytest.fixture
def small(tmp_path, monkeypatch):
    small = SmallRun(tmp_path, n_images=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    return small


OPTIONS = {
    "model": "tiny_net:net",
    "images": "pictures",
    "image_size": 8,
    "label-pattern": r"_(\d)\.png",
    "targets": "top2",
    "norm": [2, "inf"],
    "n-batches": 4,
    "batch-samples": 4,
    "radius": 0.5,
    "no-clip": True,
    "keep-witness": False,
    "workers": 0,
    "seed": 3,
    "limit": None,
    "prepare": ["none"],
}


def written(options, name="run.yaml"):
    Path(name).write_text(yaml.safe_dump(options))
    return name


def settings(out):
    return cx.load_run(out).metadata["settings"]


def test_options_from_a_file_and_what_is_given_besides(small):
    assert main(["score", "--config", written(OPTIONS), "--out", "a", "--seed", "4"]) == 0
    found = settings("a")
    assert (found["seed"], found["n_batches"], found["norms"]) == (4, 4, ["2", "inf"])
    assert found["clip"] is None
    assert cx.load_run("a").table["label"].notna().all()
    json_file = small.path / "run.json"
    json_file.write_text(json.dumps(OPTIONS))
    assert main(["check", f"--config={json_file}", "--seed=4"]) in (0, 1)


def test_what_was_run_is_kept_and_runs_again(small, capsys):
    assert main(["score", "--config", written(OPTIONS), "--out", "a", "--seed", "4"]) == 0
    kept = yaml.safe_load((small.path / "a" / "config.yaml").read_text())
    assert kept["seed"] == 4
    assert kept["norm"] == ["2", "inf"]
    assert kept["no-clip"] is True
    assert not kept.keys() & {"config", "help", "keep-witness", "limit", "clip", "dry-run"}
    capsys.readouterr()
    assert main(["score", "--config", "a/config.yaml"]) == 0
    assert "Going on: 2 of 2 pictures are finished" in capsys.readouterr().err
    assert main(["score", "--config", "a/config.yaml", "--out", "b"]) == 0
    assert settings("b") == settings("a")
    assert cx.load_run("b").metadata["run_id"] == cx.load_run("a").metadata["run_id"]


def test_a_refused_run_leaves_the_file_of_another_alone(small):
    assert main(["score", "--config", written(OPTIONS), "--out", "a"]) == 0
    before = (small.path / "a" / "config.yaml").read_bytes()
    assert main(["score", "--config", written(OPTIONS), "--out", "a", "--seed", "9"]) == 2
    assert (small.path / "a" / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n-batchs: 4", "'n-batchs' is no option of clever-ext score.*write n-batches"),
        ("config: other.yaml", "'config' is no option"),
        ("race: 1", "race is 1. Expected: true or false"),
        ("seed: [1, 2]", r"seed is \[1, 2\]. Expected: one number or text"),
        ("seed: true", "seed is True"),
        ("- seed", "holds no options by name"),
        ("seed: 1\nseed: 2", "seed stands there twice"),
        ("seed: [", "cannot be read"),
        ("", "holds no options"),
    ],
)
def test_what_a_file_may_not_hold(small, capsys, content, message):
    (small.path / "run.yaml").write_text(content)
    assert main(["score", "--config", "run.yaml", "--out", "a"]) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_a_file_that_is_not_there(small, capsys):  # noqa: ARG001
    assert main(["score", "--config", "nowhere.yaml", "--out", "a"]) == 2
    assert "nowhere.yaml' cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["score", "--config"])
    assert "expected one argument" in capsys.readouterr().err


def test_a_model_card(small, capsys):  # noqa: ARG001
    options = {**OPTIONS, "n-batches": None, "batch-samples": None, "radius": None}
    assert main(["score", "--config", written(options), "--out", "a"]) == 0
    capsys.readouterr()
    assert main(["report", "a", "--format", "card"]) == 0
    card = json.loads(capsys.readouterr().out)
    result = cx.load_run("a")
    assert card["name"] == "tiny_net:net"
    assert card["clever"].keys() == {"L2", "Linf"}
    assert card["clever"]["L2"]["mean"] == pytest.approx(result.scores[2].mean())
    assert card["clever"]["Linf"]["upper_median"] == np.median(result.flips[np.inf])
    right = (result.table["label"] == result.table["predicted"]).mean()
    assert card["clean_acc"] == f"{100 * right:.2f}"
    assert card["estimator"] == "bracket"
    assert card["weights_sha256"] == result.metadata["model"]["digest"]
    assert card["link"] is None
    cx.write_report(["a", result], "cards.json", format="card")
    both = json.loads(Path("cards.json").read_text())
    assert [each["run_id"] for each in both] == [card["run_id"]] * 2


def test_no_file_is_passed_over(small, capsys):  # noqa: ARG001
    written(OPTIONS)
    assert main(["score", "--config", "run.yaml", "--config", "run.yaml", "--out", "a"]) == 2
    assert "--config is given twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # an abbreviation
        main(["score", "--conf", "run.yaml", "--model", "x", "--images", "y", "--out", "a"])
    assert "unrecognized arguments: --conf run.yaml" in capsys.readouterr().err


def test_small_negative_numbers(small):  # noqa: ARG001
    options = {**OPTIONS, "mean": [-1e-05, 0.5, 0.5], "std": [1e-1, 0.2, 0.2]}
    assert main(["score", "--config", written(options), "--out", "a"]) == 0
