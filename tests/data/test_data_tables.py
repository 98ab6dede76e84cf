"""Parquet and Arrow files in the layout of Hugging Face's data sets."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

from clever_ext import data
from clever_ext.data import Preprocessing, open_images
from clever_ext.errors import CleverError

SMALL = Preprocessing(64, 64)
PHOTOGRAPHS = list(data.sample_pictures())[:7]
BYTES = [record.place.read() for record in PHOTOGRAPHS]
NAMES = [record.name for record in PHOTOGRAPHS]
LABELS = [record.label for record in PHOTOGRAPHS]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(
    pictures=BYTES, names=NAMES, labels=LABELS, column: str = "image", kind: pa.DataType = STRUCT
) -> pa.Table:
    if kind == STRUCT:
        pictures = [
            None if content is None else {"bytes": content, "path": name}
            for content, name in zip(pictures, names, strict=True)
        ]
    columns = {column: pa.array(pictures, kind)}
    if labels is not None:
        columns["label"] = pa.array(labels)
    return pa.table(columns)


def write(path: Path, content: pa.Table, rows: int = 3) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(content, path, row_group_size=rows)
    elif path.suffix == ".feather":
        pa.feather.write_feather(content, path, compression="lz4", chunksize=rows)
    else:
        file = path.name.startswith("file")
        with (pa.ipc.new_file if file else pa.ipc.new_stream)(path, content.schema) as writer:
            writer.write_table(content, max_chunksize=rows)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow", "a.feather"])
def test_tables_are_read_like_the_files_that_are_in_them(tmp_path: Path, name: str) -> None:
    source = open_images(write(tmp_path / name, table()))
    assert source.kind == "table"
    assert [record.name for record in source] == NAMES
    assert [record.image_id for record in source] == [data.image_id(name) for name in NAMES]
    assert [record.label for record in source] == LABELS
    for n in (6, 0, 4, 3):
        assert torch.equal(data.load(source[n], SMALL), data.load(PHOTOGRAPHS[n], SMALL))
    assert list(open_images(**source.arguments)) == list(source)
    assert pickle.loads(pickle.dumps(source[0])) == source[0]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/test-00000-of-00002.parquet", table().slice(0, 4))
    write(tmp_path / "data/test-00001-of-00002.parquet", table().slice(4))
    (tmp_path / "README.md").touch()
    assert [record.name for record in open_images(tmp_path)] == NAMES
    part = open_images(tmp_path / "data" / "test-00001-*.parquet")
    assert [record.name for record in part] == NAMES[4:]
    assert torch.equal(data.load(part[1], SMALL), data.load(PHOTOGRAPHS[5], SMALL))


@pytest.mark.parametrize("names", [[None] * 7, ["same.jpg"] * 7, [*NAMES[:6], None]])
def test_rows_without_names_of_their_own_are_numbered(tmp_path: Path, names) -> None:
    source = open_images(write(tmp_path / "a.parquet", table(names=names)))
    assert [record.name for record in source] == [f"a.parquet/{n}" for n in range(7)]


@pytest.mark.parametrize(
    "options", [{"kind": pa.binary()}, {"kind": pa.large_binary()}, {"column": "img"}]
)
def test_other_columns_of_pictures(tmp_path: Path, options) -> None:
    source = open_images(write(tmp_path / "a.parquet", table(**options)))
    assert torch.equal(data.load(source[5], SMALL), data.load(PHOTOGRAPHS[5], SMALL))


@pytest.mark.parametrize(
    "labels",
    [None, [f"n{n:08d}" for n in range(7)], pa.array(["a", "b"] * 3 + ["a"]).dictionary_encode()],
)
def test_other_labels(tmp_path: Path, labels) -> None:
    source = open_images(write(tmp_path / "a.parquet", table(labels=labels)))
    expected = [None] * 7 if labels is None else list(pa.array(labels).to_pylist())
    assert [record.label for record in source] == expected


def test_a_group_of_rows_is_decoded_once(tmp_path: Path, monkeypatch) -> None:
    read = pq.ParquetFile.iter_batches
    groups = []

    def counting(self, row_groups, columns, **options):
        groups.append((*row_groups, columns))
        return read(self, row_groups=row_groups, columns=columns, **options)

    source = open_images(write(tmp_path / "a.parquet", table()))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    for record in source:
        data.load(record, SMALL)
    assert groups == [(0, ["image"]), (1, ["image"]), (2, ["image"])]


def test_a_long_group_of_rows_is_decoded_a_few_rows_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("clever_ext.data.tables._TOGETHER", 2 * max(map(len, BYTES)))
    source = open_images(write(tmp_path / "a.parquet", table(), rows=7))
    decoded = []
    read = pq.ParquetFile.iter_batches

    def counting(self, **options):
        for batch in read(self, **options):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    for n in (0, 1, 3, 6, 2, 5):  # backwards it begins anew
        assert source[n].place.read() == BYTES[n]
    assert max(decoded) < 7
    assert sum(decoded) < 14


def test_rows_that_do_not_fit_into_memory_are_no_decompression_bombs(
    tmp_path: Path, monkeypatch
) -> None:
    source = open_images(write(tmp_path / "a.parquet", table()))

    def full(*_, **__):
        raise pa.ArrowMemoryError("malloc of size 757000000 failed")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", full)
    with pytest.raises(CleverError, match=r"row 1 .* does not fit into memory.*row_group_size=100"):
        data.load(source[1], SMALL)


@pytest.mark.parametrize("name", ["stream.arrow", "a.feather", "a.parquet"])
def test_pictures_that_are_packed_too_closely_are_refused(
    tmp_path: Path, name, monkeypatch
) -> None:
    monkeypatch.setattr("clever_ext.data.tables.MAX_BATCH", len(BYTES[0]))
    plain = open_images(write(tmp_path / "file.arrow", table()))
    assert plain[1].place.read() == BYTES[1]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table().schema, options=options) as writer:
        writer.write_table(table())
    if not name.startswith("stream"):
        write(tmp_path / name, table(), rows=7)
    with pytest.raises(CleverError, match=r"packed together: \d+ bytes"):
        open_images(tmp_path / name)


@pytest.mark.parametrize("empty", [None, b""])
@pytest.mark.parametrize("kind", [STRUCT, pa.binary()])
def test_rows_without_pictures_are_errors_of_their_own(tmp_path: Path, empty, kind) -> None:
    pictures = [BYTES[0], empty, *BYTES[2:]]
    source = open_images(write(tmp_path / "a.parquet", table(pictures, kind=kind)))
    with pytest.raises(CleverError, match=r"holds no bytes|cannot be decoded"):
        data.load(source[1], SMALL)
    assert data.load(source[2], SMALL).shape == (3, 64, 64)


def test_paths_in_a_table_are_not_followed(tmp_path: Path) -> None:
    pictures = pa.array([{"bytes": None, "path": str(PHOTOGRAPHS[0].place.path)}], STRUCT)
    source = open_images(write(tmp_path / "a.parquet", pa.table({"image": pictures})))
    with pytest.raises(CleverError, match="paths to other files are not followed"):
        data.load(source[0], SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pa.table({"caption": ["a"], "size": [1]}), r"columns caption \(string\), size \(int64\)"),
        (pa.table({"image": ["a.jpg"]}), r"columns image \(string\)"),
        (pa.table({}), "columns of nothing"),
        (pa.table({"image": [b"x"], "label": [0.5]}), "0.5 is no label"),
        (pa.table({"image": [b"x", b"y"], "label": [1, None]}), "1 of 2 pictures have no label"),
        (pa.table({"image": [b"x"]}).slice(0, 0), "no picture matches"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, content: pa.Table, message: str) -> None:
    with pytest.raises(CleverError, match=message):
        open_images(write(tmp_path / "a.parquet", content))


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "replaced"])
def test_damaged_tables_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    path = write(tmp_path / name, table())
    content = path.read_bytes()
    path.write_bytes(
        {"emptied": b"", "cut": content[: len(content) // 2], "replaced": b"x" * 99}[damage]
    )
    with pytest.raises(CleverError, match="cannot be read as a table"):
        open_images(path)


def test_a_table_that_changes_meanwhile_is_not_read_on(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "a.parquet", table()))
    write(tmp_path / "a.parquet", table().slice(3))
    with pytest.raises(CleverError, match="has changed since"):
        data.load(source[0], SMALL)
