"""CLEVER robustness scores of image classifiers, with compiled sampling and gradient norms.

>>> import clever_ext as cx, torch
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> result = cx.clever_score(model, torch.rand(2, 3, 2, 2), norm=2, n_batches=20, batch_samples=8)
>>> result.table[["image_id", "target", "score", "status"]].shape
(4, 4)
"""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("clever_ext")

from . import plot
from .checks import Checked, check
from .comparison import Comparison, compare
from .errors import CleverError
from .evt import ReverseWeibullFit, fit_reverse_weibull
from .findings import CleverWarning
from .gradients import GradientOracle, TorchOracle
from .maxima import grad_norm_max
from .planning import RunPlan, plan
from .refining import refine, refit
from .report import write_report
from .results import CleverResult
from .runs.folder import load_run
from .sampling import default_radius, sample_lp_ball
from .scoring import clever_score

__all__ = [
    "Checked",
    "CleverError",
    "CleverResult",
    "CleverWarning",
    "Comparison",
    "GradientOracle",
    "ReverseWeibullFit",
    "RunPlan",
    "TorchOracle",
    "check",
    "clever_score",
    "compare",
    "default_radius",
    "fit_reverse_weibull",
    "grad_norm_max",
    "load_run",
    "plan",
    "plot",
    "refine",
    "refit",
    "sample_lp_ball",
    "write_report",
]
