"""`cx.score_run`: what the command line's `score` does, from Python."""

import os
import signal
import sys

import numpy as np
import pytest
import torch
from small_run import SmallRun
from torch.utils.data import TensorDataset

import clever_ext as cx
from clever_ext.cli import main
from clever_ext.runs import loop

SETTINGS = {"norm": [2, "inf"], "targets": "all", "prepare": "none", "device_batch": 32}


@pytest.fixture
def small(tmp_path, monkeypatch):
    small = SmallRun(tmp_path, n_images=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 2)
    return small


def same(a, b):
    columns = [name for name in a.table.columns if name not in ("maxima", "witness", "steepest")]
    return a.table[columns].equals(b.table[columns])


def run(model, images, out, **how):
    return cx.score_run(model, images, out, **{**SETTINGS, "progress": False, **how})


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
@pytest.mark.parametrize("how", [{}, {"n_batches": 6, "batch_samples": 4}])
def test_it_is_what_the_command_does(small, how):  # noqa: ARG001 - it is where the files are
    command = ["score", "--model", "tiny_net:net", "--image-size", "8", "--images", "pictures"]
    command += ["--norm", "2", "inf", "--targets", "all", "--prepare", "none"]
    command += ["--device-batch", "32", "--workers", "0", "--threads", "1"]
    for name, value in how.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    torch.set_num_threads(1)
    assert main([*command, "--out", "a"]) == 0
    model = cx.load_model("tiny_net:net", image_size=8)
    result = run(model, "pictures", "b", **how)
    assert same(result, cx.load_run("a"))
    assert result.metadata["complete"]
    assert result.metadata["run_id"] == cx.load_run("a").metadata["run_id"]
    assert set(result.table["estimator"]) == ({"clever"} if how else {"steepest"})
    assert main([*command, "--out", "b"]) == 0  # one goes on with the other's run


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_models_and_pictures_in_any_form(small):
    module = small.model.model
    x = torch.rand(3, 3, 8, 8)
    data = TensorDataset(x, torch.tensor([0, 1, 2]))
    expected = cx.clever_score(
        module, x, labels=[0, 1, 2], estimator="steepest", clip=(0, 1), **SETTINGS
    )
    for number, model in enumerate((module, cx.load_model(module, image_size=8))):
        found = run(model, data, f"run{number}")
        np.testing.assert_array_equal(found.table["score"], expected.table["score"])
        assert found.table["label"].tolist() == expected.table["label"].tolist()
        assert found.metadata["data"]["kind"] == "dataset"
    named = run("tiny_net:net", cx.open_images(x), "named", limit=2)
    assert named.table["image"].unique().tolist() == ["0", "1"]
    assert next(module.parameters()).device.type == "cpu"


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_the_same_call_goes_on_and_another_is_refused(small, monkeypatch):
    data = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) % 5)
    whole = run(small.model, data, "whole")
    keep = loop.Run._keep

    def stopping(self, number, *rest):
        keep(self, number, *rest)
        if number == 0:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.Run, "_keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(small.model, data, "part")
    assert 0 < cx.load_run("part").table["image_id"].nunique() < 6
    monkeypatch.setattr(loop.Run, "_keep", keep)
    assert same(run(small.model, data, "part"), whole)
    with pytest.raises(cx.CleverError, match=r"settings.seed was 0, now it is 1"):
        run(small.model, data, "part", seed=1)
    other = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) % 5)
    with pytest.raises(cx.CleverError, match="pictures have changed"):
        run(small.model, other, "part")


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_sigterm_ends_the_program(small, monkeypatch):
    monkeypatch.setattr("clever_ext.evaluating.score_pieces", lambda *_, **__: 143)
    with pytest.raises(SystemExit) as caught:
        run(small.model, "pictures", "stopped")
    assert caught.value.code == 143


def test_what_is_found_is_a_warning_and_the_rest_is_progress(small, capfd):
    with pytest.warns(cx.CleverWarning, match="no labels"):
        cx.score_run(small.model, "pictures", "a", **SETTINGS)
    assert "3 pictures, 24 rows" in capfd.readouterr().err
    with pytest.warns(cx.CleverWarning, match="no labels"):
        run(small.model, "pictures", "b")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (lambda x: x, {}, "model is function.*torch.nn.Module"),
        (None, {"n_batches": 8, "estimator": "first-order"}, "n_batches with estimator first-or"),
        (None, {"estimator": "steep"}, "estimator='steep' is unknown"),
        (None, {"limit": 1, "sample": 1}, "both a limit"),
        (None, {"candidates": "nowhere.npz"}, "nowhere.npz cannot be read"),
        (None, {"device": "cuda:0"}, "cuda"),
        (None, {"shard": (2, 2)}, r"shard is \(2, 2\).*from 0"),
        (None, {"shard": (-1, 2)}, r"shard is"),
        (None, {"limit": 1.5}, r"limit=1.5 is no integer"),
        (None, {"sample": 0}, r"sample=0 is out of range"),
        (None, {"workers": None}, r"workers=None is no integer"),
        (torch.nn.Flatten(), {}, "does not say how large.*cx.load_model"),
    ],
)
def test_what_is_refused(small, model, given, message):
    with pytest.raises(cx.CleverError, match=message):
        run(model or small.model, "pictures", "out", **given)


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_messages_name_arguments(small):
    run(small.model, "pictures", "a")
    with pytest.raises(cx.CleverError) as caught:
        run(small.model, "pictures", "a", seed=1)
    assert "choose another out (arguments of cx.open_images" in str(caught.value)


@pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")
def test_any_change_of_what_python_holds_is_seen(small):
    x = torch.rand(40, 3, 8, 8)
    run(small.model, x, "a", estimator="first-order")
    x[7] *= 0.99  # still pixels
    with pytest.raises(cx.CleverError, match="changed since they were scored: 7"):
        run(small.model, x, "a", estimator="first-order")
