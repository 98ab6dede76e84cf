"""The command line through its real entry points, on real files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clever_ext.cli import main
from clever_ext.cli.tables import MEANING
from clever_ext.runs.folder import RunFolder

FACTORY = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    )

def mixing():
    class Mixing(torch.nn.Module):
        def forward(self, x):
            return (x - x.mean(dim=0)).flatten(1)[:, :5]
    return Mixing()
"""
FEW = ["--n-batches", "6", "--batch-samples", "4", "--image-size", "8", "--targets", "all"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    (tmp_path / "tiny_net.py").write_text(FACTORY)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0)
    for number in range(3):
        pixels = noise.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"p{number}_{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    return tmp_path


def score(*arguments):
    return main(["score", "--model", "tiny_net:net", "--images", "pictures", *FEW, *arguments])


def plain(*arguments):
    """Score without any of the options that the paper's estimator has."""
    tiny = ["--model", "tiny_net:net", "--images", "pictures", "--image-size", "8"]
    return main(["score", *tiny, *arguments])


def test_score_writes_a_run_and_prints_a_table(workplace, capsys):
    arguments = ["--norm", "2", "inf", "--targets", "top-3", "--out", "runs/mine"]
    assert score(*arguments) == 0
    run = json.loads((workplace / "runs/mine/run.json").read_text())
    assert run["settings"]["norms"] == ["2", "inf"]
    assert run["settings"]["clip"] == [0, 1]
    assert run["model"]["name"] == "tiny_net:net"
    assert len(run["model"]["digest"]) == 64
    assert run["data"]["images"] == 3
    assert run["preprocessing"]["image_size"] == 8
    assert sorted(p.name for p in (workplace / "runs/mine/parts").iterdir()) == [
        "part-00000.parquet"
    ]
    result = RunFolder("runs/mine").load()
    assert len(result.table) == 3 * 2 * 2
    assert set(result.table["image"]) == {"p0_0.png", "p1_1.png", "p2_2.png"}
    captured = capsys.readouterr()
    assert "p0_0.png" in captured.out
    assert MEANING[:40] in captured.out


@pytest.mark.parametrize("command", ["score", "check"])
def test_without_targets_a_network_of_few_classes_has_all(workplace, capsys, command):
    few = [each for each in FEW if each not in ("--targets", "all")]
    pictures = ["--model", "tiny_net:net", "--images", "pictures", "--out", "a"]
    status = main([command, *pictures, *few, "--radius", "2"])
    if command == "check":
        assert "288 gradients for 12 rows" in capsys.readouterr().out  # 3 pictures, 4 targets each
    else:
        assert status == 0
        assert json.loads((workplace / "a/run.json").read_text())["settings"]["targets"] == "all"


def test_the_installed_command_and_the_module(workplace):
    command = [str(Path(sys.executable).with_name("clever-ext")), "score", "--model"]
    command += ["tiny_net:net", "--images", "pictures", "--out", "a", *FEW]
    subprocess.run(command, check=True, capture_output=True)
    module = [sys.executable, "-m", "clever_ext", *command[1:]]
    module[module.index("a")] = "b"
    subprocess.run(module, check=True, capture_output=True)
    first, second = RunFolder(workplace / "a").load(), RunFolder(workplace / "b").load()
    np.testing.assert_array_equal(first.table["score"], second.table["score"])


@pytest.mark.usefixtures("workplace")
def test_scores_are_those_of_the_python_call():
    import clever_ext as cx
    from clever_ext.data import load, open_images
    from clever_ext.models.loading import load_model

    assert score("--out", "run", "--targets", "all", "--radius", "0.5") == 0
    model = load_model("tiny_net:net", image_size=8)
    records = list(open_images("pictures"))
    import torch

    expected = cx.clever_score(
        model.model,
        torch.stack([load(r, model.preprocessing) for r in records]),
        radius=0.5,
        n_batches=6,
        batch_samples=4,
        clip=(0, 1),
        image_ids=[r.image_id for r in records],
    )
    np.testing.assert_array_equal(RunFolder("run").load().scores[2], expected.scores[2])


