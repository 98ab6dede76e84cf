"""Processes killed at random moments: the finished run is that of one that was left alone."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from small_run import SmallRun, assert_same_bits


def some_and(few, many):
    """A few now, many in `make test-faults`."""
    return pytest.mark.parametrize("n", [few, pytest.param(many, marks=pytest.mark.faults)])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of 40 pieces, which takes some seconds, and its undisturbed result."""
    small = SmallRun(tmp_path_factory.mktemp("kills"), n_images=80, n_batches=100)
    process = small.start("whole")
    assert process.wait() == 0, process.stderr.read()
    small.whole = small.table("whole")
    assert len(small.folder("whole").finished()) == 40
    return small


def check(small: SmallRun, out: str) -> None:
    """Compare a finished run; nothing torn is left behind."""
    table = small.table(out)
    assert_same_bits(small.whole, table)
    assert not table.duplicated(["image_id", "target", "norm"]).any()
    left = {path.name for path in small.folder(out).parts.iterdir()}
    assert left == {path.name for path in small.folder("whole").parts.iterdir()}
    assert not (small.folder(out).path / "set-aside").exists()  # no part was ever torn


@some_and(2, 50)
def test_kills(small, n):
    chance, kills, runs = random.Random(n), 0, 0
    while kills < n:
        runs += 1
        out, finished = f"run{n}-{runs}", False
        while not finished:
            process = small.start(out)
            if kills < n and killed(process, small, out, chance):
                kills += 1
            else:
                assert process.wait() == 0, process.stderr.read()
                finished = True
        check(small, out)
    print(f"{kills} kills in {runs} runs")


def killed(process, small, out, chance):
    """Kill a process while it starts, or more often while it scores; False if it was faster."""
    deadline = time.monotonic() + chance.choice([chance.uniform(0.1, 4), 60, 60])
    while process.poll() is None and time.monotonic() < deadline:
        if process.pid in workers(small, out):
            deadline = time.monotonic() + chance.uniform(0, 1)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            break
        time.sleep(0.01)
    process.kill()
    return process.wait() == -signal.SIGKILL


@some_and(1, 10)
def test_ranks_killed_among_three(small, n):
    chance, kills, runs = random.Random(n), 0, 0
    while kills < n:
        runs += 1
        out = f"ranks{n}-{runs}"
        process = start_ranks(small, out, "--nproc-per-node=3", "--rdzv-endpoint=localhost:0")
        while process.poll() is None:
            time.sleep(chance.uniform(0.1, 2.0))
            ranks = workers(small, out)
            if kills < n and len(ranks) == 3:
                os.kill(chance.choice(ranks), signal.SIGKILL)
                kills += 1
        assert process.returncode == 0, (small.path / f"{out}.err").read_text()
        check(small, out)
    print(f"{kills} kills in {runs} runs")


@pytest.mark.faults
def test_a_process_of_one_of_two_nodes_is_killed(small):
    """The other node starts its process again without counting that as a failure."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    how = ("--nnodes=2", "--nproc-per-node=1", f"--rdzv-endpoint=localhost:{port}")
    agents = [start_ranks(small, "nodes", *how) for _ in range(2)]
    while len(ranks := workers(small, "nodes")) < 2:
        assert all(agent.poll() is None for agent in agents)
        time.sleep(0.01)
    os.kill(ranks[0], signal.SIGKILL)
    assert [agent.wait() for agent in agents] == [0, 0], (small.path / "nodes.err").read_text()
    check(small, "nodes")
    assert "being worked at" not in (small.path / "nodes.err").read_text()


def start_ranks(small: SmallRun, out: str, *how: str) -> "subprocess.Popen[str]":
    with (small.path / f"{out}.err").open("a") as errors:
        return subprocess.Popen(
            small.under_torchrun(out, "--max-restarts=20", *how),
            cwd=small.path, stdout=subprocess.DEVNULL, stderr=errors, text=True,
        )  # fmt: skip


def workers(small: SmallRun, out: str) -> list[int]:
    """Return the processes that have begun to score and are alive, of the last start."""
    log = small.folder(out).log
    if not log.exists():
        return []
    events = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    started = {event["pid"] for event in events if event["event"] == "start"}
    return sorted(pid for pid in started if alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
