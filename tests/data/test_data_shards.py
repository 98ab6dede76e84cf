"""Tar shards in WebDataset's layout, and archives that are damaged or made to do harm."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

from clever_ext import data
from clever_ext.data import Preprocessing, open_images
from clever_ext.errors import CleverError

SMALL = Preprocessing(64, 64)
PHOTOGRAPHS = list(data.sample_pictures())


def write(path: Path, members: dict[str, bytes | tarfile.TarInfo], **options) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, leads_to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, leads_to
    return member


def photograph(number: int) -> bytes:
    return PHOTOGRAPHS[number].place.read()


def samples(numbers: range) -> dict[str, bytes]:
    members = {}
    for n in numbers:
        members[f"{n:06d}.jpg"] = photograph(n)
        members[f"{n:06d}.cls"] = str(PHOTOGRAPHS[n].label).encode()
    return members


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        write(folder / f"val-{shard:04d}.tar", samples(range(2 * shard, 2 * shard + 2)))
    return folder


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        (".", range(6)),
        ("val-0001.tar", range(2, 4)),
        ("val-*.tar", range(6)),
        ("val-{0000..0001}.tar", range(4)),
        ("val-000{0,2}.tar", [0, 1, 4, 5]),
    ],
)
def test_shards_are_read_like_the_files_that_are_in_them(shards: Path, path, numbers) -> None:
    source = open_images(f"{shards}/{path}")
    assert source.kind == "tar"
    assert [record.name for record in source] == [f"{n:06d}.jpg" for n in numbers]
    assert [record.label for record in source] == [PHOTOGRAPHS[n].label for n in numbers]
    for record, number in list(zip(source, numbers, strict=True))[::-1]:  # in any order
        assert torch.equal(data.load(record, SMALL), data.load(PHOTOGRAPHS[number], SMALL))
    assert list(open_images(**source.arguments)) == list(source)
    assert pickle.loads(pickle.dumps(source[0])) == source[0]


def test_an_id_is_that_of_a_file_of_the_same_name(shards: Path) -> None:
    assert open_images(shards)[3].image_id == data.image_id("000003.jpg")


def test_labels_are_in_cls_or_json_and_names_lose_their_dot(tmp_path: Path) -> None:
    members = {
        "./a.jpg": b"", "./a.cls": b" 7\n", "b.png": b"", "b.json": b'{"label": 3, "url": "x"}',
        "c.JPEG": b"", "c.cls": b"n01440764", "d/a.jpg": b"", "d/a.json": b"5",
        "e.left.jpg": b"", "e.json": b'{"cls": 1}', "._a.jpg": b"", "readme.txt": b"",
    }  # fmt: skip
    source = open_images(write(tmp_path / "a.tar", members))
    assert {record.name: record.label for record in source} == {
        "a.jpg": 7, "b.png": 3, "c.JPEG": "n01440764", "d/a.jpg": 5, "e.left.jpg": 1,
    }  # fmt: skip


def test_json_without_a_label_gives_none(tmp_path: Path) -> None:
    members = {"a.jpg": b"", "a.json": json.dumps({"caption": "a cat"}).encode()}
    assert open_images(write(tmp_path / "a.tar", members))[0].label is None


def test_equal_names_in_two_shards_are_told_apart_by_the_shard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tar", {"0.jpg": b"", "1.jpg": b""})
    names = [record.name for record in open_images(tmp_path)]
    assert names == ["a.tar/0.jpg", "a.tar/1.jpg", "b.tar/0.jpg", "b.tar/1.jpg"]


def test_long_names_and_both_formats(tmp_path: Path) -> None:
    name = "/".join(["folder" * 10] * 4) + "/ü.jpg"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write(tmp_path / "a.tar", {name: photograph(0)}, format=kind)
        (record,) = open_images(path)
        assert record.name == name
        assert data.load(record, SMALL).shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": special("a.jpg", tarfile.SYMTYPE, "/etc/passwd")}, "is a link, device"),
        ({"a.jpg": special("a.jpg", tarfile.LNKTYPE, "b.jpg")}, "is a link, device"),
        ({"a.jpg": special("a.jpg", tarfile.CHRTYPE)}, "is a link, device"),
        ({"a.jpg": special("a.jpg", tarfile.FIFOTYPE)}, "is a link, device"),
        ({"/etc/a.jpg": b"x"}, "leads out of the archive"),
        ({"d/../../a.jpg": b"x"}, "leads out of the archive"),
        ({"a.jpg": b"no picture"}, "cannot be decoded"),
    ],
)
def test_members_that_are_no_pictures_are_errors_of_their_own(tmp_path, members, message) -> None:
    source = open_images(write(tmp_path / "a.tar", {"ok.jpg": photograph(0), **members}))
    assert data.load(source[0], SMALL).shape == (3, 64, 64)
    with pytest.raises(CleverError, match=message):
        data.load(source[1], SMALL)
    with pytest.raises(CleverError, match=message):  # in a worker it is the same
        data.load(pickle.loads(pickle.dumps(source[1])), SMALL)


@pytest.mark.parametrize(
    ("label", "message"), [(b"", "is no label"), (b"\xff", "can't decode"), (b"3", None)]
)
def test_labels_that_are_none_are_refused(tmp_path: Path, label, message) -> None:
    path = write(tmp_path / "a.tar", {"a.jpg": b"", "a.cls": label})
    if message is None:
        assert open_images(path)[0].label == 3
        return
    with pytest.raises(CleverError, match=message):
        open_images(path)


def test_labels_for_some_pictures_only_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.jpg": b"", "a.cls": b"3", "b.jpg": b""})
    with pytest.raises(CleverError, match=r"1 of 2 pictures have no label, 'b.jpg' the first"):
        open_images(path)


def corrupt(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "second header":
        second = 512 + -(-len(photograph(0)) // 512) * 512
        content[second : second + 512] = b"\x01" * 512
    elif how == "compressed":
        import gzip

        content = bytearray(gzip.compress(bytes(content)))
    elif how == "negative":  # a length below zero, with a checksum that is right
        header = tarfile.TarInfo("b.jpg").tobuf(tarfile.GNU_FORMAT)
        evil = bytearray(header)
        evil[124:136] = tarfile.itn(-1024, 12, tarfile.GNU_FORMAT)
        evil[148:156] = b" " * 8
        evil[148:156] = b"%06o\0 " % sum(evil)
        content = bytearray(evil) + content
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "second header", "compressed", "negative"])
def test_archives_that_are_not_whole_are_refused(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "a.tar", {"a.jpg": photograph(0), "b.jpg": photograph(1)})
    corrupt(path, how)
    with pytest.raises(CleverError, match=r"cannot be read as a tar archive.*gunzip"):
        open_images(path)


def test_a_missing_shard_is_not_passed_over(shards: Path) -> None:
    with pytest.raises(CleverError, match=r"val-0003.tar', which the pattern names, is not there"):
        open_images(shards / "val-{0000..0003}.tar")


def test_a_shard_that_changes_meanwhile_is_not_read_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.jpg": photograph(0)})
    (record,) = open_images(path)
    write(path, {"longer-name-than-before.jpg": photograph(1)})
    with pytest.raises(CleverError, match="has changed since"):
        data.load(record, SMALL)
