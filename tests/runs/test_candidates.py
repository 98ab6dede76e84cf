"""Points of others, from a file, in a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clever_ext.cli import main
from clever_ext.runs.folder import RunFolder

#: The first class wins where the mean is below a half: attacks are pictures that are bright.
NETWORK = """
import torch

class Bright(torch.nn.Module):
    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([1 - mean, mean], dim=1)
"""
SHAPE = (3, 8, 8)
NAMES = ["a/1.png", "a/2.png", "b.png"]


@pytest.fixture
def place(tmp_path, monkeypatch, one_thread):  # noqa: ARG001
    (tmp_path / "bright_net.py").write_text(NETWORK)
    (tmp_path / "pictures/a").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        pixels = np.full((8, 8, 3), 40 + 20 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    monkeypatch.chdir(tmp_path)


def score(*more, command="score"):
    words = "--model bright_net:Bright --images pictures --image-size 8 --workers 0 --labels none "
    words += "--max-gradients 16 --prepare none --device-batch 8 --out run"
    return main([command, *words.split(), *more])


def rows(folder="run"):
    return RunFolder(folder).load().table.set_index("image")


def attack(level, n=None):
    points = np.full(SHAPE, level, dtype=np.float32)
    return points if n is None else np.stack([points] * n)


@pytest.mark.usefixtures("place")
def test_points_lower_the_upper_end_of_their_pictures_alone(capsys):
    assert score("--norm", "inf", "--out", "alone") == 0
    alone = rows("alone")
    # The first has two points, one of them on the border itself; the last has none.
    first = np.stack([attack(0.9), attack(0.5001)])
    np.savez("points.npz", **{NAMES[0]: first, NAMES[1]: attack(0.9)})
    assert score("--norm", "inf", "--candidates", "points.npz", command="check") in (0, 1)
    assert "3 candidates for 2 of 3 pictures" in capsys.readouterr().out
    assert score("--norm", "inf", "--candidates", "points.npz") == 0
    assert "3 candidates for 2 of 3 pictures" in capsys.readouterr().err
    found = rows()
    spent = (found["n_gradients"] - alone["n_gradients"]).to_dict()
    assert spent == dict(zip(NAMES, (2, 1, 0), strict=True))
    assert found["nearest_flip"][NAMES[0]] <= 0.5001 - 40 / 255 + 1e-6
    assert found["score"][NAMES[2]] == alone["score"][NAMES[2]]
    # The same by numbers of pictures.
    ids = found["image_id"][NAMES[:2]].to_numpy()
    np.savez("numbers.npz", image_id=ids[::-1], points=[attack(0.9, 1), attack(0.5001, 1)])
    assert score("--norm", "inf", "--candidates", "numbers.npz", "--out", "numbered") == 0
    assert rows("numbered")["nearest_flip"][NAMES[0]] == found["nearest_flip"][NAMES[0]]


@pytest.mark.usefixtures("place")
def test_a_run_goes_on_with_the_same_points_alone(capsys):
    np.savez("points.npz", **{NAMES[0]: attack(0.6)})
    np.savez("same.npz", **{NAMES[0]: attack(0.6)})
    np.savez("other.npz", **{NAMES[0]: attack(0.7)})
    assert score("--candidates", "points.npz") == 0
    assert len(json.loads(Path("run/run.json").read_text())["settings"]["candidates"]) == 64
    assert score("--candidates", "same.npz") == 0
    for other in (["--candidates", "other.npz"], []):
        assert score(*other) == 2
        assert "settings.candidates was" in capsys.readouterr().err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"c.png": attack(0.5)}, "does not have: names c.png"),
        ({NAMES[0]: attack(0.5)[:, :4]}, "of shape [3, 4, 8]"),
        ({NAMES[0]: np.empty((0, *SHAPE))}, "of shape [0, 3, 8, 8]"),
        ({NAMES[0]: np.full(SHAPE, 200, dtype=np.uint8)}, "are uint8"),
        ({NAMES[0]: attack(120.0)}, "hold values from 120 to 120"),
        ({NAMES[0]: attack(np.nan)}, "hold values from nan"),
        ({"image_id": np.array([7]), "points": attack(0.5, 1)}, "does not have: image_id 7"),
        ({"image_id": np.array([7, 7]), "points": attack(0.5, 2)}, "image_id in points.npz"),
        ({"image_id": np.array([0.5]), "points": attack(0.5, 1)}, "image_id in points.npz"),
        ({NAMES[0]: np.array([None])}, "cannot be read"),
    ],
)
def test_what_does_not_suit_the_run_is_refused(capsys, arrays, message):
    np.savez("points.npz", **arrays)
    assert score("--candidates", "points.npz") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Expected:" in said
    assert not Path("run").exists()


@pytest.mark.usefixtures("place")
def test_files_that_are_none_and_estimators_that_take_none(capsys):
    np.save("points.npy", attack(0.5))
    Path("words.npz").write_text("words")
    for name in ("points.npy", "words.npz", "nowhere.npz"):
        assert score("--candidates", name) == 2
        assert "cannot be read" in capsys.readouterr().err
    np.savez("points.npz", **{NAMES[0]: attack(0.6)})
    clever = ["--estimator", "clever", "--candidates", "points.npz"]
    assert main(["score", "--model", "bright_net:Bright", "--images", "pictures", "--out", "run",
                 *clever]) == 2  # fmt: skip
    assert "candidates with estimator='clever'" in capsys.readouterr().err
