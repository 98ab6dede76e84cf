"""Which column of a file of labels is which."""

from pathlib import Path

import numpy as np
import pytest

from clever_ext.data import open_images, read_label_map, read_labels, resolve
from clever_ext.data.columns import label_like
from clever_ext.errors import CleverError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "image,score,label\na.png,9,3\nb.png,8,4\n"),
        ("l.csv", "label,image\n3,a.png\n4,b.png\n"),
        ("l.csv", "id,filename,class,split\n0,a.png,3,val\n1,b.png,4,val\n"),
        ("l.csv", "file_name;target\na.png;3\nb.png;4\n"),
        ("l.csv", "Path,ClassId\n./a.png,3\n./b.png,4.0\n"),
        ("l.csv", "path,predicted_class,true_class\na.png,1,3\nb.png,2,4\n"),
        ("l.csv", "label,fine_label,image_path\n3,1,a.png\n4,1,b.png\n"),
        ("l.tsv", "key\tcategory\textra\na.png\t3\tx\nb.png\t4\tx\n"),
        ("l.txt", "a.png 3\nb.png 4\n"),
        ("l.txt", "a.png, 3\nb.png, 4\n"),
        (
            "l.jsonl",
            '{"file_name": "a.png", "text": "x", "label": 3}\n{"file_name": "b.png", "label": 4}',
        ),
        ("l.json", '[{"image": "a.png", "class_id": 3}, {"image": "b.png", "class_id": 4}]'),
    ],
)
def test_columns_are_told_by_their_heads(tmp_path: Path, name: str, text: str) -> None:
    assert read_labels(write(tmp_path / name, text)) == {"a.png": 3, "b.png": 4}


def test_a_name_and_boxes_and_a_wordnet_id_need_no_heads(tmp_path: Path) -> None:
    text = "a.png,n01440764,0,8,8\nb.png,n01443537,0,8,8\n"
    assert read_labels(write(tmp_path / "l.csv", text)) == {
        "a.png": "n01440764",
        "b.png": "n01443537",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,0.5,3\nb.png,0.6,4\n", "3 columns, and no first line that names them"),
        ("a.png,n01440764,n01440764\n", "3 columns, and no first line that names them"),
        (
            "image,fine_label,coarse_label\na.png,1,2\n",
            "'fine_label', 'coarse_label'.*--label-column",
        ),
        ("image,score\na.png,1\n", "which holds the labels is not known.*--label-column"),
        ("image,score,width\na.png,1,8\n", "which holds the labels is not known"),
        ("a,label,b\nx.png,1,2\n", "which holds the names of the pictures is not known"),
        ("", "it is empty"),
        ("ImageId,PredictionString\na,n01440764 1 2 3 4 n01443537 1 2 3 4\n", "several classes"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        read_labels(write(tmp_path / "l.csv", text))


def test_a_column_can_be_chosen(tmp_path: Path) -> None:
    file = write(tmp_path / "l.csv", "image,fine_label,coarse_label\na.png,1,2\n")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.png").touch()
    source = open_images(tmp_path / "p", labels=file, label_column="coarse_label")
    assert source[0].label == 2
    assert open_images(**source.arguments)[0].label == 2
    with pytest.raises(CleverError, match="has no 'other' for --label-column"):
        open_images(tmp_path / "p", labels=file, label_column="other")


@pytest.mark.parametrize("key", ["a.png", "./sub/a.png", "sub/a", "a", "val/sub/a.png"])
def test_pictures_may_be_named_without_folders_or_endings(tmp_path: Path, key: str) -> None:
    (tmp_path / "p/sub").mkdir(parents=True)
    (tmp_path / "p/sub/a.png").touch()
    file = write(tmp_path / "l.csv", f"{key},3\n")
    assert open_images(tmp_path / "p", labels=file)[0].label == 3


def test_a_name_of_two_pictures_is_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / "p" / folder).mkdir(parents=True)
        (tmp_path / "p" / folder / "a.png").touch()
    file = write(tmp_path / "l.csv", "a.png,3\n")
    with pytest.raises(CleverError, match=r"calls several pictures 'a.png'"):
        open_images(tmp_path / "p", labels=file)


def test_a_heading_of_a_label_map_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="'class_name' looks like a heading: take it out"):
        read_label_map(write(tmp_path / "m.txt", "class_name\ntench\ngoldfish\n"))
    numbers = read_label_map(
        write(tmp_path / "m.txt", "wnid words\nn01440764 tench\nn01443537 x\n")
    )
    assert numbers == {"n01440764": 0, "n01443537": 1}
    assert read_label_map(write(tmp_path / "m.txt", "class_0\nclass_1\n"))["class 1"] == 1


def test_a_label_map_of_more_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p/tench").mkdir(parents=True)
    (tmp_path / "p/tench/a.png").touch()
    file = write(tmp_path / "m.txt", "all kinds of fish\ntench\ngoldfish\n")
    with pytest.raises(CleverError, match=r"the label map names the class 2.*the model has 2"):
        resolve(open_images(tmp_path / "p", label_map=file), 2)


