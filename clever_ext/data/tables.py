"""Pictures in Parquet and Arrow files, in the layout of Hugging Face's data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CleverError
from .contents import Container
from .labels import parse_label
from .records import ImageRecord, Label, distinct_names

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ENDINGS = (".parquet", ".arrow", ".feather")
"""Endings of files that hold a table of pictures, in lower case."""


@dataclass(frozen=True)
class RowOfTable:
    """The picture in one row of a table.

    Attributes:
        container: The file.
        column: Of the pictures: bytes, or records with a field "bytes".
        group: Number of the group of rows that is read together.
        row: Number of the row in it.
    """

    container: Container
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        """Return the picture's file.

        Raises:
            CleverError: If the file has changed since it was listed, or the row has no picture.
            OSError: If it cannot be read.
        """
        self.container.check()
        value = _pictures(self.container, self.column, self.group)[self.row].as_py()
        found: bytes | None = value["bytes"] if isinstance(value, dict) else value
        if found is None:
            raise CleverError(
                f"row {self.row} of group {self.group} of {str(self.container.path)!r} holds no "
                "bytes",
                "the picture itself: paths to other files are not followed",
                "write the pictures into the table",
            )
        return found


def list_tables(files: Sequence[Path], names: Sequence[str]) -> list[ImageRecord]:
    """Records of the pictures in tables.

    A picture is named by the path beside its bytes, where all pictures have one of their own, else
    by its file's name and the number of its row.

    Args:
        files: The tables, in order.
        names: What to call each.

    Raises:
        CleverError: If one is damaged, or has no column of pictures or one of other labels than
            integers and text.
    """
    found = [
        (f"{name}/{row}", *each)
        for file, name in zip(files, names, strict=True)
        for row, each in enumerate(_list(file))
    ]
    called = distinct_names([path for _, path, _, _ in found], [position for position, *_ in found])
    return [
        ImageRecord.of(name, place, label)
        for name, (_, _, place, label) in zip(called, found, strict=True)
    ]


def _list(file: Path) -> list[tuple[str | None, RowOfTable, Label | None]]:
    """Path, place and label of each row of a table."""
    container = Container.of(file)
    found = []
    try:
        table = _open(container)
        column, field = _column(file, table.schema)
        has_labels = "label" in table.schema.names
        for group, rows in enumerate(table.groups):
            paths = table.read(group, column, field).to_pylist() if field else [None] * rows
            labels = table.read(group, "label").to_pylist() if has_labels else [None] * rows
            for row, (path, label) in enumerate(zip(paths, labels, strict=True)):
                place = RowOfTable(container, column, group, row)
                found.append((path, place, None if label is None else parse_label(label)))
    except CleverError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise CleverError(
            f"{str(file)!r} cannot be read as a table ({type(error).__name__}: {error})",
            'a complete Parquet or Arrow file with integers or text in its column "label"',
            "make the file anew",
        ) from error
    return found


class _Parquet:
    """A Parquet file; its groups of rows are those that it was written in."""

    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(file)
        self.schema: pa.Schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def read(self, group: int, column: str, field: str | None = None) -> Any:
        """One column of a group of rows, or one field of it."""
        path = f"{column}.{field}" if field else column
        table = self._file.read_row_group(group, columns=[path], use_threads=False)
        return _field(table.column(column), field)


class _Arrow:
    """An Arrow file or stream, mapped into memory; its groups of rows are its batches."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        mapped = pa.memory_map(str(file))
        try:
            reader = pa.ipc.open_file(mapped)
            batches = range(reader.num_record_batches)
            self._batch = reader.get_batch
        except pa.ArrowInvalid:  # a stream has no table of contents at its end
            mapped.seek(0)
            reader = pa.ipc.open_stream(mapped)
            streamed = list(reader)
            batches = range(len(streamed))
            self._batch = streamed.__getitem__
        self.schema: pa.Schema = reader.schema
        self.groups = [self._batch(number).num_rows for number in batches]

    def read(self, group: int, column: str, field: str | None = None) -> Any:
        """One column of a group of rows, or one field of it."""
        return _field(self._batch(group).column(column), field)


def _field(column: Any, field: str | None) -> Any:
    import pyarrow.compute as pc

    return column if field is None else pc.struct_field(column, field)


@lru_cache(maxsize=4)
def _open(container: Container) -> _Parquet | _Arrow:
    parquet = container.path.suffix.lower() == ".parquet"
    return _Parquet(container.path) if parquet else _Arrow(container.path)


# Pictures are mostly read in order: their group of rows is decoded once, and not kept for long.
@lru_cache(maxsize=1)
def _pictures(container: Container, column: str, group: int) -> Any:
    table = _open(container)
    return table.read(group, column)


def _column(file: Path, schema: pa.Schema) -> tuple[str, str | None]:
    """The column of pictures, and the field in it that names them."""
    import pyarrow as pa

    def holds_bytes(kind: pa.DataType) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    structs = {
        each.name: [field.name for field in each.type]
        for each in schema
        if pa.types.is_struct(each.type)
        and any(field.name == "bytes" and holds_bytes(field.type) for field in each.type)
    }
    binary = [each.name for each in schema if holds_bytes(each.type)]
    for name in ("image", *structs):  # some data sets call it "img"
        if name in structs:
            return name, "path" if "path" in structs[name] else None
        if name in binary:
            return name, None
    columns = ", ".join(f"{each.name} ({each.type})" for each in schema)
    raise CleverError(
        f"{str(file)!r} has the columns {columns or 'of nothing'}",
        'the pictures in a column "image", as bytes or as records with a field "bytes"',
        "write the encoded pictures into such a column",
    )
