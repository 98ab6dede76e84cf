"""Pictures in Parquet and Arrow files, in the layout of Hugging Face's data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CleverError
from ..findings import Finding
from .columns import label_column, label_like, labels_among, picture_column
from .contents import Container
from .records import ImageRecord, Label, Listing, distinct_names, known_label

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ENDINGS = (".parquet", ".arrow", ".feather")
"""Endings of files that hold a table of pictures, in lower case."""

MAX_BATCH = 5 * 2**28
"""Bytes that may be decoded to get at one picture. With them a worker takes 2.7 GiB."""

_TOGETHER = 2**25
"""Bytes of pictures that are decoded together, about."""


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
        try:
            value = _open(self.container).picture(self.column, self.group, self.row)
        except MemoryError as error:
            raise CleverError(
                f"row {self.row} of group {self.group} of {str(self.container.path)!r} does not "
                "fit into memory, with the rows that are packed together with it",
                "a table that can be read in parts",
                "write it anew with small groups of rows, such as pyarrow's row_group_size=100",
            ) from error
        found: bytes | None = value["bytes"] if isinstance(value, dict) else value
        if found is None:
            raise CleverError(
                f"row {self.row} of group {self.group} of {str(self.container.path)!r} holds no "
                "bytes",
                "the picture itself: paths to other files are not followed",
                "write the pictures into the table",
            )
        return found


def list_tables(
    files: Sequence[Path],
    names: Sequence[str],
    picture: str | None = None,
    label: str | None = None,
) -> Listing:
    """List the pictures in tables.

    A picture is named by the path beside its bytes, where all pictures have one of their own, else
    by its file's name and the number of its row.

    Args:
        files: The tables, in order.
        names: What to call each.
        picture: The column of the pictures, where it was asked for.
        label: That of the labels.

    Raises:
        CleverError: If one is damaged, has no column of pictures, or several that may be the
            pictures or the labels, or labels that are no integers or text.
    """
    tables = [_Listed.of(file, picture, label) for file in files]
    first = tables[0]
    for each in tables:
        if (each.label, each.label_names) != (first.label, first.label_names):
            raise CleverError(
                f"{str(files[0])!r} and another of the {len(files)} tables have labels in other "
                "columns, or other names of classes",
                "tables of one data set",
                "give the files of one data set",
            )
    paths = [path for each in tables for path in each.paths]
    positions = [
        f"{name}/{row}"
        for name, each in zip(names, tables, strict=True)
        for row in range(len(each.paths))
    ]
    places = [place for each in tables for place in each.places]
    labels = [label for each in tables for label in each.labels]
    called = distinct_names(paths, positions)
    what = f"the column {first.label!r}"
    unlabelled = f"{what} holds none" if first.label else f"no column of {first.columns} holds any"
    findings = []
    if first.others:
        also = ", ".join(map(repr, first.others))
        findings.append(Finding("labels", f"not used, beside {what}: {also}"))
    return Listing(
        "table",
        [ImageRecord.of(*each) for each in zip(called, places, labels, strict=True)],
        paths=called if called == paths else None,
        labels_from=what,
        why=unlabelled,
        fix=""
        if first.label
        else "name the column (--label-column), or give them in a file (--labels FILE)",
        label_names=first.label_names,
        findings=findings,
    )


@dataclass
class _Listed:
    """What a table holds: for each row a path, a place and a label."""

    columns: str
    label: str | None
    others: list[str]
    label_names: list[str] | None
    paths: list[str | None]
    places: list[RowOfTable]
    labels: list[Label | None]

    @classmethod
    def of(cls, file: Path, picture: str | None, label: str | None) -> _Listed:
        container = Container.of(file)
        try:
            table = _open(container)
            column, field = _column(file, table.schema, picture)
            table.check(column, file)
            columns = [name for name in table.schema.names if name != column]
            label = label_column(columns, label, repr(str(file)), column)
            others = [name for name in labels_among(columns) if name != label]
            found = cls(
                _names(table.schema), label, others, _label_names(table.schema, label), [], [], []
            )
            for group, rows in enumerate(table.groups):
                found.paths += table.read(group, column, field) if field else [None] * rows
                values = table.read(group, label) if label else [None] * rows
                found.labels += [_label(value, label, file) for value in values]
                found.places += [RowOfTable(container, column, group, row) for row in range(rows)]
        except CleverError:
            raise
        except Exception as error:  # a damaged file raises nearly anything
            raise CleverError(
                f"{str(file)!r} cannot be read as a table ({type(error).__name__}: {error})",
                "a complete Parquet or Arrow file",
                "make the file anew",
            ) from error
        return found


def _label(value: object, column: str | None, file: Path) -> Label | None:
    try:
        return known_label(value)
    except ValueError as error:
        raise CleverError(
            f"the column {column!r} of {str(file)!r} holds no labels ({error})",
            "class numbers, WordNet ids or names",
            "name another column (--label-column), or say --labels none",
        ) from error


def _label_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """The names of the classes, where Hugging Face's description of a table has them."""
    described = (schema.metadata or {}).get(b"huggingface")
    if label is None or described is None:
        return None
    with suppress(
        ValueError, AttributeError, LookupError, TypeError
    ):  # it is for another program to read
        feature = json.loads(described)["info"]["features"].get(label, {})
        names = feature.get("names")
        if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
            return names
    return None


