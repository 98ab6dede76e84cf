"""How commands end: by which status, with which words, and without a traceback."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import processes
import pytest
from scored_runs import LOW, run
from small_run import SmallRun, assert_same_bits

import clever_ext as cx
from clever_ext import CleverError
from clever_ext.cli import main
from clever_ext.engine.preparation import OPTIONS
from clever_ext.estimators.table import names
from clever_ext.report.writing import FORMATS
from clever_ext.runs.outcome import outcome
from clever_ext.runs.ranks import Alone


@pytest.fixture
def place(small, monkeypatch):
    """The folder of a small run, with the command of it."""
    monkeypatch.chdir(small.path)
    monkeypatch.delitem(sys.modules, "tiny_net", raising=False)
    return small


def score(place: SmallRun, *more: str) -> int:
    return main([*place.command[2:], "--out", "run", *more])


def test_status_0_and_what_a_run_will_take_first_and_last(place, capsys):
    assert score(place) == 0
    said = capsys.readouterr()
    assert "6 pictures, 24 rows, 576 gradients at most." in said.err
    assert "labels: the pictures have no labels" in said.err
    assert "no labels" in said.out
    assert score(place) == 0
    assert "Going on: 6 of 6 pictures are finished" in capsys.readouterr().err
    assert main([*place.command[2:], "--out", "other", "--labels", "none"]) == 0
    assert "There are no labels" in capsys.readouterr().err
    assert main([*place.command[2:], "--out", "labelled", "--label-pattern", r"_(\d)\.png"]) == 0
    said = capsys.readouterr()
    assert "no labels" not in said.err + said.out


def test_status_3_until_the_picture_is_there(place, capsys):
    picture = place.pictures / "p0002_2.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:40])
    assert score(place) == 3
    said = capsys.readouterr().out
    assert "1 of 6 pictures could not be scored" in said
    assert "--retry-errors" in said
    picture.write_bytes(whole)
    assert score(place) == 2  # other data than the run was begun with
    assert "other data" in capsys.readouterr().err
    assert score(place, "--retry-errors") == 0
    assert (cx.load_run("run").table["status"] != "error").all()


def test_a_run_that_goes_on_tells_of_its_errors(place, capsys):
    (place.pictures / "p0002_2.png").write_bytes(b"nothing")
    assert score(place) == 3
    capsys.readouterr()
    assert score(place) == 3
    assert "Pictures with errors: 1. --retry-errors scores them again." in capsys.readouterr().err


def test_status_4_where_nothing_can_be_read(place, capsys):
    for picture in place.pictures.iterdir():
        picture.write_bytes(b"nothing")
    assert score(place) == 4
    assert "none of the 6 pictures can be read" in capsys.readouterr().err
    assert not Path("run").exists()


def test_torchrun_would_start_processes_again_that_end_by_another_status(place, monkeypatch):
    (place.pictures / "p0002_2.png").write_bytes(b"nothing")
    alone = Alone()
    alone.job = "a job"
    monkeypatch.setattr("clever_ext.runs.ranks.find_ranks", lambda: alone)
    assert score(place) == 0


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["ok", "misclassified", "max-fallback"], 0),
        (["ok", "error"], 3),
        (["ok", "non-finite"], 3),
        (["error", "non-finite"], 4),
        (["error"], 4),
    ],
)
def test_outcomes(statuses, expected):
    found = np.array(statuses, dtype=object)
    assert outcome(run(LOW[: len(statuses)], "net", status=found)) == expected


def test_a_tilde_is_the_home_folder(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place.path))
    command = [*place.command[2:], "--out=~/there"]
    command[command.index("pictures")] = "~/pictures"
    assert main(command) == 0
    assert (place.path / "there/run.json").exists()
    assert main(["report", "~/there", "--out=~/page.html", "--no-images"]) == 0
    assert (place.path / "page.html").exists()
    assert main(["status", "~/there"]) == 0


def command(*arguments: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "clever_ext", *arguments], capture_output=True, text=True, **how
    )


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"clever-ext {cx.__version__}\n"


@pytest.mark.parametrize("arguments", [["-h"], ["score", "-h"], ["report", "-h"], ["bench", "-h"]])
def test_the_help_does_not_wait_for_torch(arguments):
    code = f"""
import sys
from clever_ext.cli import main
try:
    main({arguments})
