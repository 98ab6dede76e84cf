"""What all tests share: the backends that the kernels run on, and a watch over global state."""

from __future__ import annotations

import functools
import multiprocessing.forkserver
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

import clever_ext.kernels.ops

# The same examples on every run, and no limit on their time.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

OPS = (
    "sample_lp_ball",
    "grad_norm_max",
    "reduce_and_resample",
    "move_in_lp_ball",
    "step_to_boundary",
    "lp_distances",
    "bracket_ends",
    "assign_targets",
    "margin_seeds",
    "note_flips",
)
EMULATION_LIBRARY = os.environ.get("CLEVER_EMULATION_LIBRARY")
needs_emulation = pytest.mark.skipif(
    EMULATION_LIBRARY is None, reason="CLEVER_EMULATION_LIBRARY is not set: see make test-cuda"
)

_CUDA_HALVES = [
    *(["emulated"] if EMULATION_LIBRARY else []),
    pytest.param("cuda", marks=pytest.mark.cuda),
]


@dataclass(frozen=True)
class Backend:
    """One set of compiled kernels, and where its tensors live."""

    name: str  # "cpu", "emulated" (CUDA's kernels under tests/cuda_emulation) or "cuda"
    ops: Any  # torch.ops.clever_ext, or its emulated double
    device: torch.device


@functools.cache
def _emulated_ops() -> tuple[Any, torch.library.Library]:
    """Load the emulated kernels, as CPU ops of a namespace that copies clever_ext's schemas."""
    assert EMULATION_LIBRARY is not None
    library = torch.library.Library("clever_ext_emulated", "DEF")  # type: ignore[no-untyped-call]
    for op in OPS:
        schema = str(getattr(torch.ops.clever_ext, op).default._schema)
        library.define(schema.removeprefix("clever_ext::"))  # type: ignore[no-untyped-call]
    torch.ops.load_library(EMULATION_LIBRARY)  # type: ignore[no-untyped-call]
    return torch.ops.clever_ext_emulated, library  # ops go when their library does


def _make_backend(name: str) -> Backend:
    if name == "cpu":
        return Backend(name, torch.ops.clever_ext, torch.device("cpu"))
    if name == "emulated":
        return Backend(name, _emulated_ops()[0], torch.device("cpu"))
    missing = clever_ext.kernels.ops.CUDA_MISSING
    if missing is None and not torch.cuda.is_available():
        missing = "torch finds no GPU"
    if missing is not None:
        reason = f"the CUDA kernels cannot run here: {missing}"
        if os.environ.get("CLEVER_REQUIRE_CUDA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Backend(name, torch.ops.clever_ext, torch.device("cuda"))


# Of the session, since hypothesis refuses fixtures that are made anew for each test.
@pytest.fixture(scope="session", params=["cpu", *_CUDA_HALVES])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn."""
    return _make_backend(request.param)


@pytest.fixture(scope="session", params=_CUDA_HALVES)
def cuda_half(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn that runs the CUDA kernels."""
    return _make_backend(request.param)


@pytest.fixture(scope="session", autouse=True)
def workers_start_soon() -> None:
    """Let the server of worker processes import, once, what tests make each of them need."""
    imported = ["clever_ext.data.loading", "torch", "pytest", "pyarrow.parquet", "pyarrow.feather"]
    multiprocessing.forkserver.set_forkserver_preload(imported)
    multiprocessing.forkserver.ensure_running()


@pytest.fixture(autouse=True)
def own_global_state() -> Iterator[None]:
    """Give every test the same random state, and catch a leaked grad mode."""
    random_state, grad_mode = torch.get_rng_state(), torch.is_grad_enabled()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(random_state)
    if torch.is_grad_enabled() != grad_mode:
        torch.set_grad_enabled(grad_mode)
        pytest.fail("the test left torch's grad mode changed")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a stand-in for GPUs in the place of torch's, and return it."""
    from gpu_stand_in import GpuStandIn

    return GpuStandIn().on(monkeypatch)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Leave the other threads out: beside other programs, small networks would wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Score on one thread; that is part of what a run is, too."""
    with on_one_thread():
        yield


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Any:  # noqa: ARG001
    """Return a small run whose pieces are of two pictures."""
    from small_run import SmallRun

    monkeypatch.setattr("clever_ext.runs.pieces._IMAGES", 2)
    return SmallRun(tmp_path)
