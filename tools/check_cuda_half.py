"""Checks a build of the CUDA half as far as that goes without a GPU.

`_C_cuda` is loaded, its ops are registered for CUDA, it holds code for the architectures that it
was built for, fake CUDA tensors pass through the ops, and its own copies of the checks answer. Run
by tools/test_cuda.sh, in an environment whose torch has CUDA.
"""

from __future__ import annotations

import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import clever_ext
from clever_ext import _C
from clever_ext.kernels import ops

INF = math.inf


def arguments(device: str) -> dict[str, tuple[Any, ...]]:
    """Arguments of a right call of each op."""

    def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros(*shape, dtype=dtype, device=device)

    float64, int64 = torch.float64, torch.int64
    x, maxima, cursor = numbers(4, 3, 5), numbers(2, dtype=float64), numbers(4, dtype=int64)
    return {
        "sample_lp_ball": (numbers(4, 3, 5), numbers(3, 5), 2.0, 0.5, 1, 2, 3, -INF, INF),
        "grad_norm_max": (numbers(2, 4, 3, 5), [1.0, INF], numbers(2, 2, dtype=float64), None),
        "reduce_and_resample": (
            *(numbers(4, 3, 5), x, maxima, cursor, numbers(4, dtype=int64), numbers(2, 3, 5)),
            *(numbers(6, 4, dtype=int64), numbers(6, dtype=float64), 2, 2.0, 2.0, 5, -INF, INF),
        ),
        "move_in_lp_ball": (
            *(numbers(4, 3, 5), numbers(2, 3, 5), numbers(1, 3, 5), numbers(2, 3, 5)),
            *(numbers(4, 5, dtype=int64), numbers(4, 4, dtype=float64), 2.0, 1.0, 5, -INF, INF),
        ),
        "step_to_boundary": (
            *(numbers(4, 3, 5), numbers(4, 3, 5), numbers(4, 3, 5), numbers(2, 3, 5)),
            *(numbers(4, dtype=int64), numbers(4, 3, dtype=float64), 2.0, -INF, INF),
        ),
        "lp_distances": (x, numbers(2, 3, 5), cursor, 2.0, numbers(4, dtype=float64)),
        "bracket_ends": (
            *(numbers(4, dtype=float64) for _ in range(3)),
            cursor,
            *(numbers(2, dtype=float64) for _ in range(4)),
            *(numbers(2, dtype=int64) for _ in range(2)),
        ),
        "assign_targets": (
            *(cursor, numbers(3, dtype=int64), numbers(2, dtype=int64), numbers(2, 6, dtype=int64)),
            *(numbers(4, dtype=int64), numbers(4, dtype=int64), numbers(4, 6, dtype=int64)),
        ),
        "margin_seeds": (
            *(numbers(4, 7), cursor, numbers(4, 6, dtype=int64)),
            *(numbers(4, 6), numbers(2, 4, 7)),
        ),
        "note_flips": (
            *(numbers(4, 6), x, numbers(4, dtype=int64), numbers(2, 3, 5)),
            *(cursor, 2.0, numbers(6, 2, dtype=float64)),
        ),
    }


def check_library() -> None:
    """The library is there, was loaded by importing the package, and knows its architectures."""
    assert _C.build_info()["cuda"], "clever_ext was built without CUDA"
    assert ops.CUDA_MISSING is None, f"the CUDA half is not loaded: {ops.CUDA_MISSING}"
    for op in arguments("cpu"):
        registered = torch._C._dispatch_has_kernel_for_dispatch_key(f"clever_ext::{op}", "CUDA")
        assert registered, f"clever_ext::{op} has no CUDA kernel"


def find_cuobjdump() -> Path:
    """Return the program that lists what a library holds: the toolkit's, or else triton's."""
    spec = importlib.util.find_spec("triton")
    assert spec is not None
    assert spec.origin is not None
    bundled = Path(spec.origin).parent / "backends/nvidia/bin/cuobjdump"
    return Path(shutil.which("cuobjdump") or bundled)


def check_architectures() -> None:
    """Code for each architecture that was asked for lies in the library."""
    library = Path(clever_ext.__file__).with_name("_C_cuda.so")
    for name in re.split("[;, ]+", _C.build_info()["cuda_architectures"]):
        number, kind = name.split("-")
        option = {"real": "--list-elf", "virtual": "--list-ptx"}[kind]
        listed = subprocess.check_output([find_cuobjdump(), option, library], text=True)
        assert f"sm_{number}." in listed, f"no {kind} code for {number}, but {listed}"


def check_fakes() -> None:
    """Fake CUDA tensors pass, as torch.compile and torch.export need; opcheck agrees on the CPU."""
    with FakeTensorMode():
        for op, args in arguments("cuda").items():
            assert getattr(torch.ops.clever_ext, op)(*args) is None
    for op, args in arguments("cpu").items():
        overload = getattr(torch.ops.clever_ext, op).default
        torch.library.opcheck(overload, args, test_utils=("test_schema", "test_faketensor"))


def check_messages() -> None:
    """Bad arguments are refused by the CUDA kernels' own checks, before a GPU is asked for.

    No CUDA tensor can be made here; the dispatcher is told to take the CUDA kernel for CPU ones.
    """
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    wrong: tuple[tuple[str, int, Any, str], ...] = (
        ("sample_lp_ball", 1, torch.zeros(3, 4), "out of shape [4, 3, 5] does not hold points"),
        ("sample_lp_ball", 2, 0.5, "p must be at least 1"),
        ("sample_lp_ball", 3, -1.0, "radius must be positive and finite"),
        ("grad_norm_max", 0, torch.zeros(2, 3), "grads must be [G, B, *shape]"),
        ("grad_norm_max", 1, [0.5], "q must be at least 1"),
        ("grad_norm_max", 2, torch.zeros(2, 2), "maxima must be float64"),
        ("reduce_and_resample", 6, torch.zeros(6, 3), "jobs must have shape [6, 4]"),
        ("reduce_and_resample", 3, torch.zeros(5), "cursor must have shape [4]"),
        ("move_in_lp_ball", 4, torch.zeros(4, 3), "rows must have shape [4, 5]"),
        ("step_to_boundary", 4, torch.zeros(5), "index must have shape [4]"),
        ("lp_distances", 2, torch.zeros(5), "index must have shape [4]"),
        ("bracket_ends", 3, torch.zeros(5), "row must have shape [4]"),
        ("assign_targets", 3, torch.zeros(2), "targets must be [I, T]"),
        ("margin_seeds", 4, torch.zeros(2, 3, 7), "seeds must have shape [2, 4, 7]"),
        ("note_flips", 6, torch.zeros(2), "nearest_flip must have shape [6, 2]"),
    )
    for op, position, value, message in wrong:
        args = list(arguments("cpu")[op])
        args[position] = value
        refusal = "nothing was refused"
        try:
            getattr(torch.ops.clever_ext, op).default.redispatch(cuda, *args)
        except RuntimeError as error:
            refusal = str(error)
        assert message in refusal, f"{op}: expected {message!r}, got {refusal!r}"


def main() -> None:
    """Run all checks; the first that fails ends the program."""
    print(f"clever_ext in {Path(clever_ext.__file__).parent}, torch {torch.__version__}")
    assert Path(clever_ext.__file__).is_relative_to(Path(sys.argv[1]).resolve()), "another build"
    for check in (check_library, check_architectures, check_fakes, check_messages):
        check()
        print(f"  {check.__name__}: passed")


if __name__ == "__main__":
    main()