class _Parquet:
    """A Parquet file, mapped into memory; its groups of rows are those that it was written in.

    A group may be as long as the file. So its pictures are decoded from its beginning, a few at a
    time: pictures are mostly read in order.
    """

    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(file, memory_map=True)
        self.schema: pa.Schema = self._file.schema_arrow
        metadata = self._file.metadata
        found = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        self.groups = [group.num_rows for group in found]
        self._lengths = [group.total_byte_size for group in found]
        self._reading: tuple[str, int] | None = None
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._first = 0

    def read(self, group: int, column: str, field: str | None = None) -> list[Any]:
        """One column of a group of rows, or one field of it."""
        path = f"{column}.{field}" if field else column
        table = self._file.read_row_group(group, columns=[path], use_threads=False)
        return _values(table.column(column), field)

    def check(self, column: str, file: Path) -> None:
        """Refuse a file whose pictures lie in pages too long for the memory of a worker."""
        import pyarrow as pa

        longest = max(range(len(self.groups)), key=self._lengths.__getitem__, default=0)
        if self.groups and self._lengths[longest] > MAX_BATCH:
            before = pa.total_allocated_bytes()
            self.picture(column, longest, 0)
            length = pa.total_allocated_bytes() - before
            self._reading, self._batches, self._batch = None, iter(()), None
            _check_length(file, length)

    def picture(self, column: str, group: int, row: int) -> Any:
        """The value in one row of a group."""
        reading, self._reading = self._reading, None  # until this has succeeded
        if reading != (column, group) or row < self._first:
            rows, length = self.groups[group], max(1, self._lengths[group])
            self._batches = self._file.iter_batches(
                batch_size=max(1, min(rows, rows * _TOGETHER // length)),
                row_groups=[group],
                columns=[column],
                use_threads=False,
            )
            self._first, self._batch = 0, next(self._batches)
        while row >= self._first + self._batch.num_rows:
            self._first += self._batch.num_rows
            self._batch = next(self._batches)
        self._reading = column, group
        return self._batch.column(0)[row - self._first].as_py()


class _Arrow:
    """An Arrow file or stream, mapped into memory; its groups of rows are its batches."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        before = pa.total_allocated_bytes()
        mapped = pa.memory_map(str(file))
        try:
            reader = pa.ipc.open_file(mapped)
            batches = range(reader.num_record_batches)
            self._get = reader.get_batch
        except pa.ArrowInvalid:  # a stream has no table of contents at its end
            mapped.seek(0)
            reader = pa.ipc.open_stream(mapped)
            streamed = list(reader)
            batches = range(len(streamed))
            self._get = streamed.__getitem__
        # A compressed batch is decoded whole, once where its pictures are read in order.
        self._batch = lru_cache(maxsize=1)(self._get)
        self.schema: pa.Schema = reader.schema
        self.groups = []
        for number in batches:
            self.groups.append(self._batch(number).num_rows)
            _check_length(file, pa.total_allocated_bytes() - before)

    def read(self, group: int, column: str, field: str | None = None) -> list[Any]:
        """One column of a group of rows, or one field of it."""
        return _values(self._batch(group).column(column), field)

    def check(self, column: str, file: Path) -> None:
        """Nothing more to refuse: batches were decoded to be counted."""

    def picture(self, column: str, group: int, row: int) -> Any:
        """The value in one row of a group."""
        return self._batch(group).column(column)[row].as_py()


def _check_length(file: Path, length: int) -> None:
    if length > MAX_BATCH:
        raise CleverError(
            f"{str(file)!r} has pictures that are packed together: {length} bytes take memory at a "
            "time",
            f"at most {MAX_BATCH} bytes at a time",
            "write it anew in small groups of rows, as Parquet with row_group_size=100",
        )


def _values(column: Any, field: str | None) -> list[Any]:
    import pyarrow.compute as pc

    found: list[Any] = (column if field is None else pc.struct_field(column, field)).to_pylist()
    return found


@lru_cache(maxsize=4)
def _open(container: Container) -> _Parquet | _Arrow:
    parquet = container.path.suffix.lower() == ".parquet"
    return _Parquet(container.path) if parquet else _Arrow(container.path)


def _names(schema: pa.Schema) -> str:
    return ", ".join(f"{each.name} ({each.type})" for each in schema) or "nothing"


def _column(file: Path, schema: pa.Schema, asked: str | None) -> tuple[str, str | None]:
    """The column of pictures, and the field in it that names them."""
    import pyarrow as pa

    def holds_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return any(
            is_of(kind)
            for is_of in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
        )

    structs = {
        each.name: [field.name for field in each.type]
        for each in schema
        if pa.types.is_struct(each.type)
        and any(field.name == "bytes" and holds_bytes(field.type) for field in each.type)
    }
    # A label may be bytes too; a record with bytes is a picture.
    binary = [each.name for each in schema if holds_bytes(each.type) and not label_like(each.name)]
    name = picture_column([*structs, *binary], asked, repr(str(file)))
    if name is None:
        raise CleverError(
            f"{str(file)!r} has the columns {_names(schema).replace('nothing', 'of nothing')}",
            'the pictures in a column "image", as bytes or as records with a field "bytes"',
            "write the encoded pictures into such a column",
        )
    return name, "path" if "path" in structs.get(name, ()) else None
