"""`clever-ext compare`, on files and run folders as `clever-ext score` writes them."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

import clever_ext as cx
from clever_ext.cli import main

FACTORY = """
import torch

def net(ripple):
    class Net(torch.nn.Module):
        def forward(self, x):  # whether a picture is bright, with ripples that make it steep
            z = 8 * (x.flatten(1) - 0.5).mean(dim=1)
            return torch.stack([z + ripple * torch.sin(20 * z), -z], dim=1)
    return Net()

def weak():
    return net(0.1)

def strong():
    return net(0.0)
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two run folders over the same twelve pictures."""
    (tmp_path / "two_nets.py").write_text(FACTORY)
    (tmp_path / "pictures").mkdir()
    noise = np.random.default_rng(0)
    for number in range(12):
        pixels = noise.integers(80 + 8 * number, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}_0.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "two_nets", raising=False)
    for name in ("weak", "strong"):
        arguments = ["--images", "pictures", "--label-pattern", r"_(\d)\.png", "--image-size", "8"]
        arguments += ["--norm", "2", "inf", "--radius", "9", "0.5", "--targets", "all"]
        few = ["--n-batches", "4", "--batch-samples", "4", "--prepare", "none"]
        main(["score", "--model", f"two_nets:{name}", *arguments, *few, "--out", f"runs/{name}"])
    return tmp_path


def compare(*arguments):
    return main(["compare", "runs/weak", "runs/strong", *arguments])


def test_the_verdict_comes_first_and_lines_fit(runs, capsys, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert compare() == 0
    lines = capsys.readouterr().out.splitlines()
    said = " ".join(" ".join(lines).split())
    assert lines[1] == "Verdict"
    assert lines[2].startswith("p = 2, clever: two_nets:strong is more robust than")
    assert "p = inf, clever: two_nets:strong is more robust than two_nets:weak" in said
    assert "two_nets:weak (A) against two_nets:strong (B), clever" in said
    assert max(map(len, lines)) <= 80
    monkeypatch.setenv("COLUMNS", "60")
    assert compare() == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 60
    assert "\n\n\n" not in narrow
    assert "Left out" not in narrow  # further tables have what one has no room for


def test_other_formats(runs, capsys):
    capsys.readouterr()
    assert compare("--format", "md") == 0
    assert capsys.readouterr().out.startswith("### Verdict\n\n- p = 2")
    assert compare("--format", "json", "-o", "found.json", "--norm", "inf") == 0
    found = json.loads((runs / "found.json").read_text())
    assert [row["norm"] for row in found["pairs"]] == ["inf"]
    in_python = cx.compare("runs/weak", runs / "runs/strong", norm="inf")
    assert found["pairs"][0]["ratio_low"] == in_python.pairs["ratio_low"][0]
    assert compare("--format", "csv", "-o", "found.csv") == 0
    rows = list(csv.DictReader((runs / "found.csv").open()))
    assert [row["norm"] for row in rows] == ["2.0", "inf"]
    assert rows[0]["more_robust"] == "two_nets:strong"
    assert compare("-o", "found.txt", "--confidence", "0.9") == 0
    assert "90% intervals" in " ".join((runs / "found.txt").read_text().split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/weak"], "one run is given"),
        (["runs/weak", "nowhere"], "nowhere holds no run"),
        (["runs/weak", "no.parquet"], "no.parquet cannot be read"),
        (["runs/weak", "runs/strong", "--norm", "1"], "norm 1 is not in every run"),
        (["runs/weak", "runs/strong", "--confidence", "95"], "confidence=95"),
        (["runs/weak", "runs/strong", "-o", "no/such/file"], "no/such/file cannot be written"),
    ],
)
def test_bad_input_ends_with_status_2(runs, capsys, arguments, message):  # noqa: ARG001
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Expected:" in error
