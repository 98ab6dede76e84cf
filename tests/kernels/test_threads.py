"""The kernels run on torch's own threads, as many as torch takes."""

import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import os, torch
from clever_ext.kernels import ops
def threads():
    return len(os.listdir("/proc/self/task"))
x, center = torch.empty(64, 3, 64, 64), torch.rand(3, 64, 64)
torch.rand(2000, 2000) @ torch.rand(2000, 2000)  # torch's threads are there now
before = threads()
for p in (1.0, 2.0, 3.0):
    ops.sample_lp_ball(x, center, p, 1.0, 0, 0, 0, -9.0, 9.0)
    ops.grad_norm_max(x[None], [p], torch.zeros(1, 1, dtype=torch.float64))
print(torch.get_num_threads(), before, threads())
"""

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")  # noqa: PTH112


def threads(*prefix: str, **environment: str) -> list[int]:
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    kept["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's own threads are not counted
    said = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM],
        check=True, capture_output=True, text=True, env=kept | environment,
    )  # fmt: skip
    return [int(word) for word in said.stdout.split()]


@linux
def test_no_thread_is_added_to_torch_s():
    _, before, after = threads()
    assert after == before


@linux
@pytest.mark.parametrize("n", [1, 2])
def test_omp_num_threads(n):
    taken, _, after = threads(OMP_NUM_THREADS=str(n))
    assert taken <= n
    assert after == taken


@linux
@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_taskset():
    core = str(min(os.sched_getaffinity(0)))
    assert threads("taskset", "-c", core) == [1, 1, 1]
