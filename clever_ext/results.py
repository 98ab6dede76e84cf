"""What a scoring run found: one row per (image, target, norm), and the settings that made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import CleverError

#: The columns of a row, in order. Lengths are in the units of the images.
SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("image", pa.string()),  # where it came from, where that is known
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("target", pa.int64()),
        ("norm", pa.float64()),
        ("estimator", pa.string()),
        ("radius", pa.float64()),
        ("margin", pa.float64()),
        ("lipschitz", pa.float64()),  # the fitted location
        ("score", pa.float64()),
        ("score_low", pa.float64()),  # 95 % interval
        ("score_high", pa.float64()),
        ("max_norm", pa.float64()),
        ("norm_at_image", pa.float64()),
        ("shape", pa.float64()),
        ("scale", pa.float64()),
        ("ks", pa.float64()),
        ("p_value", pa.float64()),
        ("n_batches", pa.int64()),
        ("batch_samples", pa.int64()),
        ("n_gradients", pa.int64()),
        ("capped", pa.bool_()),
        ("status", pa.string()),
        ("flags", pa.string()),
        ("error", pa.string()),  # why an image has no score, where the status is "error"
        ("maxima", pa.list_(pa.float64())),
    ]
)

_NULLABLE_INTEGERS = ("label", "predicted", "target")
_METADATA_KEY = b"clever_ext"
#: Written into every file; a reader refuses files of a later format.
FORMAT = 1


def make_table(rows: dict[str, Sequence[Any] | npt.NDArray[Any]]) -> pd.DataFrame:
    """Build the table from columns; those left out are missing values."""
    n = len(rows["image_id"])
    columns: dict[str, Any] = {}
    for column in SCHEMA:
        values = rows.get(column.name)
        if column.name in _NULLABLE_INTEGERS:
            columns[column.name] = pd.array([None] * n if values is None else values, dtype="Int64")
        elif values is not None:
            columns[column.name] = list(values) if column.name == "maxima" else values
        elif pa.types.is_floating(column.type):
            columns[column.name] = np.full(n, np.nan)
        elif pa.types.is_integer(column.type):
            columns[column.name] = np.zeros(n, dtype=np.int64)
        elif pa.types.is_boolean(column.type):
            columns[column.name] = np.zeros(n, dtype=bool)
        elif column.name == "maxima":
            columns[column.name] = [np.empty(0)] * n
        else:
            columns[column.name] = [""] * n
    return pd.DataFrame(columns)


def _to_arrow(table: pd.DataFrame, metadata: dict[str, Any]) -> pa.Table:
    # Column by column: pandas' own way would turn NaN, which is a result here, into null.
    arrays = [
        pa.array(list(table[c.name]), c.type)
        if c.name == "maxima" or pa.types.is_string(c.type)
        else pa.array(table[c.name].array, c.type)
        if c.name in _NULLABLE_INTEGERS
        else pa.array(table[c.name].to_numpy(), c.type)
        for c in SCHEMA
    ]
    text = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    return pa.Table.from_arrays(arrays, schema=SCHEMA.with_metadata({_METADATA_KEY: text.encode()}))


@dataclass(frozen=True)
class CleverResult:
    """Scores with all that they were made from.

    Attributes:
        table: One row per (image, target, norm), columns as in `SCHEMA`. `maxima` holds the N_b
            batch maxima, so that a row can be fitted again without a gradient.
        metadata: Settings, seed, versions, device, the model's name and a digest of its weights.
    """

    table: pd.DataFrame
    metadata: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def scores(self) -> dict[float, npt.NDArray[np.float64]]:
        """Map each norm to the smallest score of each image over its targets, float64 [N].

        Images stand in the order of their first rows. A score that is not a number stays one: the
        minimum of an image with such a row, or without a row for the norm, is NaN.
        """
        images = self.table["image_id"].unique()
        return {
            float(str(norm)): rows.groupby("image_id", sort=False)["score"]
            .agg(lambda scores: np.min(scores.to_numpy()))
            .reindex(images)
            .to_numpy(dtype=np.float64)
            for norm, rows in self.table[self.table["norm"].notna()].groupby("norm", sort=False)
        }

    def smallest(self) -> list[pd.Series[Any]]:
        """Return for each image and norm the row that decides: that of the smallest score.

        Images and norms stand in the order of the table; a score that is NaN counts as smallest.
        """
        keys = [self.table["image_id"], self.table["norm"].fillna(0.0)]
        first = self.table["score"].fillna(-1.0).groupby(keys, sort=False).idxmin()
        return [self.table.loc[index] for index in first]

    def save(self, path: str | PathLike[str]) -> None:
        """Write one Parquet file, settings in its metadata; appears whole or not at all."""
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        pq.write_table(_to_arrow(self.table, self.metadata), partial)
        partial.replace(target)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> CleverResult:
        """Read a file that `save` wrote.

        Raises:
            CleverError: the file is missing, is not such a file, or has a later format.
        """
        try:
            arrow = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise CleverError(
                f"{path} cannot be read: {error}",
                "a Parquet file that CleverResult.save wrote",
                "check the path, or score again",
            ) from error
        text = (arrow.schema.metadata or {}).get(_METADATA_KEY)
        metadata = json.loads(text) if text else {}
        if metadata.pop("format", None) != FORMAT or not arrow.schema.equals(SCHEMA):
            raise CleverError(
                f"{path} is not a file of results that this version reads",
                f"results of format {FORMAT}, written by CleverResult.save",
                "read it with the version of clever_ext that wrote it",
            )
        columns = {
            name: arrow.column(name).to_numpy(zero_copy_only=False)
            if name not in _NULLABLE_INTEGERS
            else arrow.column(name).to_pylist()
            for name in SCHEMA.names
        }
        return cls(make_table(columns), metadata)

    @classmethod
    def concatenate(cls, results: Sequence[CleverResult]) -> CleverResult:
        """Join results of different images under one set of settings, those of the first."""
        tables = [result.table for result in results]
        return cls(pd.concat(tables, ignore_index=True), results[0].metadata)