@pytest.mark.parametrize(
    ("name", "like"),
    [("Label", True), ("gt_label", True), ("WNID", True), ("label_score", False), ("year", False)],
)
def test_names_that_look_like_labels(name: str, like: bool) -> None:
    assert label_like(name) == like


# ---------------------------------------------------------------- label maps, one way round


@pytest.mark.parametrize(
    ("name", "text", "numbers"),
    [
        ("m.json", "[2, 0, 1]", {"2": 0, "0": 1, "1": 2}),
        ("m.json", '["2", "0", "1"]', {"2": 0, "0": 1, "1": 2}),
        ("m.json", "[[2, 5], [0], 1]", {"2": 0, "5": 0, "0": 1, "1": 2}),
        ("m.txt", "2\n0\n1\n", {"2": 0, "0": 1, "1": 2}),
        ("m.json", '{"2": 0, "0": 1, "1": 2}', {"2": 0, "0": 1, "1": 2}),
        ("m.json", '{"0": ["2"], "1": ["0"], "2": ["1"]}', {"2": 0, "0": 1, "1": 2}),
        ("m.json", '{"two": "0", "zero": "1"}', {"two": 0, "zero": 1}),
        ("m.json", '{"0": "0", "1": "1"}', {"0": 0, "1": 1}),
        ("m.json", '{"0": "0", "10": "A"}', {"0": 0, "a": 10}),
    ],
)
def test_numbers_in_label_maps_count_in_one_way(tmp_path: Path, name, text, numbers) -> None:
    assert read_label_map(write(tmp_path / name, text)) == numbers


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", '{"0": "2", "2": "1"}', "'0' and '2' are both numbers in quotes"),
        ("m.json", '{"cat": 0, "1": "dog"}', "some of its values are class numbers"),
        ("m.json", '{"cat": 0, "cat": 1}', "'cat' has the values 0 and 1"),
        ("m.json", '{"0": "cat", "0": "dog"}', "'0' has the values 'cat' and 'dog'"),
        ("m.json", "[true, 1]", "True is no label"),
        ("m.txt", "\ncat\ndog\n", "line 1 is empty, and would count as a class"),
        ("m.txt", "cat\n\ndog\n", "line 2 is empty"),
        ("m.txt", "# of my model\ncat\ndog\n", "'# of my model' looks like a comment"),
        ("none.txt", None, r"the label map .*none.txt' is no file.*Fix: check the path"),
        (".", None, r"is no file.*Fix: check the path"),
    ],
)
def test_label_maps_that_would_shift_are_refused(tmp_path: Path, name, text, message) -> None:
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(CleverError, match=message):
        read_label_map(tmp_path / name)


# ---------------------------------------------------------------- forms of files of labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "filename;label, of ten\na.png;3\nb.png;4\n"),
        ("l.csv", 'filename;label\na.png;"3"\nb.png;4\n'),
        ("l.csv", "a.png;3.\nb.png;4.0\n"),
    ],
)
def test_marks_and_numbers_of_other_programs(tmp_path: Path, name: str, text: str) -> None:
    assert read_labels(write(tmp_path / name, text)) == {"a.png": 3, "b.png": 4}


@pytest.mark.parametrize("ending", [".csv", ".txt"])
@pytest.mark.parametrize("sign", ["\u2028", "\x0c", "\x85"])
def test_rare_signs_of_a_name_do_not_end_its_line(tmp_path: Path, sign: str, ending: str) -> None:
    mark = " " if ending == ".txt" else ","
    file = tmp_path / f"l{ending}"
    file.write_text(f"a{sign}b.png{mark}3\r\nc.png{mark}4\r\n", encoding="utf-8", newline="")
    assert read_labels(file) == {f"a{sign}b.png": 3, "c.png": 4}


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("sub/a.png", r"sub\a.png"),
        ("sub/a.png", r".\sub\a.png"),
        ("caf\u00e9/a.png", "cafe\u0301/a.png"),
    ],
)
def test_names_as_other_systems_write_them(tmp_path: Path, there: str, named: str) -> None:
    (tmp_path / "p" / there).parent.mkdir(parents=True)
    (tmp_path / "p" / there).touch()
    file = write(tmp_path / "l.csv", f"{named},3\n")
    assert open_images(tmp_path / "p", labels=file)[0].label == 3


def test_damaged_files_of_labels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.array(3))
    with pytest.raises(CleverError, match=r"it has the shape \[\]"):
        read_labels(tmp_path / "l.npy")
    with (tmp_path / "l.npy").open("wb") as file:
        np.savez(file, labels=np.arange(3))
    with pytest.raises(CleverError, match="it holds a NpzFile"):
        read_labels(tmp_path / "l.npy")
    for content in (b"", b"PK", b"\x93NUMPY"):
        (tmp_path / "l.npy").write_bytes(content)
        with pytest.raises(CleverError, match="cannot be read"):
            read_labels(tmp_path / "l.npy")
    with pytest.raises(CleverError, match="'a' has the values 1 and 2"):
        read_labels(write(tmp_path / "l.json", '{"a": 1, "a": 2}'))
    with pytest.raises(CleverError, match=r"the labels .* are no file.*Fix: check the path"):
        read_labels(tmp_path / "nofile.json")
