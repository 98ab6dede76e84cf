"""Writes a report in one of its formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal, TextIO, get_args

from .. import durable
from ..errors import CleverError
from ..runs.folder import Source
from .card import write_cards
from .export import write_csv, write_json, write_markdown
from .page import write_html
from .reading import Run, read_runs

#: A page to look at, the rows for programs, a summary to paste, or what a list of models has.
Format = Literal["html", "csv", "json", "md", "card"]
FORMATS: tuple[Format, ...] = get_args(Format)


def write_report(
    runs: Source | Sequence[Source],
    path: str | PathLike[str],
    format: Format = "html",
    images: bool = True,
) -> None:
    """Write what runs have found into one file; it appears whole or not at all.

    Args:
        runs: One or several: results, folders that `clever-ext score` made, or Parquet files of
            results. Several are shown side by side, and compared on the images that they share.
        path: The file to write.
        format: "html" for a page that needs no network and no other file; "csv" for all rows
            without their lists; "json" for all rows with settings and summaries, but without
            maxima; "md" for a short summary; "card" for a model card in JSON, in the style of
            RobustBench's lists of models.
        images: Whether the page holds thumbnails of the pictures, read again from where the run
            read them.

    Raises:
        CleverError: there is no run or no such format, or a file cannot be read or written.

    >>> import clever_ext as cx, tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    >>> result = cx.clever_score(model, torch.rand(2, 3, 2, 2), n_batches=20, batch_samples=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cx.write_report(result, folder + "/report.html")
    """
    write = writer(format, images)
    read = read_runs(runs)
    with (
        durable.replacing(Path(path)) as descriptor,
        os.fdopen(descriptor, "w", encoding="utf-8", newline="\n", closefd=False) as handle,
    ):
        write(read, handle)


def writer(format: str, images: bool = True) -> Callable[[Sequence[Run], TextIO], None]:
    """Return what writes a format.

    Raises:
        CleverError: there is no such format.
    """
    writers: dict[Format, Callable[[Sequence[Run], TextIO], None]] = {
        "html": partial(write_html, images=images),
        "csv": write_csv,
        "json": write_json,
        "md": write_markdown,
        "card": write_cards,
    }
    if format not in writers:
        raise CleverError(
            f"format={format!r} is unknown", "one of " + ", ".join(FORMATS), "name one of them"
        )
    return writers[format]
