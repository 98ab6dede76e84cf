"""What a scoring run found: rows of (image, target, norm, radius), and the settings behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .. import durable
from ..arguments import shown
from ..errors import CleverError
from ..markup import as_html
from .summary import first_rows, numbers, words

# pandas and pyarrow are imported where they are used: together they take longer than all the rest.
if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

#: The columns of a row, in order, and what they hold. Lengths are in the units of the images.
COLUMNS = {
    "image_id": "integer",
    "image": "string",  # where it came from, where that is known
    "input_digest": "string",  # of the values that the model got
    "label": "integer",
    "predicted": "integer",
    "target": "integer",
    "left_out": "integer",  # classes that the image could be moved to, and that have no row
    "left_out_by": "float",  # the nearest of them over the nearest target, by first order
    "norm": "float",
    "estimator": "string",
    "radius": "float",
    "margin": "float",
    "lipschitz": "float",  # the fitted location
    "score": "float",
    "score_low": "float",  # 95 % interval
    "score_high": "float",
    "max_norm": "float",
    "norm_at_image": "float",
    "first_order": "float",  # margin / norm_at_image, as `first_order` has it
    "nearest_flip": "float",  # distance of the nearest point seen whose margin was not positive
    "shape": "float",
    "scale": "float",
    "ks": "float",
    "p_value": "float",
    "n_batches": "integer",
    "batch_samples": "integer",
    "n_gradients": "integer",
    "p_lowest": "float",  # of a race: the probability that no target has a lower score
    "capped": "boolean",
    "status": "string",
    "flags": "string",
    "error": "string",  # why an image has no score, where the status is "error"
    "maxima": "floats",
    "curve": "floats",  # of the steepest place: lipschitz after so many gradients
    "curve_gradients": "floats",
    "witness": "floats",  # where asked for, flattened: the steepest point; of a bracket its flip
    "steepest": "floats",  # of a bracket, likewise: the point that decided its lower end
}

#: Those that hold one value a row: the lists of many rows do not fit into memory.
SCALARS = tuple(name for name, kind in COLUMNS.items() if kind != "floats")
#: Status of rows whose target is the predicted class, or has a logit of -inf: their margin is
#: infinite, and they count in no minimum.
NO_TARGET = "no-target"
#: In the column `estimator`: a location that is a prediction, not a fit of the row's own maxima.
PREDICTED = "clever-adaptive"
_NULLABLE_INTEGERS = ("label", "predicted", "target", "left_out")
_METADATA_KEY = b"clever_ext"
#: Files that are read at the same time.
_READERS = 4
#: Written into every file; a reader refuses files of a later format.
FORMAT = 1


def _path_of(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError as error:
        raise CleverError(
            f"path={shown(path)} is no path", "the name of a file", 'give e.g. "scores.parquet"'
        ) from error


def check_result(result: Any) -> None:
    """Refuse what is no result.

    Raises:
        CleverError: it is something else.
    """
    if not isinstance(result, CleverResult):
        raise CleverError(
            f"result is {type(result).__name__}",
            "a CleverResult",
            "give what clever_score or CleverResult.load returned, not its table",
        )


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "string": pa.string(),
        "floats": pa.list_(pa.float64()),
    }
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def first_order(margin: npt.ArrayLike, norm_at_image: npt.ArrayLike) -> Floats:
    """Return margin / gradient norm at the image, [rows]: where a linear margin would be gone.

    It is 0 without a margin, infinite where there is no gradient, and NaN where one of the two is
    not finite.
    """
    margins, norms = (np.asarray(each, dtype=np.float64) for each in (margin, norm_at_image))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(margins > 0, margins / norms, 0.0)
    return np.where(np.isfinite(margins) & np.isfinite(norms), ratio, np.nan)


def make_table(rows: dict[str, Sequence[Any] | npt.NDArray[Any]]) -> pd.DataFrame:
    """Build the table from columns; those left out are missing values.

    `first_order` follows from others, so that files of before it was written have it too: as the
    score, it is 0 where an image is misclassified.
    """
    import pandas as pd

    n = len(rows["image_id"])
    if "margin" in rows and "norm_at_image" in rows:
        ratio = first_order(rows["margin"], rows["norm_at_image"])
        wrong = np.asarray(rows.get("status", [""] * n)) == "misclassified"
        rows = rows | {"first_order": np.where(wrong, 0.0, ratio)}
    missing: dict[str, Callable[[], Any]] = {
        "integer": lambda: np.zeros(n, dtype=np.int64),
        "float": lambda: np.full(n, np.nan),
        "boolean": lambda: np.zeros(n, dtype=bool),
        "string": lambda: [""] * n,
        "floats": lambda: [np.empty(0)] * n,
    }
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        values = rows.get(name)
        if name in _NULLABLE_INTEGERS:
            columns[name] = pd.array([None] * n if values is None else values, dtype="Int64")
        elif values is None:
            columns[name] = missing[kind]()
        else:
            columns[name] = list(values) if kind == "floats" else values
    return pd.DataFrame(columns)


def _to_arrow(table: pd.DataFrame, metadata: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    def values(name: str) -> Any:
        if COLUMNS[name] in ("floats", "string"):
            return list(table[name])
        return table[name].array if name in _NULLABLE_INTEGERS else table[name].to_numpy()

    # Column by column: pandas' own way would turn NaN, which is a result here, into null.
    schema = _schema()
    arrays = [pa.array(values(column.name), column.type) for column in schema]
    text = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata({_METADATA_KEY: text.encode()}))


def read_metadata(path: Path) -> dict[str, Any]:
    """Read what a file of results says of itself, from its last bytes alone.

    Raises:
        CleverError: the file is missing, is damaged or no such file, or has a later format.
    """
    import pyarrow.parquet as pq

    return _metadata(path, _reading(path, pq.read_schema))


def _read(path: Path, columns: Sequence[str] | None) -> tuple[pa.Table, dict[str, Any]]:
    import pyarrow.parquet as pq

    def whole(file: BinaryIO) -> pa.Table:
        # Of a column that an earlier version did not have it says nothing.
        parts = pq.ParquetFile(file, page_checksum_verification=True)
        return parts.read(None if columns is None else list(columns))

    arrow = _reading(path, whole)
    return arrow.replace_schema_metadata(None), _metadata(path, arrow.schema)


def _reading(path: Path, read: Callable[[BinaryIO], Any]) -> Any:
    import pyarrow as pa

    try:
        with path.open("rb") as file:  # Arrow itself opens no name that is not UTF-8
            return read(file)
    except (OSError, pa.ArrowException) as error:
        raise CleverError(
            f"{path} cannot be read: {error}",
            "a whole Parquet file that CleverResult.save wrote",
            "check the path, or score again: the part of a run is made anew where it is missing",
        ) from error


def _metadata(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """Return a file's metadata, once it is known to be one that this version reads."""
    metadata: dict[str, Any] = {}
    with suppress(ValueError):  # no JSON: not ours, or damaged
        metadata = json.loads((schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    ours = _schema()  # an earlier version may have had fewer columns
    known = all(each.name in COLUMNS and each.equals(ours.field(each.name)) for each in schema)
    if metadata.pop("format", None) != FORMAT or not known:
        raise CleverError(
            f"{path} is not a file of results that this version reads",
            f"results of format {FORMAT}, written by CleverResult.save",
            "read it with the version of clever_ext that wrote it",
        )
    return metadata


@dataclass(frozen=True)
class CleverResult:
    """Scores with all that they were made from.

    Attributes:
        table: One row per (image, target, norm, radius), columns as in `COLUMNS`. `maxima` holds
            the N_b batch maxima, so that a row can be fitted again without a gradient.
        metadata: Settings, seed, versions, device, the model's name and a digest of its weights.
    """

    table: pd.DataFrame
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = words(self.metadata, self.decisive(), self.scores)
        return "\n  ".join([*told, "all rows: .table; the score of each image by norm: .scores"])

    def _repr_html_(self) -> str:
        """Return the same with a table of the first images, as notebooks show it."""
        title, *lines = words(self.metadata, self.decisive(), self.scores)
        head, rows, more = first_rows(self.decisive())
        return as_html(title, [*lines, more], head, rows)

    def summary(self) -> dict[str, float]:
        """Return what the scores come to as a flat dictionary of numbers, for TensorBoard and such.

        `images` and `gradients`, and for each norm, after "l1/", "l2/" or "linf/": `scored`, the
        share of the images that have a score; `score_mean` and `score_median` of these; `capped`,
        the share whose score is the radius; `flip_seen`, the share of which a flip is known, and
        their `flip_median`; where there are labels `misclassified`, a share. NaN: there is none.

        >>> import clever_ext as cx, torch
        >>> model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4)
        >>> told = cx.clever_score(model, images, n_batches=4, batch_samples=8).summary()
        >>> told["images"], told["l2/scored"]
        (2.0, 1.0)
        """
        return numbers(self.table, self.decisive(), self.scores, self.flips)

    @cached_property
    def scores(self) -> dict[float, Floats]:
        """Map each norm to the score of each image, float64 [N]: the smallest over its targets.

        Where a target has rows of several radii, its score is the largest of theirs, since each is
        a bound by itself. Images stand in the order of their first rows. A score that is not a
        number stays one: an image with such a row, or without a row for the norm, has NaN. Rows of
        the status "no-target" count only where an image has no other.
        """
        images = self.table["image_id"].unique()
        rows = self.table.loc[self._deciding()]
        return {
            float(str(norm)): group.set_index("image_id")["score"]
            .reindex(images)
            .to_numpy(dtype=np.float64)
            for norm, group in rows[rows["norm"].notna()].groupby("norm", sort=False)
        }

    @cached_property
    def flips(self) -> dict[float, npt.NDArray[np.float64]]:
        """Map each norm to the nearest flip of each image, float64 [N]: over all its targets.

        It is the smallest distance at which a point was seen that the model classifies otherwise;
        of brackets the upper end. inf: none was seen. A misclassified image has 0, and one that
        could not be scored NaN. Images stand as in `scores`.

        >>> import clever_ext as cx, torch
        >>> model, images = torch.nn.Linear(4, 3).eval(), torch.rand(2, 4)
        >>> result = cx.clever_score(model, images, estimator="steepest", radius="auto")
        >>> bool((result.scores[2] <= result.flips[2]).all())
        True
        """
        images = self.table["image_id"].unique()
        wrong = self.table["status"] == "misclassified"
        rows = self.table.assign(nearest_flip=self.table["nearest_flip"].mask(wrong, 0.0))
        return {
            float(str(norm)): group.groupby("image_id")["nearest_flip"]
            .min()
            .reindex(images)
            .to_numpy(dtype=np.float64)
            for norm, group in rows[rows["norm"].notna()].groupby("norm", sort=False)
        }

    def smallest(self) -> list[pd.Series[Any]]:
        """Return for each image and norm the row that decides: that whose score is in `scores`.

        Images and norms stand in the order of the table; a score that is NaN decides.
        """
        return [row for _, row in self.decisive().iterrows()]

    def decisive(self) -> pd.DataFrame:
        """Return the rows of `smallest` as a table."""
        return self.table.loc[self._deciding()]

    def _deciding(self) -> list[int]:
        """Labels of the deciding rows, for each image and norm in the order of the table."""
        score, image = self.table["score"], self.table["image_id"]
        norm, target = (self.table[name].fillna(0) for name in ("norm", "target"))
        keys = [image, norm, target]
        best = score.fillna(np.inf).groupby(keys, sort=False).idxmax().to_numpy()
        rows = self.table.loc[best]
        # Of equal scores, as where all are R, the likeliest winner of a race decides.
        likely, lowest = rows["p_lowest"].fillna(0.0), rows["score"].fillna(-1.0)
        lowest = lowest.mask(rows["status"] == NO_TARGET, np.inf)
        rank = np.empty(len(rows), dtype=np.int64)
        rank[np.lexsort((-likely, lowest))] = np.arange(len(rows))
        ranked = rows[["image_id"]].assign(norm=norm.loc[best], rank=rank)
        return list(ranked.groupby(["image_id", "norm"], sort=False)["rank"].idxmin())

    def to_bytes(self) -> bytes:
        """Return the contents of one Parquet file, settings in its metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        arrow = _to_arrow(self.table, self.metadata)
        # A dictionary of numbers that hardly repeat would make the file a fifth longer.
        repeated = [name for name, kind in COLUMNS.items() if not kind.startswith("float")]
        pq.write_table(
            arrow, sink, compression="zstd", use_dictionary=repeated, write_page_checksum=True
        )
        contents: bytes = sink.getvalue().to_pybytes()
        return contents

    def save(self, path: str | PathLike[str]) -> None:
        """Write one Parquet file, settings in its metadata; appears whole or not at all.

        Raises:
            CleverError: it cannot be written.
        """
        durable.write(_path_of(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> CleverResult:
        """Read a file that `save` wrote.

        Raises:
            CleverError: the file is missing, is damaged or no such file, or has a later format.
        """
        return cls.load_parts([path])

    @classmethod
    def load_parts(
        cls,
        paths: Sequence[str | PathLike[str]],
        columns: Sequence[str] | None = None,
        check: Callable[[Path, dict[str, Any]], None] | None = None,
    ) -> CleverResult:
        """Read several files as one table; the metadata is that of the first.

        Args:
            paths: Of files that `save` wrote, at least one.
            columns: Those to read; the others are missing values. None: all.
            check: Called with each file and its metadata, to refuse it.

        Raises:
            CleverError: as `load`.
        """
        import pyarrow as pa

        files = [_path_of(path) for path in paths]
        with ThreadPoolExecutor(_READERS) as pool:
            parts = list(pool.map(lambda path: _read(path, columns), files))
        for path, (_, metadata) in zip(files, parts, strict=True):
            if check is not None:
                check(path, metadata)
        arrow = pa.concat_tables([part for part, _ in parts], promote_options="default")
        values = {
            name: arrow.column(name).to_numpy(zero_copy_only=False)
            if name not in _NULLABLE_INTEGERS
            else arrow.column(name).to_pylist()
            for name in arrow.schema.names
        }
        return cls(make_table(values), parts[0][1])

    @classmethod
    def concatenate(cls, results: Sequence[CleverResult]) -> CleverResult:
        """Join results of different images under one set of settings.

        The metadata is that of the first result that has any (rows of errors have none); the whole
        is complete if all of them are.
        """
        import pandas as pd

        tables = [result.table for result in results]
        described = [result.metadata for result in results if result.metadata]
        metadata = dict(described[0]) if described else {}
        if "complete" in metadata:
            metadata["complete"] = all(each["complete"] for each in described)
        return cls(pd.concat(tables, ignore_index=True), metadata)
