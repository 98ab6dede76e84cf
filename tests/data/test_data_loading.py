"""Worker processes, and pictures that crash them, hang, or take all the memory."""

import dataclasses
import mmap
import os
import signal
import sys
import tarfile
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import processes
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

from clever_ext.data import (
    ImageRecord,
    Loader,
    Preprocessing,
    load,
    loading,
    open_images,
    sample_pictures,
)
from clever_ext.errors import CleverError

SOURCE = sample_pictures()
SMALL = Preprocessing(64, 64)


LONG = """
import tempfile
from clever_ext.data import Loader, Preprocessing, sample_pictures

if __name__ == "__main__":
    source = sample_pictures()
    with Loader(source, Preprocessing(64, 64), 1) as loader:
        print(list(loader.submit(source[:1]).result()[0].pixels.shape))
    print(tempfile.gettempdir())
"""


@dataclass(frozen=True)
class Trap:
    """The place of a picture that does something to the process that reads it."""

    what: str
    marker: str = ""

    def read(self) -> bytes:
        if self.what == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.what == "exit":
            os._exit(3)
        elif self.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "hang":
            time.sleep(1000)
        elif self.what == "loop":
            while True:
                pass
        elif self.what == "memory":
            return bytes(loading.MEMORY * 2)
        elif self.what == "once":
            if not Path(self.marker).exists():
                Path(self.marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return SOURCE[0].place.read()
        elif self.what == "unpicklable":
            raise CleverError("a", "b", lambda: None)
        return b""


def trap(what: str, marker: str = "") -> ImageRecord:
    return ImageRecord.of(what, Trap(what, marker))


@pytest.fixture
def loader():
    with Loader(SOURCE, SMALL, 2) as loader:
        yield loader


def assert_right(loaded) -> None:
    for each in loaded:
        assert each.error is None
        assert torch.equal(each.pixels, load(each.record, SMALL))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_pictures_come_in_order(workers: int) -> None:
    with Loader(SOURCE, SMALL, workers) as loader:
        first, second = loader.submit(SOURCE[:5]), loader.submit(SOURCE[5:])
        loaded = second.result() + first.result()
    assert [each.record for each in loaded] == [*SOURCE[5:], *SOURCE[:5]]
    assert_right(loaded)


def test_what_cannot_be_read_has_its_error(loader: Loader) -> None:
    records = [SOURCE[0], trap("empty"), SOURCE[1]]
    loaded = loader.submit(records).result()
    assert "'empty' cannot be decoded" in str(loaded[1].error)
    assert loaded[1].pixels is None
    assert_right([loaded[0], loaded[2]])


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("segfault", "crashed with status -11"),
        ("exit", "crashed with status 3"),
        ("killed", "was killed"),
        ("memory", "is too large (out of memory)"),
        ("unpicklable", "crashed with status 1"),
    ],
)
def test_a_picture_that_ends_its_process_gets_an_error(monkeypatch, what: str, why: str) -> None:
    monkeypatch.setattr(loading, "MEMORY", 2**28)
    with Loader(SOURCE, SMALL, 1) as loader:
        loaded = loader.submit([*SOURCE[:3], trap(what), *SOURCE[3:6]]).result()
        assert_right(loaded[:3] + loaded[4:])
        assert why in str(loaded[3].error)
        assert_right(loader.submit(SOURCE[6:9]).result())


def test_a_picture_that_takes_for_ever_gets_an_error(monkeypatch) -> None:
    monkeypatch.setattr(loading, "SECONDS", 2.0)
    with Loader(SOURCE, SMALL, 2) as loader:
        loaded = loader.submit([trap("hang"), trap("loop"), *SOURCE[:4]]).result()
    assert_right(loaded[2:])
    for each in loaded[:2]:
        assert "took longer than 2 seconds" in str(each.error)


def test_of_many_crashes_each_costs_its_picture_alone(loader: Loader) -> None:
    records = [trap("segfault") if n % 3 == 0 else SOURCE[n] for n in range(12)]
    loaded = loader.submit(records).result()
    for n, each in enumerate(loaded):
        assert (each.error is not None) == (n % 3 == 0)
        assert each.record is records[n]


def test_a_picture_whose_process_was_killed_by_chance_is_read_again(loader, tmp_path) -> None:
    (loaded,) = loader.submit([trap("once", str(tmp_path / "marker"))]).result()
    assert torch.equal(loaded.pixels, load(SOURCE[0], SMALL))


