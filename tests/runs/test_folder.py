"""The files of a run."""

import errno
import fcntl
import json
import os
import threading
import time

import pytest
from small_run import assert_same_bits

from clever_ext import CleverError, CleverResult, load_run
from clever_ext.runs.folder import RunFolder
from clever_ext.runs.status import read_status


def test_run_json_says_what_the_run_is(small):
    small.score("run", norm=["2", "inf"], seed=3)
    description = json.loads((small.path / "run/run.json").read_text())
    assert description["format"] == 1
    assert description["settings"]["norms"] == ["2", "inf"]
    assert description["settings"]["seed"] == 3
    assert description["pieces"] == {"images": 6, "size": 2, "shard": [0, 1]}
    assert description["machine"] == {"device": "cpu", "threads": 1}
    assert description["class_names"] == list("abcde")
    assert len(description["data"]["listing_sha256"]) == 64
    assert {"model", "preprocessing", "engine", "versions", "created"} <= description.keys()


def test_every_part_says_what_it_belongs_to(small):
    small.score("run")
    result = CleverResult.load(small.folder("run").part(1))
    assert result.metadata["piece"] == 1
    assert result.metadata["run_id"] == small.folder("run").read()["run_id"]
    assert result.metadata["run"]["settings"]["seed"] == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.part(1).write_bytes(f.part(1).read_bytes()[:-9]), "cannot be read"),
        (lambda f: f.part(1).write_bytes(b""), "cannot be read"),
        (lambda f: f.part(1).write_bytes(f.part(2).read_bytes()), "another place"),
        (lambda f: f.description_file.write_bytes(b'{"form'), "is damaged"),
        (lambda f: f.description_file.write_bytes(b"[]"), "is damaged"),
        (lambda f: f.description_file.write_bytes(b'{"format": 9}'), "another format"),
        (lambda f: f.description_file.unlink(), "holds no run"),
        (lambda f: [path.unlink() for path in f.finished().values()], "holds no results"),
    ],
)
def test_what_is_damaged_is_not_read(small, damage, message):
    small.score("run")
    folder = small.folder("run")
    damage(folder)
    with pytest.raises(CleverError, match=message):
        load_run(folder.path)


def test_a_flipped_bit_is_noticed_or_changes_nothing(small):
    small.score("run")
    folder, before = small.folder("run"), small.table("run")
    whole = bytearray(folder.part(0).read_bytes())
    # The footer is mostly text, which is as long as the path of the pictures makes it.
    footer = len(whole) - int.from_bytes(whole[-8:-4], "little")
    noticed, places = 0, range(4, len(whole), 61)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 16
        folder.part(0).write_bytes(damaged)
        try:
            assert_same_bits(before, folder.load().table)
        except CleverError:
            noticed += place < footer
    assert noticed > len([place for place in places if place < footer]) / 2


def test_a_lock_ends_with_its_process_and_a_stale_file_means_nothing(small):
    folder = RunFolder(small.path / "run")
    folder.make()
    (folder.path / "lock").write_text("process 1")
    assert not folder.is_locked()
    with folder.locked(None):
        assert folder.is_locked()
        assert (folder.path / "lock").read_text() == f"process {os.getpid()}"
    assert not folder.is_locked()


def test_the_processes_of_a_job_share_a_lock_and_others_do_not(small, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.folder._JOINING", 0.1)
    folder = RunFolder(small.path / "run")
    folder.make()
    with folder.locked("job 1"), folder.locked("job 1"):
        for other in (None, "job 2"):
            with pytest.raises(CleverError, match="worked at by job 1"), folder.locked(other):
                pass
    with folder.locked("job 2"):
        pass


def test_the_first_of_a_job_begins_before_others_come_in(small, monkeypatch):
    monkeypatch.setattr("clever_ext.runs.folder._JOINING", 0.1)
    folder = RunFolder(small.path / "run")
    folder.make()
    order = []

    def come_in():
        with folder.locked("job", lambda: order.append("the second begins")):
            order.append("the second is in")

    second = threading.Thread(target=come_in)

    def begin():
        second.start()
        time.sleep(0.3)
        order.append("the first has begun")

    with folder.locked("job", begin):
        second.join()
    assert order == ["the first has begun", "the second is in"]


def test_a_file_system_without_locks_is_said(small, monkeypatch):
    folder = RunFolder(small.path / "run")
    folder.make()

    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CleverError, match="No locks available"), folder.locked(None):
        pass


def test_a_read_only_folder_can_be_read_and_not_gone_on_with(small, monkeypatch):
    """By the system's answer: root, as which tests may run, may write where the mode forbids it."""
    small.score("run")
    small.folder("run").part(1).unlink()
    real = os.open

    def read_only(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(CleverError, match="Read-only file system"):
        small.score("run")
    assert not load_run(small.path / "run").metadata["complete"]
    assert dict(read_status(small.folder("run")).facts())["pieces"] == "2 of 3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "it is no JSON object"),
        ([], "it is no JSON object"),
        ({"format": ...}, "it has no 'format'"),
        ({"warnings": None}, "it is not whole"),
        ({"warnings": [{"other": 1}]}, "it is not whole"),
        ({"pieces": None}, "is damaged"),
        ({"data": None}, "is damaged"),
        ({"model": ...}, "is damaged"),
        ({"engine": None}, "its 'engine' is None"),
        ({"engine": {"options": [], "device_batch": 32}}, "it has no 'batched_backward'"),
        ({"engine": {"options": [], "device_batch": 0}}, "how passes are made"),
    ],
)
def test_a_description_that_is_not_whole_is_said_and_mended(small, change, said):
    small.score("run")
    folder = small.folder("run")
    before = folder.read()
    text = change
    if isinstance(change, dict):
        text = json.loads(folder.description_file.read_text()) | change
        text = {name: value for name, value in text.items() if value is not ...}
    folder.description_file.write_text(json.dumps(text))
    with pytest.raises(CleverError, match=r"run\.json is damaged") as caught:
        folder.read()
    assert said in str(caught.value)
    with pytest.raises(CleverError, match=r"run\.json is damaged"):
        folder.load()
    small.score("run")
    assert folder.read() == before
