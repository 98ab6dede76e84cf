"""Whether pictures are the same data as before."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from clever_ext.data import contents as module
from clever_ext.data import open_images, other_contents, select

PIXELS = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8)


def folder(root: Path, **files: bytes) -> Path:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / f"{name}.png").write_bytes(content)
    return root


def array(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    np.save(path, pixels)
    return path


def test_an_array_is_known_by_its_values_and_not_by_its_name_or_age(tmp_path: Path) -> None:
    there = open_images(array(tmp_path / "a.npy")).contents()
    assert json.loads(json.dumps(there)) == there
    assert (there["of"], there["files"]) == ("contents", 1)
    os.utime(tmp_path / "a.npy", ns=(7, 7))
    assert other_contents(there, open_images(tmp_path / "a.npy").contents()) == ""
    assert other_contents(there, open_images(array(tmp_path / "b.npy")).contents()) == ""
    here = open_images(array(tmp_path / "a.npy", PIXELS[::-1])).contents()
    said = other_contents(there, here)
    assert said.startswith("the pictures are other data: they were 1 file of 384 bytes, last writ")
    assert there["sha256"][:12] in said
    assert here["sha256"][:12] in said


def test_what_looks_as_it_did_is_not_read_again(tmp_path: Path, monkeypatch) -> None:
    source = open_images(array(tmp_path / "a.npy"))
    there = source.contents()
    monkeypatch.setattr(module, "_digest", lambda _: pytest.fail("it was read"))
    assert source.contents(there) == there
    with pytest.raises(pytest.fail.Exception):
        open_images(array(tmp_path / "b.npy", PIXELS[:2])).contents(there)


def test_a_folder_is_known_by_the_names_and_sizes_of_the_pictures_taken(tmp_path: Path) -> None:
    there = open_images(folder(tmp_path / "a", x=b"12", y=b"345")).contents()
    assert (there["of"], there["files"], there["bytes"]) == ("names and sizes", 2, 5)
    assert (
        other_contents(there, open_images(folder(tmp_path / "b", x=b"12", y=b"345")).contents())
        == ""
    )
    longer = open_images(folder(tmp_path / "a", x=b"123", y=b"45")).contents()
    assert "the pictures are other data" in other_contents(there, longer)
    one = select(open_images(tmp_path / "b"), limit=1).contents()
    folder(tmp_path / "b", z=b"")
    assert select(open_images(tmp_path / "b"), limit=1).contents() == one


def test_a_picture_that_is_not_there_has_contents_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nowhere.png")
    assert open_images(tmp_path).contents()["bytes"] == 0


def test_long_archives_are_known_by_names_and_sizes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_READ", 100)
    assert open_images(array(tmp_path / "a.npy")).contents()["of"] == "names and sizes"
