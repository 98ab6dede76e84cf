"""CLEVER robustness scores of image classifiers, with compiled sampling and gradient norms.

>>> import clever_ext as cx, torch
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> result = cx.clever_score(model, torch.rand(2, 3, 2, 2), norm=2, n_batches=20, batch_samples=8)
>>> result.table[["image_id", "target", "score", "status"]].shape
(4, 4)
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("clever_ext")

if TYPE_CHECKING:
    from . import plot
    from .checks import Checked, check
    from .comparison.compare import compare
    from .comparison.comparison import Comparison
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

#: Where the names are from. torch takes seconds to import: the command line's help, and Ctrl-C
#: before it has begun, shall not have to wait for it.
_HOMES = {
    "Checked": "checks",
    "CleverError": "errors",
    "CleverResult": "results",
    "CleverWarning": "findings",
    "Comparison": "comparison.comparison",
    "GradientOracle": "gradients",
    "ReverseWeibullFit": "evt",
    "RunPlan": "planning",
    "TorchOracle": "gradients",
    "check": "checks",
    "clever_score": "scoring",
    "compare": "comparison.compare",
    "default_radius": "sampling",
    "fit_reverse_weibull": "evt",
    "grad_norm_max": "maxima",
    "load_run": "runs.folder",
    "plan": "planning",
    "refine": "refining",
    "refit": "refining",
    "sample_lp_ball": "sampling",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time: a name of `__all__`, or a module of the package."""
    if name in _HOMES:
        importlib.import_module(".ops", __name__)  # it says what to do where its half is missing
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = found
        return found
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
