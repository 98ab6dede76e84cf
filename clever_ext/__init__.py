"""CLEVER robustness scores of image classifiers, with compiled sampling and gradient norms.

>>> import clever_ext as cx, torch
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> result = cx.clever_score(model, torch.rand(2, 3, 2, 2), norm=2, n_batches=20, batch_samples=8)
>>> result.table[["image_id", "target", "score", "status"]].shape
(4, 4)
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from .version import __version__ as __version__

if _TYPE_CHECKING:
    from . import compat
    from .checks import Checked, check
    from .classifier.bpda import BPDA
    from .classifier.oracle import GradientOracle, TorchOracle
    from .comparison import Comparison, compare
    from .data import open_images
    from .errors import CleverError
    from .evaluating import score_run
    from .evt.reverse_weibull import ReverseWeibullFit, fit_reverse_weibull
    from .findings import CleverWarning
    from .kernels.balls import sample_lp_ball
    from .kernels.norms import grad_norm_max
    from .models.loaded import LoadedModel
    from .models.loading import load_model
    from .models.normalisation import Normalized
    from .planning import RunPlan, plan
    from .refining import refine, refit
    from .report import write_report
    from .results import plot
    from .results.result import CleverResult
    from .runs.folder import load_run
    from .scoring import clever_score
    from .validation.validating import validate
    from .validation.validation import Validation

#: Where the public names are from. torch takes seconds to import: the command line's help, and
#: Ctrl-C before it has begun, shall not have to wait for it.
_HOMES = {
    "BPDA": "classifier.bpda",
    "Checked": "checks",
    "CleverError": "errors",
    "CleverResult": "results.result",
    "CleverWarning": "findings",
    "Comparison": "comparison",
    "GradientOracle": "classifier.oracle",
    "LoadedModel": "models.loaded",
    "Normalized": "models.normalisation",
    "ReverseWeibullFit": "evt.reverse_weibull",
    "RunPlan": "planning",
    "TorchOracle": "classifier.oracle",
    "Validation": "validation.validation",
    "check": "checks",
    "clever_score": "scoring",
    "compare": "comparison",
    "compat": "compat",
    "fit_reverse_weibull": "evt.reverse_weibull",
    "grad_norm_max": "kernels.norms",
    "load_model": "models.loading",
    "load_run": "runs.folder",
    "open_images": "data",
    "plan": "planning",
    "plot": "results.plot",
    "refine": "refining",
    "refit": "refining",
    "sample_lp_ball": "kernels.balls",
    "score_run": "evaluating",
    "validate": "validation.validating",
    "write_report": "report",
}
#: Those that are modules themselves.
_MODULES = ("compat", "plot")

__all__ = [
    "BPDA",
    "Checked",
    "CleverError",
    "CleverResult",
    "CleverWarning",
    "Comparison",
    "GradientOracle",
    "LoadedModel",
    "Normalized",
    "ReverseWeibullFit",
    "RunPlan",
    "TorchOracle",
    "Validation",
    "check",
    "clever_score",
    "compare",
    "compat",
    "fit_reverse_weibull",
    "grad_norm_max",
    "load_model",
    "load_run",
    "open_images",
    "plan",
    "plot",
    "refine",
    "refit",
    "sample_lp_ball",
    "score_run",
    "validate",
    "write_report",
]


def __getattr__(name: str) -> _Any:
    """Import what is asked for the first time: a public name, or a room of the package."""
    if name in _HOMES:
        _import_module(".kernels.ops", __name__)  # it says what to do where its half is missing
        home = _import_module(f".{_HOMES[name]}", __name__)
        found = home if name in _MODULES else getattr(home, name)
        globals()[name] = found
        return found
    try:
        return _import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__version__"])
