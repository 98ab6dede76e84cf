"""The ops in plain NumPy and PyTorch, in float64: what the kernels must agree with.

Signatures are those of `torch.ops.clever_ext`.
"""

from .draws import philox4x32_10, sample_lp_ball, stream_key
from .folds import bracket_ends, grad_norm_max, lp_distances, note_flips
from .moves import move_in_lp_ball, project, shortest_way, step_to_boundary
from .step import assign_targets, margin_seeds, reduce_and_resample

__all__ = [
    "assign_targets",
    "bracket_ends",
    "grad_norm_max",
    "lp_distances",
    "margin_seeds",
    "move_in_lp_ball",
    "note_flips",
    "philox4x32_10",
    "project",
    "reduce_and_resample",
    "sample_lp_ball",
    "shortest_way",
    "step_to_boundary",
    "stream_key",
]
