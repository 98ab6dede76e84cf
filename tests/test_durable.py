"""Files that appear whole or not at all."""

import errno
import os

import pytest

from clever_ext import CleverError, durable


def test_a_file_replaces_another(tmp_path):
    path = tmp_path / "file"
    durable.write(path, b"one")
    durable.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_says_why(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    durable.write(path, b"old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(CleverError, match="No space left on device"):
            durable.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    durable.write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_everything_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("write", "fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real, **k: (calls.append(name), real(*a, **k))[1]
        )
    durable.write(tmp_path / "file", b"data")
    assert calls == ["write", "fsync", "replace", "fsync"]


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, loose = tmp_path / "there/file", tmp_path / "link", tmp_path / "loose"
    target.write_bytes(b"old")
    link.symlink_to("there/file")
    loose.symlink_to("there/new")
    for each in (link, loose):
        durable.write(each, b"new")
        assert each.is_symlink()
        assert each.read_bytes() == b"new"
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == ["file", "new"]


def test_a_pipe_is_written_into_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        durable.write(pipe, b"data")
        assert os.read(reader, 100) == b"data"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_and_a_link_to_itself_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("folder", "loop"):
        with pytest.raises(CleverError, match="cannot be written"):
            durable.write(tmp_path / name, b"data")