@pytest.mark.usefixtures("workplace")
def test_labels_from_names():
    assert score("--out", "run", "--label-pattern", r"_(\d)\.png") == 0
    table = RunFolder("run").load().table
    assert table.groupby("image")["label"].first().tolist() == [0, 1, 2]
    wrong = table["label"] != table["predicted"]
    assert ((table["status"] == "misclassified") == wrong).all()
    assert (table["score"][wrong] == 0).all()


def test_a_bad_picture_is_a_row(workplace, capsys):
    (workplace / "pictures/p1_1.png").write_bytes(b"no picture")
    assert score("--out", "run") == 3
    table = RunFolder("run").load().table
    bad = table[table["image"] == "p1_1.png"]
    assert bad["status"].tolist() == ["error"]
    assert "cannot be decoded" in bad["error"].iloc[0]
    assert (table["status"] != "error").sum() == 2 * 4
    assert "error" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_picture_that_is_its_target_already_has_nothing_to_reach():
    assert score("--out", "first", "--targets", "top2") == 0
    predicted = RunFolder("first").load().table["predicted"]
    status = score("--out", "run", "--targets", str(predicted.iloc[0]))
    table = RunFolder("run").load().table
    assert status == (3 if (table["status"] == "error").any() else 0)
    assert len(table) == 3
    its_own = (predicted == predicted.iloc[0]).to_numpy()
    assert ((table["status"] == "no-target") == its_own).all()
    assert (table["score"].isna() == its_own).all()
    # The first picture is such a one; the run's settings are told all the same.
    assert json.loads(Path("run/run.json").read_text())["settings"]["norms"] == ["2"]


