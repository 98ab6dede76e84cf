"""A damaged folder is mended without loss when the run goes on."""

import json
import shutil

import pytest
from small_run import assert_same_bits

from clever_ext import CleverError, durable


@pytest.fixture
def whole(small):
    small.score("run")
    small.before = small.table("run")
    return small


def mended(small):
    lines = [json.loads(line) for line in small.folder("run").log.read_text().splitlines()]
    return [line["what"] for line in lines if line["event"] == "mended"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f.part(1).write_bytes(f.part(1).read_bytes()[:-9]), "set aside part-00001"),
        (lambda f: f.part(1).write_bytes(b""), "set aside part-00001"),
        (lambda f: f.part(2).write_bytes(f.part(0).read_bytes()), "set aside part-00002"),
        (lambda f: shutil.copy(f.part(0), f.part(9)), "set aside part-00009"),
        (lambda f: f.description_file.write_bytes(b'{"form'), "wrote run.json anew"),
        (lambda f: f.description_file.unlink(), "wrote run.json anew"),
        (lambda f: (f.path / f".run.json.0{durable.PARTIAL}").write_bytes(b"x"), "never finished"),
        (lambda f: (f.parts / f".p.0{durable.PARTIAL}").write_bytes(b"x"), "never finished"),
    ],
)
def test_what_is_mended_is_said_and_nothing_is_lost(whole, damage, said):
    description = whole.folder("run").read()
    damage(whole.folder("run"))
    assert whole.score("run") == 0
    assert_same_bits(whole.before, whole.table("run"))
    assert any(said in line for line in mended(whole))
    assert whole.folder("run").read() == description


def test_a_stray_file_is_left_alone(whole):
    stray = whole.folder("run").parts / "notes.txt"
    stray.write_text("mine")
    (whole.folder("run").parts / "part-1.parquet").write_text("no part's name")
    whole.score("run")
    assert stray.read_text() == "mine"
    assert_same_bits(whole.before, whole.table("run"))
    assert not mended(whole)


def test_a_run_of_which_nothing_is_left_to_tell_says_so(whole):
    folder = whole.folder("run")
    folder.description_file.write_bytes(b"{")
    for path in folder.finished().values():
        path.write_bytes(b"")
    with pytest.raises(CleverError, match="is damaged"):
        whole.score("run")


def test_a_cut_line_of_the_log_costs_that_line(whole):
    log = whole.folder("run").log
    log.write_bytes(log.read_bytes()[:-30])
    whole.score("run")
    lines = log.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "end"