def test_workers_that_are_killed_between_pictures_are_replaced(loader: Loader) -> None:
    assert_right(loader.submit(SOURCE[:4]).result())
    for worker in loader._workers:
        os.kill(worker._process.pid, signal.SIGKILL)
    assert_right(loader.submit(SOURCE).result())


def test_rows_of_arrays_need_no_process(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 3, 4, 4), np.float32))
    source = open_images(tmp_path / "a.npy")
    with Loader(source, SMALL, 4) as loader:
        assert [each.pixels.shape for each in loader.submit(source[:]).result()] == [(3, 4, 4)] * 3
        assert not loader._workers


@pytest.mark.parametrize("kind", ["tar", "parquet", "arrow"])
def test_pictures_in_containers_are_read_by_workers_too(tmp_path, kind: str) -> None:
    pictures = [record.place.read() for record in SOURCE[:4]]
    if kind == "tar":
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for record in SOURCE[:4]:
                archive.add(record.place.path, record.name)
    else:
        table = pa.table({"image": [{"bytes": each, "path": None} for each in pictures]})
        write = pq.write_table if kind == "parquet" else pa.feather.write_feather
        write(table, tmp_path / f"a.{kind}")
    source = open_images(tmp_path)
    with Loader(source, SMALL, 1) as loader:
        loaded = loader.submit(source[:]).result()
    for each, record in zip(loaded, SOURCE, strict=False):
        assert torch.equal(each.pixels, load(record, SMALL))


def test_closing_does_not_wait_for_what_is_pending() -> None:
    with Loader(SOURCE, SMALL, 1) as loader:
        assert_right(loader.submit(SOURCE[:1]).result())
        pending = loader.submit([trap("hang"), *SOURCE])
        began = time.monotonic()
    assert time.monotonic() - began < 20  # it hangs for 60 s and is then read once more
    with pytest.raises(CancelledError):
        pending.result()


def test_negative_workers_are_refused() -> None:
    with pytest.raises(CleverError, match="workers is -1"):
        Loader(SOURCE, SMALL, -1)


def test_files_mapped_for_reading_do_not_count_as_memory(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(loading, "MEMORY", 2**28)
    with Loader(SOURCE, SMALL, 1) as loader:
        (tmp_path / "big").write_bytes(b"")
        os.truncate(tmp_path / "big", 2**30)
        record = dataclasses.replace(SOURCE[0], place=Mapped(str(tmp_path / "big")))
        (loaded,) = loader.submit([record]).result()
    assert loaded.error is None


@dataclass(frozen=True)
class Mapped:
    """Maps a large file beside the picture that it reads."""

    path: str

    def read(self) -> bytes:
        with (
            Path(self.path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
        ):
            return SOURCE[0].place.read()


# ---------------------------------------------------------------- signals and the main process

SCRIPT = """
import time
from clever_ext.data import Loader, Preprocessing, sample_pictures

if __name__ == "__main__":
    source = sample_pictures()
    with Loader(source, Preprocessing(64, 64), 2) as loader:
        loader.submit(source[:8]).result()
        print(*(worker._process.pid for worker in loader._workers), flush=True)
        time.sleep(1000)
"""


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def started(tmp_path) -> tuple[processes.Process, list[int]]:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = processes.start([sys.executable, str(tmp_path / "script.py")], start_new_session=True)
    return process, [int(pid) for pid in process.stdout.readline().split()]


def wait_until_gone(pids: list[int]) -> None:
    for _ in range(200):
        if not any(map(alive, pids)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{[pid for pid in pids if alive(pid)]} are still there")


def test_workers_end_with_a_main_process_that_is_killed(tmp_path) -> None:
    process, pids = started(tmp_path)
    assert all(map(alive, pids))
    process.kill()
    process.wait(timeout=60)
    wait_until_gone(pids)


def test_ctrl_c_reaches_the_main_process_alone(tmp_path) -> None:
    process, pids = started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1
    wait_until_gone(pids)


def test_a_long_temporary_folder_is_no_obstacle(tmp_path) -> None:
    folder = tmp_path / ("t" * 100)
    folder.mkdir()
    (tmp_path / "script.py").write_text(LONG)
    done = processes.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert done.stdout == f"[3, 64, 64]\n{folder}\n", done.stderr


def test_a_script_without_a_guard_is_told_so(tmp_path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = processes.run([sys.executable, str(tmp_path / "script.py")], timeout=60)
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.strip().splitlines()[-1]
