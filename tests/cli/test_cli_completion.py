"""Completion in the shell, asked for as bash does."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_help import COMMANDS

import clever_ext
from clever_ext.cli.completion import _paths, offered_for
from clever_ext.cli.options import MODELS
from clever_ext.models.catalogue import NAMED

ROOT = Path(clever_ext.__file__).parents[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two runs, a file of results and one of each kind of model and labels."""
    for name in ("runs/a", "runs/b", "pictures"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("saved.parquet", "net.pt2", "net.safetensors", "labels.csv", ".hidden.csv"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seconds_of_children() -> float:
    """Return the processor's time: others that work on the machine do not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ask(line: str, place: Path) -> list[str]:
    """Return what bash is offered for a line with the cursor at its end."""
    answer = place / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)]),
    }
    (place / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    command = [sys.executable, "-m", "clever_ext"]
    done = subprocess.run(command, cwd=place, env={**os.environ, **asked}, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
    return sorted(answer.read_text().split("\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("s", ["score", "status"]),
        ("score --model e", sorted(MODELS)),
        ("score --label-o", ["--label-order"]),
        ("status runs/", ["runs/a/", "runs/b/"]),
        ("score --out=ru", ["--out=runs/"]),
    ],
)
def test_bash_is_answered_without_torch_in_a_second(place, line, expected):
    before = seconds_of_children()
    assert ask(f"clever-ext {line}", place) == expected
    assert seconds_of_children() - before < 1


@pytest.mark.parametrize(
    ("command", "option", "start", "expected"),
    [
        (
            "score",
            "--model",
            "",
            sorted([*MODELS, *(f"{name}:" for name in NAMED), "net.pt2", "pictures/", "runs/"]),
        ),
        ("score", "--weights", "n", ["net.safetensors"]),
        ("score", "--labels", "", ["labels.csv", "none", "pictures/", "runs/"]),
        ("score", "--labels", ".", [".hidden.csv"]),
        ("score", "--images", "p", ["pictures/"]),
        ("score", "--out", "", ["pictures/", "runs/"]),
        ("score", "--norm", "", ["1", "2", "inf"]),
        ("check", "--targets", "r", ["random"]),
        ("bench", "--prepare", "f", ["float16", "fold_batch_norm"]),
        ("merge", "shards", "runs/", ["runs/a/", "runs/b/"]),
        ("compare", "runs", "s", ["saved.parquet"]),
        ("report", "--out", "l", ["labels.csv"]),
        ("score", "--n-batches", "", None),
        ("report", "--format", "", None),  # argcomplete knows choices
    ],
)
def test_what_is_offered(place, command, option, start, expected):  # noqa: ARG001
    (action,) = (
        each for each in COMMANDS[command]._actions if option in (*each.option_strings, each.dest)
    )
    offered = offered_for(action)
    if expected is None:
        assert offered is None
        return
    assert sorted(each for each in offered(prefix=start) if each.startswith(start)) == expected


def test_a_home_folder_stays_as_it_was_typed(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    assert list(_paths()(prefix="~/ru")) == ["~/runs/"]
    assert list(_paths()(prefix="nowhere/")) == []


def test_global_completion_finds_the_marks():
    for name in ("__main__.py", "cli/__init__.py"):
        assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / "clever_ext" / name).read_text()[:1024]
