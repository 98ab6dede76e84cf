"""`clever-ext check`, and the same checks before `score`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clever_ext.cli import main

#: The class of a picture is its brightest row of eight.
NETWORK = """
import torch

class Rows(torch.nn.Module):
    def forward(self, x):
        return 9 * x.mean(dim=(1, 3))

class Wide(Rows):  # three classes more, which are never right
    def forward(self, x):
        return torch.nn.functional.pad(super().forward(x), (0, 3), value=-9.0)

class Shares(Rows):
    def forward(self, x):
        return super().forward(x).softmax(dim=1)
"""
HOW = ["--image-size", "8", "--workers", "0", "--threads", "1", "--n-batches", "2"]
HOW += ["--batch-samples", "4", "--targets", "top2", "--radius", "2", "--prepare", "none"]


@pytest.fixture
def place(tmp_path, monkeypatch, one_thread):  # noqa: ARG001
    """A folder with a network and pictures in folders of their classes, by some names."""
    (tmp_path / "rows_net.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)

    def pictures(names=tuple("01234567"), n=3):
        noise = np.random.default_rng(0)
        for row, name in enumerate(names):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number in range(n):
                pixels = noise.integers(0, 60, (8, 8, 3), dtype=np.uint8)
                pixels[row] += 150
                Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
        return "data"

    return pictures


def run(command, images, *more, model="Rows"):
    return main([command, "--model", f"rows_net:{model}", "--images", images, *HOW, *more])


def test_nothing_to_say(place, capsys):
    assert run("check", place()) == 0
    told = capsys.readouterr().out
    for said in (
        "✓ model     8 logits, computed in float32 on cpu",
        "24 .png",
        "24 of 24 that were tried can be read: 8 x 8 to 8 x 8 pixels, 24 RGB",
        "24 of 24 images that were looked at are classified right (100%)",
        "radius 2 in l2",
        "192 gradients for 24 rows",
        "GiB are free",
    ):
        assert " ".join(said.split()) in " ".join(told.split())
    assert "Fix:" not in told


def test_arrays_of_the_size_are_not_resized(place, capsys):
    place()
    np.save("pixels.npy", np.zeros((6, 8, 8, 3), dtype=np.uint8))
    run("check", "pixels.npy")
    assert "(arrays that have this size already are not resized)" in capsys.readouterr().out
    run("check", "data")
    assert "not resized" not in capsys.readouterr().out


def test_numbers_in_another_order_are_told_with_the_option_that_mends_it(place, capsys):
    images = place(("1", "2", "3", "4", "5", "6", "7", "8"))
    assert run("check", images) == 2  # class 8 is out of range
    assert "✗ labels" in capsys.readouterr().out
    assert run("check", images, "--label-order", "text") == 0


def test_text_order_is_told_apart_from_numbers(place, capsys):
    """As torchvision's ImageFolder numbers folders whose names are numbers of two lengths."""
    images = place(("0", "1", "10", "2", "3", "4", "5", "6"))
    assert run("check", images, "--label-map", "map.json") == 2  # which is not there
    capsys.readouterr()
    assert run("check", images, model="Wide") == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "6 of 24 images that were looked at are classified right (25%), but 24" in told
    assert "say --label-order text" in told


def test_what_is_doubtful_is_one_and_what_is_refused_two(place, capsys):
    images = place()
    assert run("check", images, model="Shares") == 1
    assert "probabilities" in capsys.readouterr().out
    assert run("check", images, "--targets", "9") == 2
    assert run("check", images, "--out", "rows_net.py") == 2
    assert "✗ place" in capsys.readouterr().out


def test_pictures_that_cannot_be_read_are_counted(place, capsys):
    images = place()
    for name in ("0/0.png", "3/1.png"):
        Path("data", name).write_bytes(b"no picture")
    assert run("check", images) == 1
    assert "2 of 24 pictures that were tried cannot be read" in capsys.readouterr().out


def test_score_says_the_same_first_and_last_and_keeps_it(place, capsys):
    images = place()
    assert run("score", images, "--out", "run", model="Shares") == 0
    told = capsys.readouterr()
    assert "probabilities" in told.err
    assert "probabilities" in told.out
    kept = json.loads(Path("run/run.json").read_text())["warnings"]
    assert any("probabilities" in each["said"] for each in kept)


def test_score_says_that_labels_are_guesses(place, capsys):
    images = place()
    names = [f"{row}/{n}.png" for row in range(8) for n in range(3)]
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3)).tolist()
    lines = ["name,label", *(f"{name},{k % 8}" for name, k in zip(names, order, strict=True))]
    Path("labels.csv").write_text("\n".join(lines))
    run("score", images, "--labels", "labels.csv", "--out", "run")
    told = capsys.readouterr()
    assert "no better than guessing" in told.err
    assert "no better than guessing" in told.out
