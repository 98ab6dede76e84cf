"""`clever-ext validate`."""

import sys
from pathlib import Path

import pytest
import yaml
from small_run import SmallRun

import clever_ext as cx
from clever_ext.cli import main
from clever_ext.validation import attacks

COMMAND = ["validate", "--model", "tiny_net:net", "--images", "pictures", "--image-size", "8"]
COMMAND += ["--attacks", "FMN", "boundary", "--attack-gradients", "20", "--max-gradients", "20"]
COMMAND += ["--n-batches", "4", "--batch-samples", "4", "--workers", "0", "--threads", "1"]
COMMAND += ["--device-batch", "32", "--prepare", "none"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    small = SmallRun(tmp_path, n_images=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    return small


def test_a_table_words_and_what_ran(small, capsys):  # noqa: ARG001 - it is where the files are
    assert main([*COMMAND, "--norm", "2", "inf", "--out", "v"]) == 0
    shown = capsys.readouterr()
    for text in ("lower end of the bracket", "the paper's", "too few", "boundary", "Results: v"):
        assert text in shown.out
    assert "Attacks on 6 rows: FMN, boundary; about 180 gradients." in shown.err
    assert shown.err.count("the pictures have no labels") == 1
    assert main([*COMMAND, "--norm", "2", "inf", "--out", "v"]) == 0
    again = capsys.readouterr()
    assert again.out == shown.out
    assert "FMN, p = 2:" not in again.err


def test_it_is_what_python_does(small):
    assert main([*COMMAND, "--out", "v"]) == 0
    model = cx.load_model("tiny_net:net", image_size=8)
    found = cx.validate(
        model, small.pictures, "v", attacks=["FMN", "boundary"], attack_gradients=20,
        max_gradients=20, n_batches=4, batch_samples=4, device_batch=32, prepare="none",
        progress=False,
    )  # fmt: skip
    assert len(found.rows) == 3


def test_options_from_a_file_and_back(small, capsys):  # noqa: ARG001
    options = dict(zip([each[2:] for each in COMMAND[1:-2:2]], COMMAND[2:-1:2], strict=True))
    assert main([*COMMAND, "--out", "v"]) == 0
    kept = yaml.safe_load(Path("v/config.yaml").read_text())
    assert kept["attack-gradients"] == 20
    assert kept["attacks"] == ["FMN", "boundary"]
    assert options["model"] == kept["model"]
    assert main(["validate", "--config", "v/config.yaml"]) == 0
    for others in (["--attack-gradients", "21"], ["--max-gradients", "21"]):  # refused, late
        assert main([*COMMAND, *others, "--out", "v"]) == 2
        assert yaml.safe_load(Path("v/config.yaml").read_text()) == kept


def test_refusals_come_before_any_work(small, monkeypatch, capsys):  # noqa: ARG001
    assert main([*COMMAND, "--attacks", "PGD", "--out", "v"]) == 2
    assert "'PGD' is no attack" in capsys.readouterr().err
    for library in attacks.LIBRARIES:
        monkeypatch.setitem(attacks.LIBRARIES, library, ("no_such_library_of_attacks",))
    assert main([*COMMAND, "--out", "v"]) == 2
    assert "pip install 'clever_ext[attacks]'" in capsys.readouterr().err
    assert not Path("v").exists()


def test_a_picture_without_a_score_is_told_by_the_status(small, capsys):
    (small.pictures / "q_1.png").write_bytes(b"no picture")
    assert main([*COMMAND, "--out", "v"]) == 3
    assert "1 without a score of 4 pictures" in capsys.readouterr().out
