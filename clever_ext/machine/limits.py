"""What a container may use: the limits of this process's control groups, of either version.

The system's own figures (cores, free memory) are those of the whole machine; a container or a batch
system limits a group of processes, and every group above it counts too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def cpus(root: Path = _ROOT) -> float:
    """Return how many CPUs' time the process may take; infinite where nothing limits it.

    Args:
        root: Where the system's files lie.
    """
    least = math.inf
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # ValueError: "max", no limit
            quota, period = (float(word) for word in _limit_of_cpu(group))
            if quota > 0:
                least = min(least, quota / period)
    return least


def memory_left(root: Path = _ROOT) -> float:
    """Return the bytes that the process may still take; infinite where nothing limits it.

    The cache of files that nobody used lately is given up by the system when memory is needed.

    Args:
        root: Where the system's files lie.
    """
    least = math.inf
    for group in _groups(root, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):  # ValueError: "max", no limit
                most = int((group / limit).read_text())
                taken = int((group / used).read_text()) - _of_cache(group, cache)
                least = min(least, max(0, most - taken))
    return least


def _limit_of_cpu(group: Path) -> list[str]:
    """Return microseconds of CPU time and of the time in which they may be spent."""
    with suppress(FileNotFoundError):
        return (group / "cpu.max").read_text().split()
    return [(group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]


def _of_cache(group: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            key, value = line.split()
            if key == name:
                return int(value)
    return 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of the process's own group, and those above it that can be seen."""
    with suppress(OSError):
        own = _own_paths((root / "proc/self/cgroup").read_text(), controller)
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            fields, kind = before.split(), after.split()
            if len(fields) < 5 or len(kind) < 3 or kind[0] not in own:
                continue
            if kind[0] == "cgroup" and controller not in kind[2].split(","):
                continue
            top = root / fields[4].lstrip("/")
            try:
                below = PurePosixPath(own[kind[0]]).relative_to(fields[3])
            except ValueError:  # the container sees its own group alone, at the top
                below = PurePosixPath()
            yield top
            yield from (top.joinpath(*below.parts[: n + 1]) for n in range(len(below.parts)))


def _own_paths(text: str, controller: str) -> dict[str, str]:
    """Map the kind of a file system of groups to the path of the process's group in it."""
    paths = {}
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif controller in controllers.split(","):
            paths["cgroup"] = path
    return paths