finally:
    print(sorted({{"torch", "numpy", "pandas"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: clever-ext")
    assert done.stderr.strip() == "[]"


def test_the_help_names_defaults_choices_and_statuses(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["score", "-h"])
    said = capsys.readouterr().out
    for words in ("(default: 500)", "(default: 1024)", "(default: 0.0 1.0)", "(default: steepest;"):
        assert words in " ".join(said.split())
    for name in (*names(), *OPTIONS):
        assert name in said
    for status in ("  3  ", "  4  ", "130, 143"):
        assert status in said
    with pytest.raises(SystemExit):
        main(["report", "-h"])
    assert ",".join(FORMATS) in capsys.readouterr().out


def test_ctrl_c_while_packages_are_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join([str(tmp_path), str(Path(cx.__file__).parents[1])])
    done = command("doctor", env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (130, "")


def test_a_reader_that_leaves_is_no_error(tmp_path):
    run(np.tile(LOW, 100), "net").save(tmp_path / "many.parquet")
    process = processes.start(
        [sys.executable, "-m", "clever_ext", "report", "many.parquet", "--format", "csv"],
        cwd=tmp_path,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() in (0, 141)


def test_an_encoding_of_few_signs_is_no_error(tmp_path):
    run(LOW[:4], "größe", image=["größe_猫.png", "b", "c", "d"]).save(tmp_path / "run.parquet")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command("report", "run.parquet", "--format", "md", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr??e" in done.stdout


def test_a_file_system_without_locks_can_still_be_looked_at(place, monkeypatch, capsys):
    assert score(place) == 0

    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refused)
    assert main(["status", "run"]) == 0
    assert "complete" in capsys.readouterr().out
    assert score(place) == 2
    assert "Operation not supported" in capsys.readouterr().err


def test_one_message_says_what_is_wrong(capsys):
    with pytest.raises(CleverError):
        cx.load_run("nowhere")
    assert main(["status", "[bold]nowhere[/bold]"]) == 2
    assert capsys.readouterr().err.startswith("clever-ext: [bold]nowhere[/bold] holds no run")


def test_a_long_run_says_first_what_it_takes_and_what_would_be_cheaper(place, capsys, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.scorer.Scorer.speed", lambda *_: 0.1)
    assert score(place, "--n-batches", "100", "--targets", "all") == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cost: ")]
    assert "9,600 gradients" in told
    assert "about 26 h 40 min" in told
    assert "Fix: " in told
    assert score(place, "--n-batches", "100", "--targets", "all") == 0
    assert "cost" not in capsys.readouterr().err  # nothing is left to do


def test_an_empty_path_is_not_the_current_folder(place, capsys):
    for options in (["--out", ""], ["--out=run", "--images", ""], ["--out=run", "--weights", ""]):
        assert main([*place.command[2:], *options]) == 2
        assert "is empty" in capsys.readouterr().err
    for command in (["status", ""], ["report", "", "-o", "x"], ["compare", "a", "b", "-o", ""]):
        assert main(command) == 2
        assert "is empty" in capsys.readouterr().err
    assert not Path("run.json").exists()


def test_a_folder_may_have_any_name_that_the_system_takes(place, capsys):
    out = os.fsdecode(b"run \xff")
    assert main([*place.command[2:], "--out", out]) == 0
    assert main(["status", out]) == 0
    assert main(["report", out, "-o", f"{out}.html"]) == 0
    assert main(["report", out, "--format", "json"]) == 0
    assert '"rows"' in capsys.readouterr().out


class Full(io.StringIO):
    """A stream to a disk that is full."""

    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "command",
    [["status", "run"], ["report", "run", "--format", "csv"], ["report", "run", "--format", "md"]],
)
def test_output_that_takes_nothing_is_said(place, capsys, monkeypatch, command):
    assert score(place) == 0
    capsys.readouterr()
    for arguments in (command, [*place.command[2:], "--out", "run"]):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", Full())
            assert main(arguments) == 2
        assert "standard output cannot be written: No space left" in capsys.readouterr().err


def test_a_refusal_keeps_its_status_where_nobody_can_be_told(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["status", "nowhere"]) == 2


def test_closed_streams_are_no_error(place):
    closed = "import os, sys; os.closerange(0, 3); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", closed, sys.executable, "-m", "clever_ext"]
    assert subprocess.run([*command, *place.command[2:], "--out", "other"]).returncode == 0
    assert score(place) == 0
    assert_same_bits(cx.load_run("run").table, cx.load_run("other").table)
    assert all(json.loads(line) for line in Path("other/log.jsonl").read_text().splitlines())


def test_scores_that_are_all_the_radius_are_said_at_the_end(place, capsys):
    assert score(place, "--radius", "1e-6") == 0
    assert "every score is the radius" in capsys.readouterr().out
    assert main(["report", "run", "--format", "md"]) == 0
    assert "every score is the radius" in capsys.readouterr().out
    assert main([*place.command[2:], "--out", "other"]) == 0
    assert "every score is the radius" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image-size", "99999999999999999999"], "image_size is"),
        (["--image-size", "8", "99999999999"], "image_size is"),
        (["--resize", "99999999999999999999"], "resize is"),
        (["--crop-pct", "1e-300"], "crop_pct is 1e-300"),
        (["--crop-pct", "nan"], "crop_pct is nan"),
        (["--channels", "99999999999999999999"], "channels is"),
        (["--channels", "2"], "channels is 2, and the pictures are files"),
        (["--channels", "4"], "channels is 4, and the pictures are files"),
        (["--channels", "1"], "--channels 1 for grey"),
        (["--image-size", "9"], "give --image-size"),
    ],
)
def test_options_that_no_picture_fits_are_bad_input(place, capsys, options, said):
    assert score(place, *options) == 2
    assert said in capsys.readouterr().err
    assert not Path("run").exists()


def test_why_no_picture_can_be_read_is_one_message(place, capsys):
    for picture in place.pictures.iterdir():
        picture.write_bytes(b"nothing")
    assert score(place) == 4
    said = capsys.readouterr().err
    assert said.count("Expected:") == said.count("Fix:") == 1
    assert ".." not in said
    assert "object at" not in said


def test_an_error_is_the_same_text_in_every_run(place):
    (place.pictures / "p0002_2.png").write_bytes(b"nothing")
    assert score(place) == 3
    error = cx.load_run("run").table.query("status == 'error'")["error"].item()
    assert "cannot identify image file" in error
    assert " at 0x" not in error


def test_a_shard_without_pieces_says_so(place, capsys):
    assert score(place, "--shard", "7/9") == 0
    assert score(place, "--shard", "7/9") == 0
    said = capsys.readouterr()
    assert said.err.count("This shard has no pictures") == 2
    assert said.out == ""


def test_the_mean_of_one_picture_has_no_interval(place, capsys):
    assert score(place, "--limit", "1") == 0
    assert main(["status", "run"]) == 0
    assert "nan" not in capsys.readouterr().out
