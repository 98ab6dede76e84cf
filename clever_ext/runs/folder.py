"""The files of a run: `run.json`, Parquet parts, a log and a lock."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .. import durable
from ..errors import CleverError
from ..findings import Finding
from ..results.result import FORMAT, SCALARS, CleverResult, read_metadata
from .identity import run_id
from .pieces import Pieces

#: What stands for a run: its result, its folder, or a Parquet file of results.
Source = CleverResult | str | os.PathLike[str]

#: Which of the files that had a name one after the other: its number and time in nanoseconds.
Version = tuple[int, int]

#: Seconds in which the processes of a job find together at a run's lock.
_JOINING = 5.0
_PART = re.compile(r"part-(\d{5,})\.parquet")


class Failed(NamedTuple):
    """A part with errors: which file it is, and how many of its pictures have none but an error."""

    version: Version
    pictures: int


class RunFolder:
    """The files of one run; docs/guide/run-format.md describes them.

    `run.json` says what the run is; it is written when the run begins, and again where pictures
    that had errors are tried again, since those are others then. `parts/part-00000.parquet`
    and so on hold the rows of one piece each, as `CleverResult.load` reads them; what is done is
    known from them alone. Every file appears whole or not at all. `log.jsonl` tells what happened,
    and `config.yaml` with which options the command was given last.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.description_file = self.path / "run.json"
        self.parts, self.log = self.path / "parts", self.path / "log.jsonl"
        self.config = self.path / "config.yaml"

    @property
    def exists(self) -> bool:
        """Whether there is a run, or what is left of one."""
        return self.description_file.exists() or any(True for _ in self._parts())

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            CleverError: it cannot be made.
        """
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            durable.sync_folder(self.path)
        except OSError as error:
            raise CleverError(
                f"{self.path} cannot be made: {error}",
                "a folder that can be written to",
                "choose another --out",
            ) from error

    def describe(self, description: dict[str, Any]) -> None:
        """Write `run.json`."""
        text = json.dumps({"format": FORMAT, **description}, indent=2) + "\n"
        durable.write(self.description_file, text.encode())

    def read(self) -> dict[str, Any]:
        """Read `run.json`.

        Raises:
            CleverError: it is missing, is damaged, or has another format.
        """
        try:
            description = json.loads(self.description_file.read_text(encoding="utf-8"))
            if not isinstance(description, dict):
                raise ValueError("it is no JSON object")
            known = description.pop("format") == FORMAT
            if known:
                _check_description(description)
        except OSError as error:
            raise CleverError(
                f"{self.path} holds no run: {error.strerror}",
                "a folder that `clever-ext score` wrote",
                "check the path",
            ) from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CleverError(
                f"{self.description_file} is damaged: {_words(error)}",
                "the JSON that `clever-ext score` wrote",
                "start the run again with the same command: it mends the file from the parts",
            ) from error
        if not known:
            raise CleverError(
                f"{self.path} is of another format than {FORMAT}",
                "a run of this version of clever_ext",
                "read it with the version that wrote it",
            )
        return dict(description)

    def part(self, number: int) -> Path:
        """Return the file of a piece."""
        return self.parts / f"part-{number:05d}.parquet"

    def _parts(self) -> Iterator[tuple[int, Path]]:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.parts) as entries:
            for entry in entries:
                match = _PART.fullmatch(entry.name)
                if match:
                    yield int(match[1]), Path(entry.path)

    def finished(self) -> dict[int, Path]:
        """Return the parts that are there, in order."""
        return dict(sorted(self._parts()))

    def with_errors(self) -> dict[int, Failed]:
        """Return the parts that have pictures with errors, each as the file that it is now.

        Raises:
            CleverError: one cannot be read.
        """
        found = {}
        for number, path in self.finished().items():
            version = version_of(path)
            rows = CleverResult.load_parts([path], ("image_id", "status")).table
            pictures = int((rows["status"] == "error").sum())
            if pictures:
                found[number] = Failed(version, pictures)
        return found

    def add(self, number: int, result: CleverResult) -> None:
        """Write a part.

        Raises:
            CleverError: it cannot be written.
        """
        durable.write(self.part(number), result.to_bytes())

    def load(self, columns: Sequence[str] | None = None) -> CleverResult:
        """Read all the parts; the metadata is what `run.json` says, and whether all are there.

        Args:
            columns: Those to read; the others are missing values. None: all.

        Raises:
            CleverError: there is no run, no part of it, or one that is damaged or of another run.
        """
        description = self.read()
        parts = self.finished()
        if not parts:
            raise CleverError(
                f"{self.path} holds no results yet",
                "a run with at least one finished piece",
                "wait, or see what `clever-ext status` says",
            )
        pieces = Pieces.of(description)
        numbers = {path: number for number, path in parts.items()}

        def check(path: Path, metadata: dict[str, Any]) -> None:
            _check_place(path, metadata, description, numbers[path])

        result = CleverResult.load_parts(list(numbers), columns, check)
        complete = parts.keys() >= set(pieces.numbers)
        return CleverResult(result.table, {**description, "complete": complete})

    @contextmanager
    def locked(self, job: str | None, begin: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep others from working at the run while the block runs.

        The lock is the system's, so that it ends with its process, however that ends; the file that
        carries it stays and means nothing by itself.

        Args:
            job: The name of several processes that work together; None: this one is alone.
            begin: Called where nobody else is at work; the others of the job wait until it is done.

        Raises:
            CleverError: others are at work here, or the folder cannot be written to.
        """
        path = self.path / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise durable.cannot_write(path, error) from error
        try:
            if _lock(descriptor, path, job):
                begin()
                if job:
                    _open_to_others(descriptor, path)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a process works at the run; nothing is written."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _free(descriptor, fcntl.LOCK_EX)
        except OSError:  # a file system without locks, where no run can be at work
            return False
        finally:
            os.close(descriptor)


