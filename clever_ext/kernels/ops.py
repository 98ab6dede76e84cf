"""Loads the compiled half and declares its ops to PyTorch.

`torch.ops.clever_ext.*` are functional in their numbers (seed and counters are arguments) and write
into the buffers that they are given. What each does is said in `reference`, which holds
the plain version that tests and `clever-ext doctor` compare it with.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

try:
    from .. import _C as _C  # memory has it from here, and so this error
except ImportError as error:
    raise ImportError(
        f"clever_ext's compiled half did not load: {error}. Likely causes: it was never built "
        "(run `make install`, or `pip install --no-build-isolation -e .` in the checkout); this "
        f"torch ({torch.__version__}) is older than 2.11, or this Python is free-threaded: use "
        "others."
    ) from error

#: Norms that the compiled half names, as {name: p}; any other p >= 1 works too.
NAMED_NORMS: dict[str, float] = {name: p for name, p in _C.norm_table() if not math.isnan(p)}


def _load_cuda() -> str | None:
    """Load the CUDA half; return why it is not there, or None where it is."""
    if not _C.build_info()["cuda"]:
        return "it was not built (build with CLEVER_WITH_CUDA=1 to see what is missing)"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} has no CUDA"
    try:
        torch.ops.load_library(Path(__file__).parents[1] / "_C_cuda.so")  # type: ignore[no-untyped-call]
    except OSError as error:
        return str(error)
    return None


#: Why the CUDA half is not loaded; None where it is.
CUDA_MISSING: str | None = _load_cuda()


def _nothing_to_make(*_: object) -> None:
    """Stand for an op under fake tensors: it writes into its arguments and returns nothing."""


for _op in (
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
):
    torch.library.register_fake(f"clever_ext::{_op}", _nothing_to_make)

#: How many norms one call of `grad_norm_max` takes at most.
MAX_NORMS: int = _C.MAX_NORMS

sample_lp_ball = torch.ops.clever_ext.sample_lp_ball
grad_norm_max = torch.ops.clever_ext.grad_norm_max
reduce_and_resample = torch.ops.clever_ext.reduce_and_resample
move_in_lp_ball = torch.ops.clever_ext.move_in_lp_ball
step_to_boundary = torch.ops.clever_ext.step_to_boundary
lp_distances = torch.ops.clever_ext.lp_distances
bracket_ends = torch.ops.clever_ext.bracket_ends
assign_targets = torch.ops.clever_ext.assign_targets
margin_seeds = torch.ops.clever_ext.margin_seeds
note_flips = torch.ops.clever_ext.note_flips
