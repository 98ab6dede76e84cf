"""Folders of pictures: what is listed, under which names and ids, and files that lead elsewhere."""

import json
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

from clever_ext import data
from clever_ext.data import Preprocessing, open_images
from clever_ext.data.folders import Tree, list_folder
from clever_ext.data.labels import labelled
from clever_ext.errors import CleverError
from clever_ext.findings import of_concern


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_is_listed_in_order_with_pictures_only(tmp_path: Path) -> None:
    names = ["b.JPG", "a.png", "sub/c.webp", "sub/deep/d.Jpeg", "z.bmp", "y.gif"]
    others = ["readme.txt", "x.jpg.part", "._a.png", ".thumbs/a.png", "jpg"]
    folder = open_images(touch(tmp_path, *names, *others))
    assert [item.name for item in folder] == sorted(names)
    assert len(folder) == len(names)
    assert folder[0].name == "a.png"
    assert folder[0].place.path == tmp_path / "a.png"
    assert [item.label for item in folder[:2]] == [None, None]
    assert folder.path == str(tmp_path)
    assert folder.kind == "folder"


def test_an_image_id_depends_on_the_relative_name_alone(tmp_path: Path) -> None:
    one = open_images(touch(tmp_path / "one", "a.png", "sub/b.png"))
    two = open_images(touch(tmp_path / "two", "0.png", "sub/b.png", "sub/c.png"))
    ids = [{item.name: item.image_id for item in folder} for folder in (one, two)]
    assert ids[0]["sub/b.png"] == ids[1]["sub/b.png"]
    assert len(set(ids[1].values())) == 3
    # A constant, found with sha256sum: files of results from before must keep their pictures.
    assert data.image_id("imagenet_00_243.jpg") == 4820726452074573990
    assert all(0 <= data.image_id(f"{i}.png") < 2**63 for i in range(1000))


def test_colliding_image_ids_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clever_ext.data.records.image_id", lambda _: 7)
    with pytest.raises(CleverError, match=r"'b.png' and 'a.png' have the same image id 7.*rename"):
        open_images(touch(tmp_path, "a.png", "b.png"))


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (item,) = open_images(tmp_path)
    assert item.name.encode("utf-8").decode("utf-8") == "caf\ufffd.png"
    assert item.place.path.exists()


def test_labels_are_read_from_names_and_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "3/imagenet_00_243.jpg", "12/imagenet_01_007.jpg")
    by_name = open_images(tmp_path, label_pattern=r"_(\d+)\.jpg$")
    by_folder = open_images(tmp_path, label_pattern=r"^(\d+)/")
    assert [item.label for item in by_name] == [7, 243]
    assert [item.label for item in by_folder] == [12, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_pattern": "("}, r"'\(' is no regular expression"),
        ({"label_pattern": r"\d+"}, "has no group.*parentheses"),
        ({"label_pattern": r"_(\d+)\.jpg"}, "finds nothing in 'a.png'"),
        ({"label_pattern": r"(.)\.png"}, "finds 'a' in 'a.png'"),
        ({"label_pattern": r"a(x)?"}, "finds nothing in 'a.png'"),
        ({"include": "*.jpg"}, r"no picture matches '\*.jpg'"),
    ],
)
def test_bad_patterns_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        open_images(touch(tmp_path, "a.png"), **options)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "empty/readme.txt")
    with pytest.raises(CleverError, match=r"'a.png' is nothing that pictures.*the folder of a"):
        open_images(tmp_path / "a.png")
    with pytest.raises(CleverError, match="missing' is not a folder or file"):
        open_images(tmp_path / "missing")
    with pytest.raises(CleverError, match=r"no picture matches.*\.jpg, \.jpeg, \.png"):
        open_images(tmp_path / "empty")


