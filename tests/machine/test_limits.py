"""The limits of control groups, on trees of files as systems show them."""

import math
from pathlib import Path

import pytest

from clever_ext.machine.limits import cpus, memory_left

V2 = "30 24 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 24 0:28 {root} /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"
)


def tree(path: Path, own: str, mounts: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": own, "proc/self/mountinfo": mounts, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def v2(path, own, files, root="/"):
    named = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    return tree(path, f"0::{own}\n", V2.format(root=root), named)


def test_limits_of_the_own_group(tmp_path):
    files = {"job/cpu.max": "250000 100000\n", "job/memory.max": "1000\n"}
    root = v2(tmp_path, "/job", files | {"job/memory.current": "400\n"})
    assert cpus(root) == 2.5
    assert memory_left(root) == 600


def test_a_group_above_limits_too(tmp_path):
    files = {
        "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "400000 100000",
        "a/memory.max": "900", "a/memory.current": "800",
        "a/b/memory.max": "max", "a/b/memory.current": "300",
        "a/b/c/memory.max": "500", "a/b/c/memory.current": "200",
    }  # fmt: skip
    root = v2(tmp_path, "/a/b/c", files)
    assert cpus(root) == 2
    assert memory_left(root) == 100


@pytest.mark.parametrize(("own", "mounted"), [("/", "/"), ("/docker/4f", "/docker/4f")])
def test_a_container_sees_its_own_group_at_the_top(tmp_path, own, mounted):
    files = {"cpu.max": "150000 100000", "memory.max": "70", "memory.current": "50"}
    root = v2(tmp_path, own, files, mounted)
    assert cpus(root) == 1.5
    assert memory_left(root) == 20


def test_the_group_lies_outside_of_what_the_container_sees(tmp_path):
    files = {"cpu.max": "100000 100000", "memory.max": "70", "memory.current": "50"}
    root = v2(tmp_path, "/../other", files, "/docker/4f")
    assert cpus(root) == 1
    assert memory_left(root) == 20


def test_the_first_version(tmp_path):
    own = "5:cpu,cpuacct:/docker/4f/job\n4:memory:/docker/4f/job\n1:name=systemd:/x\n0::/x\n"
    cpu, memory = "sys/fs/cgroup/cpu,cpuacct/", "sys/fs/cgroup/memory/"
    files = {
        cpu + "cpu.cfs_quota_us": "-1\n", cpu + "cpu.cfs_period_us": "100000\n",
        cpu + "job/cpu.cfs_quota_us": "50000\n", cpu + "job/cpu.cfs_period_us": "100000\n",
        memory + "memory.limit_in_bytes": "600\n", memory + "memory.usage_in_bytes": "500\n",
        memory + "memory.stat": "cache 900\ntotal_inactive_file 150\n",
        memory + "job/memory.limit_in_bytes": "9223372036854771712\n",
        memory + "job/memory.usage_in_bytes": "10\n",
    }  # fmt: skip
    root = tree(tmp_path, own, V1.format(root="/docker/4f"), files)
    assert cpus(root) == 0.5
    assert memory_left(root) == 250


def test_cached_files_are_no_memory_in_use(tmp_path):
    files = {
        "job/memory.max": "1000", "job/memory.current": "990",
        "job/memory.stat": "anon 100\ninactive_file 800\n",
    }  # fmt: skip
    assert memory_left(v2(tmp_path, "/job", files)) == 810


def test_more_in_use_than_is_allowed_leaves_nothing(tmp_path):
    files = {"job/memory.max": "100", "job/memory.current": "120"}
    assert memory_left(v2(tmp_path, "/job", files)) == 0


@pytest.mark.parametrize(
    "files",
    [{}, {"job/cpu.max": "max 100000", "job/memory.max": "max", "job/memory.current": "5"},
     {"job/cpu.max": "", "job/memory.max": ""}],
)  # fmt: skip
def test_without_limits(tmp_path, files):
    root = v2(tmp_path, "/job", files)
    assert cpus(root) == memory_left(root) == math.inf


def test_a_system_without_groups(tmp_path):
    assert cpus(tmp_path) == memory_left(tmp_path) == math.inf


def test_this_system():
    assert cpus() > 0
    assert memory_left() >= 0


def group(folder, **files: str):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_DOT_", ".")).write_text(text)


def left(membership: str, mounted) -> float:
    mounts = "30 24 0:26 / / rw - cgroup2 cgroup2 rw\n"
    mounts += "32 24 0:28 / /memory rw - cgroup cgroup rw,memory\n"
    return memory_left(tree(mounted, membership, mounts, {}))


def test_limits_of_the_process_s_own_group_and_of_those_above_it(tmp_path):
    own = {"memory_DOT_current": "400\n", "memory_DOT_stat": "anon 300\ninactive_file 100\n"}
    group(tmp_path / "job" / "step", memory_DOT_max="max\n", **own)
    assert left("0::/job/step", tmp_path) == float("inf")
    group(tmp_path / "job", memory_DOT_max="1000\n", **own)
    assert left("0::/job/step", tmp_path) == 700  # pages of files can be had back
    group(tmp_path / "job" / "step", memory_DOT_max="500\n")
    assert left("0::/job/step", tmp_path) == 200
    assert left("0::/", tmp_path) == float("inf")
    group(tmp_path, memory_DOT_max="450\n", memory_DOT_current="400\n")  # as a container has it
    assert left("0::/", tmp_path) == 50
    assert left("0::/unknown/path", tmp_path) == 50
    assert left("0::/../outside", tmp_path) == 50


def test_limits_of_the_older_kind_of_groups(tmp_path):
    limits = {"memory_DOT_limit_in_bytes": "900\n", "memory_DOT_usage_in_bytes": "500\n"}
    stat = {"memory_DOT_stat": "cache 1\ntotal_inactive_file 200\n"}
    group(tmp_path / "memory" / "docker", **limits, **stat)
    lines = "11:cpu,cpuacct:/other\n9:memory:/docker\n0::/docker\n"
    assert left(lines, tmp_path) == 600
    assert left("9:memory:/elsewhere", tmp_path) == float("inf")
    group(tmp_path / "memory", **limits)
    assert left("9:memory:/elsewhere", tmp_path) == 400