def _check_description(description: dict[str, Any]) -> None:
    """Raise what is raised where `run.json` is not as it was written, or is not whole."""
    if run_id(description) != description["run_id"]:
        raise ValueError("its settings are not those that it was written with")
    Pieces.of(description)
    for told in description["warnings"]:
        Finding(**told)
    for name in ("model", "engine"):
        if not isinstance(description[name], dict):
            raise ValueError(f"its {name!r} is {description[name]!r}")
    engine = description["engine"]
    options, size = engine["options"], engine["device_batch"]
    named = isinstance(options, list) and all(isinstance(name, str) for name in options)
    if not named or type(size) is not int or size < 1:
        raise ValueError("it does not say how passes are made")
    if not isinstance(engine["batched_backward"], bool):
        raise ValueError("it does not say how backward passes are made")
    if not isinstance(description["data"]["contents"], dict):
        raise ValueError("it does not say which files the pictures are in")


def _words(error: Exception) -> str:
    """Say what is wrong with a text by what came of reading it."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) if isinstance(error, ValueError) else f"it is not whole ({error})"


def version_of(path: Path) -> Version:
    """Tell a file from the one that replaces it."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _lock(descriptor: int, path: Path, job: str | None) -> bool:
    """Lock a file; tell whether nobody else of the job is there."""
    deadline = time.monotonic() + (_JOINING if job else 0.0)
    try:
        while True:
            if _free(descriptor, fcntl.LOCK_EX):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, (job or f"process {os.getpid()}").encode(), 0)
                return True
            joined = job is not None and _free(descriptor, fcntl.LOCK_SH)
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace")
            if joined and holder == job:
                return False
            # To begin may take long: the first of one's own job is waited for.
            if holder != job and time.monotonic() >= deadline:
                break
            time.sleep(0.05)
    except OSError as error:
        raise durable.cannot_write(path, error) from error
    raise CleverError(
        f"{path.parent} is being worked at by {holder or 'another process'}",
        "one process, or one torchrun job, at a time",
        "wait for it, stop it, or choose another --out",
    )


def _open_to_others(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        raise durable.cannot_write(path, error) from error


def _free(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_part(path: Path, description: dict[str, Any], number: int) -> None:
    """Refuse a part that is damaged, or of another run or piece, by what its last bytes say.

    Raises:
        CleverError: it is.
    """
    _check_place(path, read_metadata(path), description, number)


def _check_place(
    path: Path, metadata: dict[str, Any], description: dict[str, Any], number: int
) -> None:
    if (metadata.get("run_id"), metadata.get("piece")) != (description["run_id"], number):
        raise CleverError(
            f"{path} belongs to another run, or to another place in it",
            f"piece {number} of the run that {path.parent.parent / 'run.json'} describes",
            "start the run again with the same command: it sets the file aside",
        )


def read_scores(source: Source) -> CleverResult:
    """Read what stands for a run, without the columns that hold lists.

    Args:
        source: A result, which is returned as it is; a run's folder; or a .parquet file of
            `CleverResult.save`.

    Raises:
        CleverError: it cannot be read.
    """
    if isinstance(source, CleverResult):
        return source
    path = Path(source)
    if path.suffix == ".parquet":
        return CleverResult.load_parts([path], SCALARS)
    return RunFolder(path).load(SCALARS)


def place_of(source: Source) -> str:
    """Return the name of the folder or file that stands for a run; nothing for a result."""
    return "" if isinstance(source, CleverResult) else Path(source).resolve().stem


def load_run(path: str | os.PathLike[str]) -> CleverResult:
    """Read the rows of a run's finished pieces.

    Args:
        path: The run's folder.

    Returns:
        The rows in the order of the pictures. The metadata is what `run.json` says, and `complete`:
        whether all pieces are finished.

    Raises:
        CleverError: there is no run, no finished piece, or one that is damaged.
    """
    return RunFolder(path).load()
