"""Grey pictures, and pictures that are not square, from files to scores."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from clever_ext.cli import main
from clever_ext.data import package_folder
from clever_ext.runs.folder import RunFolder

FEW = ["--n-batches", "3", "--batch-samples", "2", "--targets", "top2", "--prepare", "none"]
WIDE = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 4), torch.nn.Tanh(), torch.nn.Flatten(),
        torch.nn.Linear(4 * 24 * 48, 5),
    )
"""


def score(*arguments: str, out: str = "run") -> RunFolder:
    assert main(["score", *arguments, *FEW, "--out", out]) == 0
    return RunFolder(out)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(
    importlib.util.find_spec("advertorch_examples") is None, reason="published weights are missing"
)
def test_a_published_network_of_mnist_reads_files_and_arrays_alike(workplace):
    files = package_folder("foolbox") / "data"
    of_mnist = ["--model", "published:lenet_clean", "--image-size", "28", "--channels", "1"]
    run = score(
        *of_mnist, "--images", str(files), "--include", "mnist_*", "--label-pattern", r"_(\d)\.png"
    )
    table = run.load().table
    assert len(table) == 20
    assert (table["label"] == table["predicted"]).mean() >= 0.95
    description = json.loads((workplace / "run/run.json").read_text())
    assert description["preprocessing"]["channels"] == 1
    pictures = [np.asarray(Image.open(path)) for path in sorted(files.glob("mnist_*.png"))]
    np.save("pictures.npy", np.stack(pictures))
    of_arrays = score(*of_mnist, "--images", "pictures.npy", out="other").load().table
    assert of_arrays["predicted"].tolist() == table["predicted"].tolist()
    np.testing.assert_array_equal(of_arrays["margin"], table["margin"])


def test_photographs_of_another_shape(workplace):
    (workplace / "wide_net.py").write_text(WIDE)
    files = package_folder("foolbox") / "data"
    run = score(
        *["--model", "wide_net:net", "--image-size", "96", "192", "--crop-pct", "0.9"],
        *["--crop-mode", "border", "--interpolation", "bilinear"],
        *["--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25"],
        *["--images", str(files), "--include", "imagenet_0[0-2]*"],
    )
    assert run.load().table["status"].ne("error").all()
    description = json.loads((workplace / "run/run.json").read_text())
    assert description["preprocessing"] == {
        "image_size": [96, 192],
        "resize": [106, 213],
        "interpolation": "bilinear",
        "crop_mode": "border",
        "channels": 3,
        "fill": [128, 128, 128],
    }
    assert main(["report", "run", "--out", "page.html"]) == 0
    assert (workplace / "page.html").read_text().count("data:image/webp") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "8", "8", "8"], "image_size is [8, 8, 8]"),
        (["--resize", "0"], "resize is [0]"),
        (["--resize", "9", "--crop-pct", "0.9"], "one of them"),
        (["--mean", "123.675", "116.28", "103.53", "--std", "58", "57", "57"], "divide by 255"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_what_does_not_fit_is_refused_before_the_run(options, message, capsys):
    command = ["score", "--model", "torch.nn:Flatten", "--images", "none", "--out", "run"]
    assert main([*command, *options]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
