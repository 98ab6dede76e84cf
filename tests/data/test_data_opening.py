"""Which of the things that lie together are meant: splits, configurations, columns, members."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import archive, hub, parquet, picture, put, save_to_disk, table

from clever_ext.data import open_images
from clever_ext.errors import CleverError
from clever_ext.findings import of_concern

ROWS = table({"label": [0, 1]}, {"label": ["cat", "dog"]})


def concerns(source) -> str:
    return "\n".join(map(str, of_concern(source.findings)))


def said(source) -> str:
    return "\n".join(map(str, source.findings))


def tables(root: Path, *names: str, content: pa.Table = ROWS) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, root / name)
    return root


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("names", [("clean", "noisy"), ("a", "train"), ("train_a", "train_b")])
def test_splits_of_any_name_that_were_saved_are_not_mixed(tmp_path: Path, names) -> None:
    for name in names:
        save_to_disk(tmp_path / "d" / name, ROWS)
    (tmp_path / "d/dataset_dict.json").write_text(json.dumps({"splits": names}))
    for root in (tmp_path / "d", tmp_path):
        with pytest.raises(CleverError, match=f"several splits: {', '.join(names)}"):
            open_images(root)
    for name in names:
        assert len(open_images(tmp_path / "d", split=name)) == 2
        assert len(open_images(tmp_path, split=name)) == 2


def test_one_saved_split_or_a_damaged_list_of_them_is_read(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "clean", ROWS)
    for text in ('{"splits": ["clean"]}', "{", "[]", '{"splits": null}', "{}"):
        (tmp_path / "dataset_dict.json").write_text(text)
        assert len(open_images(tmp_path)) == 2


def test_splits_of_any_name_in_the_names_of_files(tmp_path: Path) -> None:
    names = ("data/train-00000-of-00001.parquet", "data/extra-00000-of-00001.parquet")
    tables(tmp_path, *names)
    with pytest.raises(CleverError, match=r"several splits: extra, train.*--split extra"):
        open_images(tmp_path)
    assert len(open_images(tmp_path, split="extra")) == 2
    assert len(open_images(tmp_path, split="train")) == 2
    with pytest.raises(CleverError, match=r"no split 'test'.*one of extra, train"):
        open_images(tmp_path, split="test")


def test_shards_of_one_split_are_read_together(tmp_path: Path) -> None:
    tables(tmp_path / "a", *(f"mnist-{n:05d}-of-00002.parquet" for n in range(2)))
    assert len(open_images(tmp_path / "a")) == 4
    tables(tmp_path / "b", *(f"data/test-{n:05d}-of-00002.parquet" for n in range(2)))
    assert len(open_images(tmp_path / "b")) == 4
    tables(tmp_path / "c", "x/part-0.parquet", "y/part-0.parquet")
    assert len(open_images(tmp_path / "c")) == 4


@pytest.mark.parametrize("name", ["test-00000-of-00001.parquet", "test.parquet"])
def test_configurations_are_not_mixed(tmp_path: Path, name: str) -> None:
    tables(tmp_path, f"cfgA/{name}", f"cfgB/{name}")
    for split in (None, "test"):
        with pytest.raises(CleverError, match=r"'cfgA', 'cfgB'.*Fix: give the folder of one"):
            open_images(tmp_path, split=split)
    assert len(open_images(tmp_path / "cfgA")) == 2


# ---------------------------------------------------------------- what lies beside pictures


def test_a_damaged_table_beside_pictures_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    put(tmp_path, "logo.png")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CleverError, match="cannot be read as a table"):
        open_images(tmp_path)
    put(tmp_path, *(f"{n}.png" for n in range(5)))
    source = open_images(tmp_path)
    assert len(source) == 6
    assert "1 .parquet ('a.parquet') beside the pictures cannot be read" in concerns(source)


def test_links_out_of_the_folder_are_not_followed_to_tables(tmp_path: Path) -> None:
    snapshot = hub(tmp_path, {"test.parquet": parquet(ROWS)})
    assert len(open_images(snapshot)) == 2
    with pytest.raises(CleverError, match=r"leads out of the folder.*--no-follow-links"):
        open_images(snapshot, follow_links=False)
    inside = tables(tmp_path / "in", "a.parquet")
    (inside / "b.parquet").symlink_to("a.parquet")
    assert len(open_images(inside, follow_links=False)) == 4
    put(tmp_path / "out", "1.png")
    put(tmp_path / "d", "0.png")
    (tmp_path / "d/test").symlink_to(tmp_path / "out")
    assert len(open_images(tmp_path / "d", split="test")) == 1
    with pytest.raises(CleverError, match="has no split 'test'"):
        open_images(tmp_path / "d", split="test", follow_links=False)


def test_only_files_of_the_library_are_caches(tmp_path: Path) -> None:
    for name in ("tmp_mine", "temporary", "cache-09a3fd950bd45100", "tmpab12_cd9"):
        with pa.ipc.new_stream(tmp_path / f"{name}.arrow", ROWS.schema) as writer:
            writer.write_table(ROWS)
    source = open_images(tmp_path)
    assert len(source) == 4
    assert "2 .arrow" in said(source)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "options",
    [
        {"path": None},
        {"path": 3},
        {"path": b"x"},
        {"path": ""},
        {"path": "a\0b"},
        {"include": None},
        {"split": 3},
        {"split": ""},
        {"image_column": ""},
        {"label_column": ""},
        {"label_column": ["y"]},
        {"label_pattern": 3},
        {"label_order": ["text"]},
        {"labels": 3},
        {"labels": ""},
        {"label_map": b"m"},
    ],
)
def test_arguments_of_the_wrong_type_are_refused(tmp_path: Path, options) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(CleverError, match=f"^{next(iter(options))} is "):
        open_images(**{"path": tmp_path, **options})


@pytest.mark.parametrize("folder", ["d [x]", "d {a,b}", "d*"])
def test_signs_of_a_pattern_in_the_name_of_a_folder(tmp_path: Path, folder: str) -> None:
    names = [f"a-{n}.parquet" for n in range(3)]
    tables(tmp_path / folder, *names)
    assert len(open_images(tmp_path / folder / "a-*.parquet")) == 6
    assert len(open_images(tmp_path / folder / "a-{0..1}.parquet")) == 4
    with pytest.raises(CleverError, match="is not there"):
        open_images(tmp_path / folder / "a-{0..3}.parquet")


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"x": [1, 2], "y": [3, 4]}, None),
        ({"y": [3, 4], "w": [1, 2], "h": [1, 2]}, None),
        ({"y": [3, 4], "xmin": [1, 2]}, None),
        ({"x1": [1, 2], "y1": [3, 4]}, None),
        ({"num_classes": [3, 4]}, None),
        ({"n_labels": [3, 4], "label_count": [1, 1]}, None),
        ({"y": [3, 4]}, "y"),
        ({"y": [3, 4], "width": [8, 8], "height": [8, 8]}, "y"),
        ({"x": [1, 2], "y": [3, 4], "class_id": [5, 6]}, "class_id"),
        ({"num_classes": [9, 9], "target": [5, 6]}, "target"),
    ],
)
def test_places_and_counts_are_no_labels(tmp_path: Path, columns, label) -> None:
    pictures = ROWS.column("image")
    pq.write_table(pa.table({"image": pictures, **columns}), tmp_path / "a.parquet")
    found = [record.label for record in open_images(tmp_path / "a.parquet")]
    assert found == ([None, None] if label is None else columns[label])
    put(tmp_path / "p", "0.png", "1.png")
    rows = zip(["0.png", "1.png"], *columns.values(), strict=True)
    lines = [",".join(map(str, row)) for row in [("filename", *columns), *rows]]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    if label is None:
        with pytest.raises(CleverError, match="which holds the labels is not known"):
            open_images(tmp_path / "p", labels=tmp_path / "l.csv")
    else:
        source = open_images(tmp_path / "p", labels=tmp_path / "l.csv")
        assert [record.label for record in source] == columns[label]


def test_arrays_of_a_split_lead_to_its_labels(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 8, 8), np.uint8), np.arange(2)
    names = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "mnist.npz", **names)
    with pytest.raises(CleverError, match="--label-column y_test"):
        open_images(tmp_path / "mnist.npz", image_column="x_test")
    np.savez(tmp_path / "xy.npz", x=images, y=labels)
    assert [record.label for record in open_images(tmp_path / "xy.npz")] == [0, 1]


@pytest.mark.parametrize("described", [{}, {"info": None}, [1], {"info": {"features": None}}, None])
def test_descriptions_for_other_programs_may_be_of_any_form(tmp_path: Path, described) -> None:
    content = ROWS.replace_schema_metadata({"huggingface": json.dumps(described)})
    pq.write_table(content, tmp_path / "a.parquet")
    source = open_images(tmp_path / "a.parquet")
    assert [record.label for record in source] == [0, 1]
    assert source.label_names is None


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())],
)
def test_kinds_of_bytes(tmp_path: Path, kind, ending: str) -> None:
    plain = pa.array([picture(0), picture(1), picture(0)], pa.binary())
    encoded = pa.types.is_dictionary(kind)
    content = pa.table({"image": plain.dictionary_encode() if encoded else plain.cast(kind)})
    file = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(content, file)
    else:
        with pa.ipc.new_file(file, content.schema) as writer:
            writer.write_table(content)
    read = [record.place.read() for record in open_images(file)]
    assert read == [picture(0), picture(1), picture(0)]


# ---------------------------------------------------------------- members of archives


def packed(path: Path, *names: str, **others: str) -> Path:
    members = {name: picture(n) for n, name in enumerate(names)}
    return archive(path, {**members, **{k: v.encode() for k, v in others.items()}})


def test_several_views_of_a_sample_are_said_without_labels_too(tmp_path: Path) -> None:
    packed(tmp_path / "a.tar", "b.jpg")
    packed(tmp_path / "b.tar", "a.jpg", "a.seg.png")
    source = open_images(tmp_path)
    assert "'a' has 2 pictures, 'a.jpg', 'a.seg.png': each is scored" in concerns(source)
    plain = packed(tmp_path / "c.tar", "a.1.jpg", "a.2.jpg", "b.jpg")
    assert "each is scored" not in concerns(open_images(plain))


def test_hidden_members_are_counted(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar", "a.jpg", "._a.jpg", "sub/.b.png")
    source = open_images(file)
    assert len(source) == 1
    assert "hidden pictures left out: 2, '._a.jpg' the first" in said(source)


def test_a_label_is_that_of_its_own_picture(tmp_path: Path) -> None:
    one = packed(tmp_path / "a.tar", "img.1.jpg", "img.2.jpg", **{"img.1.cls": "3"})
    with pytest.raises(CleverError, match=r"1 of 2 pictures have no label, 'img\.2\.jpg'"):
        open_images(one)
    members = {"0.5.cls": "3", "0.6.cls": "4", "1.cls.txt": "5"}
    both = packed(tmp_path / "b.tar", "0.5.jpg", "0.6.jpg", "1.jpg", **members)
    assert [record.label for record in open_images(both)] == [3, 4, 5]
    views = packed(tmp_path / "c.tar", "a.jpg", "a.seg.png", **{"a.cls": "7"})
    assert [record.label for record in open_images(views)] == [7, 7]


@pytest.mark.parametrize("name", ["index.json", "meta.json", "sub/classes.json"])
@pytest.mark.parametrize("text", ["[1, 2]", '{"classes": ["cat"]}', "{"])
def test_records_of_a_whole_archive_are_no_labels(tmp_path: Path, name: str, text: str) -> None:
    file = packed(tmp_path / "a.tar", "cat/0.jpg", "dog/1.jpg", **{name: text})
    source = open_images(file)
    assert [record.label for record in source] == ["cat", "dog"]
    assert os.path.basename(name) in said(source)  # noqa: PTH119