def test_an_unreadable_folder_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may read everything: the system call is made to fail."""

    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    touch(tmp_path, "a.png")
    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(CleverError, match=r"cannot be read \(Permission denied\)"):
        open_images(tmp_path)


# ---------------------------------------------------------------- folders of classes


@pytest.mark.parametrize(
    ("folders", "labels"),
    [(("0", "7"), [0, 7]), (("n01440764", "n01443537"), None), (("tench", "gold fish"), None)],
)
def test_names_of_class_folders_are_labels(tmp_path: Path, folders, labels) -> None:
    source = open_images(touch(tmp_path, *(f"{folder}/a.png" for folder in folders)))
    assert sorted(item.label for item in source) == sorted(labels or folders)
    assert source.classes == ([] if labels else sorted(folders))


def test_pictures_beside_class_folders_are_not_scored_without_a_word(tmp_path: Path) -> None:
    touch(tmp_path, "0/a.png", "1/b.png", "c.png")
    with pytest.raises(CleverError, match=r"2 of 3 pictures lie in 2 folders.*'c.png'.*--include"):
        open_images(tmp_path)
    assert [item.label for item in open_images(tmp_path, include="*/*")] == [0, 1]
    assert [item.label for item in open_images(tmp_path, labels="none")] == [None] * 3


def test_the_first_folder_is_the_class_and_deeper_ones_are_told(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path, "0/a.png", "1/b.png", "1/deep/c.png"))
    assert [item.label for item in source] == [0, 1, 1]
    (said,) = of_concern(source.findings)
    assert said.said == "1 of 3 pictures lie deeper than in the folder of their class"


def test_class_folders_can_be_no_labels(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path, "0/a.png", "1/b.png"), labels="none")
    assert [item.label for item in source] == [None, None]


# ---------------------------------------------------------------- files that lead elsewhere


def reading(folder: Path, name: str, **options: bool) -> CleverError:
    source = open_images(folder, **options)
    record = next(item for item in source if item.name == name)
    with pytest.raises(CleverError) as caught:
        data.load(record, Preprocessing(8, 8))
    return caught.value


def test_links_out_of_the_folder_are_followed_unless_that_is_forbidden(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up.png").symlink_to("../secret.png")
    (folder / "round.png").symlink_to("round.png")
    Image.new("RGB", (8, 8)).save(folder / "real.png")
    (folder / "within.png").symlink_to("real.png")
    assert "leads out of the folder" in str(reading(folder, "out.png", follow_links=False))
    assert "leads out of the folder" in str(reading(folder, "up.png", follow_links=False))
    for follow in (True, False):
        assert "cannot be decoded" in str(reading(folder, "round.png", follow_links=follow))
    for name in ("out.png", "up.png"):
        out = next(item for item in open_images(folder) if item.name == name)
        assert data.load(out, Preprocessing(8, 8)).shape == (3, 8, 8)
    within = next(item for item in open_images(folder) if item.name == "within.png")
    assert data.load(within, Preprocessing(8, 8)).shape == (3, 8, 8)


def test_a_folder_that_is_itself_a_link_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "real/a.png")
    (tmp_path / "link").symlink_to("real")
    (item,) = open_images(tmp_path / "link")
    assert data.load(item, Preprocessing(8, 8)).shape == (3, 8, 8)


def test_pipes_and_folders_with_a_pictures_name_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "no ordinary file" in str(reading(tmp_path, "pipe.png"))


def test_endless_files_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    assert "1099511627776 bytes" in str(reading(tmp_path, "huge.png"))


# ---------------------------------------------------------------- opened again


def test_a_source_is_opened_again_by_its_arguments(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "p/1_a.png", "p/2_b.png", "p/3_c.jpg")
    monkeypatch.chdir(tmp_path)
    source = open_images("p", include="*.png", label_pattern=r"^(\d)_")
    arguments = json.loads(json.dumps(source.arguments))
    monkeypatch.chdir("/")
    again = open_images(**arguments)
    assert list(again) == list(source)
    assert again.description() == source.description()
    assert source.description()["images"] == 2


def test_the_listing_digest_tells_names_and_labels_apart(tmp_path: Path) -> None:
    touch(tmp_path, "1_a.png", "2_b.png")
    digests = {
        open_images(tmp_path, **options).description()["listing_sha256"]
        for options in ({}, {"include": "1*"}, {"label_pattern": r"(\d)_"})
    }
    assert len(digests) == 3


def test_fifty_thousand_pictures_are_listed_and_travel_light(tmp_path: Path) -> None:
    # The system calls are left out: making the files would take longer than all the rest.
    names = [
        f"n{c:08d}/ILSVRC2012_val_{c * 50 + i:08d}.JPEG" for c in range(1000) for i in range(50)
    ]
    records = labelled(list_folder(Tree(tmp_path, True, names), names), None, None).records
    assert len(records) == 50_000
    assert (records[0].label, records[-1].label) == ("n00000000", "n00000999")
    assert len(pickle.dumps(records[:100])) < 20_000


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("folder", ["cat", "images/cat", "n01440764"])
def test_one_folder_of_a_class_labels_all_its_pictures(tmp_path: Path, n: int, folder: str) -> None:
    touch(tmp_path / "p", *(f"{folder}/{k}.png" for k in range(n)))
    label = folder.rpartition("/")[2]
    assert [record.label for record in open_images(tmp_path / "p")] == [label] * n


def test_a_class_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = os.fsdecode(b"caf\xe9")
    touch(tmp_path / "p", f"{folder}/a.png", f"{folder}/x.\udce9", "dog/b.png")
    source = open_images(tmp_path / "p")
    assert len(source.description()["listing_sha256"]) == 64
    "\n".join(map(str, source.findings)).encode()
    (tmp_path / "m.json").write_bytes(b'["dog", "cat"]')
    with pytest.raises(CleverError, match="has no known class number"):
        data.resolve(open_images(tmp_path / "p", label_map=tmp_path / "m.json"), 2)
    resolved = data.resolve(open_images(tmp_path / "p", label_order="text"), 2)
    assert [record.label for record in resolved] == [0, 1]
    assert resolved.description()["images"] == 2
