"""Where a run is to be kept, and what the machine lets it have."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from ..durable import cannot_write
from ..errors import CleverError
from ..findings import Finding
from ..machine import limits, memory
from ..runs.description import threads_and_cpus
from ..runs.folder import RunFolder

#: Of the free bytes of a disk, the share that a run may be expected to take.
_SHARE = 0.8
#: Bytes below which a network of ordinary size may not run.
_MEMORY = 2**30


def of_machine(device: torch.device) -> Iterator[Finding]:
    """Tell what the machine, or the container, lets the process have."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        yield Finding("place", f"{free / 2**30:,.1f} of {total / 2**30:,.1f} GiB free on {device}")
        return
    threads, cpus = torch.get_num_threads(), limits.cpus()
    crowded = threads_and_cpus(threads, cpus)
    yield from crowded or [Finding("place", f"{threads} thread{'s' * (threads > 1)}")]
    left = memory.available()
    said = f"{left / 2**30:,.1f} GiB of memory may be taken"
    if left < _MEMORY:
        yield Finding("place", said, "give the process more memory, or a smaller --device-batch")
    else:
        yield Finding("place", said)


def of_place(out: str | os.PathLike[str], expected: int) -> Iterator[Finding]:
    """Tell whether a run's folder can be written to, locked, and has room.

    Args:
        out: The folder, which need not be there yet.
        expected: Bytes that the run will write.
    """
    folder = Path(out).absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        with tempfile.NamedTemporaryFile(dir=there, prefix=".clever_ext-"):
            pass
    except OSError as error:
        yield Finding.of(cannot_write(folder, error), "place")
        return
    free = shutil.disk_usage(there).free
    room = f"{free / 2**30:,.1f} GiB are free"
    said = f"{max(0.1, expected / 2**20):,.1f} MiB to write to {folder}, {room}"
    if expected > _SHARE * free:
        yield Finding("place", said, "choose another folder, or free some space")
    else:
        yield Finding("place", said)
    run = RunFolder(folder)
    try:
        if run.is_locked():
            yield Finding("place", f"another process works at {folder}", "wait for it or stop it")
        elif run.exists:
            yield Finding("place", f"{folder} holds a run, which the same command goes on with")
    except CleverError as error:
        yield Finding.of(error, "place")