@pytest.mark.usefixtures("workplace")
def test_ctrl_c_twice_keeps_the_finished_pieces_and_the_same_command_goes_on(monkeypatch, capsys):
    from clever_ext.estimators import clever

    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 1)
    finish, calls = clever.sample_maxima, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finish(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(clever, "sample_maxima", interrupted)
        assert score("--out", "run", "--targets", "top2", "--radius", "2") == 130
    assert RunFolder("run").load().table["image"].tolist() == ["p0_0.png"]
    assert main(["status", "run"]) == 0
    said = capsys.readouterr().out
    assert "1 of 3" in said
    assert "the same command goes on" in said
    assert score("--out", "run", "--targets", "top2", "--radius", "2") == 0
    assert len(RunFolder("run").load().table) == 3


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tiny_net:nothing"], "nothing"),
        (["--model", "lenet"], "lenet"),
        (["--model", "tiny_net:mixing"], "influence each other"),
        (["--images", "nowhere"], "nowhere' is not a"),
        (["--norm", "0.5"], "no p-norm"),
        (["--norm", "1", "2", "--radius", "1", "2", "3"], "--radius has 3 numbers for 2 norms"),
        (["--targets", "worst"], "unknown"),
        (["--targets", "5"], "target 5 is out of range"),
        (["--include", "p2*", "--label-pattern", "p2_2.p(n)g"], "label"),
        (["--device", "tpu"], "is no device"),
        (["--device-batch", "0"], "out of range"),
        (["--image-size", "0"], "positive number of pixels"),
        (["--out", "tiny_net.py"], "cannot be made"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_message(capsys, arguments, message):
    status = score("--out", "run", *arguments)
    captured = capsys.readouterr()
    assert status == 2
    assert message in captured.err
    assert "Expected:" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("workplace")
def test_another_run_is_not_overwritten(capsys):
    assert score("--out", "run") == 0
    before = Path("run/run.json").read_text()
    assert score("--out", "run", "--seed", "1") == 2
    assert "settings.seed was 0, now it is 1" in capsys.readouterr().err
    assert Path("run/run.json").read_text() == before


@pytest.mark.usefixtures("workplace")
def test_shards_are_merged(capsys):
    for shard in ("0/2", "1/2"):
        assert score("--out", f"runs/{shard[0]}", "--shard", shard) == 0
    assert main(["merge", "runs/0", "runs/1", "--out", "runs/whole"]) == 0
    assert len(RunFolder("runs/whole").load().scores[2]) == 3
    assert main(["merge", "runs/0", "runs/1", "--out", "runs/whole"]) == 2
    assert score("--out", "run", "--shard", "2/2") == 2
    assert "0 <= i < n" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_a_dry_run_tells_what_a_run_will_take_and_writes_nothing(capsys):
    assert score("--out", "run", "--dry-run", "--radius", "2") == 0
    said = capsys.readouterr().out
    assert "3 pictures, 12 rows, 288 gradients" in said
    assert "gradients/s" in said
    assert score("--out", "run", "--dry-run", "--label-pattern", r"p(\d)_") == 0
    assert "gradients/s" in capsys.readouterr().out
    assert score("--out", "run", "--dry-run", "--label-pattern", r"_(\d)\.png", "--limit", "1") == 0
    assert score("--out", "run", "--dry-run", "--label-map", "nowhere") == 2
    assert not Path("run").exists()


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "CUDA half" in out
    assert out.count(": ok") >= 12


def test_doctor_finds_a_broken_kernel(capsys, monkeypatch):
    import clever_ext.kernels.ops as ops

    monkeypatch.setattr(ops, "grad_norm_max", lambda *_: None)
    assert main(["doctor"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_ctrl_c_is_no_traceback(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("clever_ext.cli.doctor.run", interrupted)
    assert main(["doctor"]) == 130


def bench(*arguments):
    return main(["bench", "--model", "tiny_net:net", "--image-size", "8", *arguments])


def test_bench_prints_every_stage(workplace, capsys):  # noqa: ARG001
    few = ["--rounds", "2", "--device-batch", "8"]
    assert bench("--norm", "inf", "--n-targets", "2", *few) == 0
    said = capsys.readouterr().out
    for words in ("forward and backward", "sampling", "norm", "fit", "the loop", "bandwidth"):
        assert words in said


@pytest.mark.parametrize(
    "arguments", [["--n-targets", "0"], ["--n-targets", "5"], ["--prepare", "magic"]]
)
def test_bench_refuses(workplace, capsys, arguments):  # noqa: ARG001
    assert bench(*arguments) == 2
    assert capsys.readouterr().err.startswith("clever-ext: ")


def test_the_model_takes_the_dtype_that_is_asked_for(workplace):
    assert score("--dtype", "float64", "--out", "run") == 0
    assert json.loads((workplace / "run/run.json").read_text())["settings"]["dtype"] == "float64"
    assert set(RunFolder("run").load().table["status"]) <= {"ok", "max-fallback"}


def test_preparation_and_threads(workplace):
    before = torch.get_num_threads()
    try:
        assert score("--prepare", "channels-last", "--threads", "1", "--out", "run") == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    run = json.loads((workplace / "run/run.json").read_text())
    assert run["engine"]["options"] == ["channels_last"]
    assert "1 threads" in run["device"]
    assert score("--threads", "0", "--out", "other") == 2


def test_norms_go_by_any_usual_name(workplace):
    radii = ["--radius", "0.1", "0.01", "--targets", "top2"]
    assert score("--norm", "L2", "Linf", *radii, "--out", "run") == 0
    assert score("--norm", "2", "inf", *radii, "--out", "run") == 0  # the same run: it goes on
    table = RunFolder("run").load().table
    assert set(zip(table["norm"], table["radius"], strict=True)) == {(2.0, 0.1), (np.inf, 0.01)}
    settings = json.loads((workplace / "run/run.json").read_text())["settings"]
    assert settings["norms"] == ["2", "inf"]
    assert score("--norm", "2", "L2", "--out", "other") == 2


def test_radii_are_given_found_and_raced_at(workplace, capsys):
    radii = ["--norm", "2", "inf", "--radius", "0.1,0.4", "auto", "--targets", "top2"]
    assert score(*radii, "--out", "run") == 0
    table = RunFolder("run").load().table
    assert table["radius"].tolist()[:2] == [0.1, 0.4]
    assert (table["n_batches"] == 6).all()
    assert json.loads((workplace / "run/run.json").read_text())["settings"]["radii"] == [
        [0.1, 0.4],
        "auto",
    ]
    assert score("--radius", "0.1", "--race", "--out", "race") == 0
    assert RunFolder("race").load().table["p_lowest"].notna().all()
    assert score("--race", "--out", "auto") == 0
    assert RunFolder("auto").load().table["p_lowest"].notna().all()
    assert score("--radius", "0.1,0.2", "--race", "--out", "neither") == 2
    assert "one radius" in capsys.readouterr().err
    assert not Path("neither").exists()


@pytest.mark.usefixtures("workplace")
def test_the_steepest_estimator_and_a_tolerance(capsys):
    steep = ["--max-gradients", "40", "--targets", "top2"]
    assert plain("--radius", "0.5", *steep, "--out", "steep") == 0
    table = RunFolder("steep").load().table
    assert (table["estimator"] == "steepest").all()
    assert (table["n_gradients"] <= 40).all()
    exact = ["--tolerance", "0.1", "--max-gradients", "640", "--targets", "top2"]
    assert score(*exact, "--out", "exact") == 0
    assert (RunFolder("exact").load().table["estimator"] == "clever-adaptive").all()
    assert score("--tolerance", "0.1", "--race", "--out", "neither") == 2
    assert "another way to spend" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_score_without_more_is_the_bracket():
    assert plain("--norm", "2", "inf", "--out", "run") == 0
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    assert (settings["estimator"], settings["radii"]) == ("steepest", ["auto", "auto"])
    table = RunFolder("run").load().table
    assert len(table) == 3 * 4 * 2
    assert (table["n_gradients"] <= 100).all()
    assert (table["score"] == table["radius"]).all()
    assert (table["score"] <= table["nearest_flip"]).all()


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("option", [["--n-batches", "4"], ["--batch-samples", "2"], ["--race"],
                                    ["--tolerance", "0.2"]])  # fmt: skip
def test_options_of_the_papers_estimator_choose_it(capsys, option):
    dry = ["--dry-run", "--targets", "top2", "--out", "run"]
    assert plain(*option, "--estimator", "steepest", *dry) == 2
    assert f"{option[0]} with --estimator steepest" in capsys.readouterr().err
    cheap = ["--n-batches", "2"] if option[0] == "--batch-samples" else ["--batch-samples", "2"]
    run = ["--targets", "top2", "--out", "run"]
    most = ["--max-gradients", "80"] if option[0] == "--tolerance" else ["--n-batches", "4"]
    assert plain(*cheap, *most, *option, *run) == 0
    assert json.loads(Path("run/run.json").read_text())["settings"]["estimator"] == "clever"


@pytest.mark.usefixtures("workplace")
def test_a_run_of_given_radii_goes_on_with_them(capsys):
    few = ["--targets", "top2", "--out", "run"]
    assert score("--radius", "2", *few) == 0
    before = RunFolder("run").load().table["score"].to_numpy()
    assert score("--radius", "2", "--estimator", "clever", *few) == 0
    assert "Going on: 3 of 3" in capsys.readouterr().err
    np.testing.assert_array_equal(RunFolder("run").load().table["score"], before)
    assert plain(*few) == 2
    said = capsys.readouterr().err
    assert "settings.estimator was clever, now it is steepest" in said
    assert "settings.radii was [2.0], now it is ['auto']" in said
