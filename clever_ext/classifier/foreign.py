"""What is said of models of other libraries, and of functions that leave torch.

It goes by the names of classes and modules: no library is imported for it.
"""

from __future__ import annotations

import inspect
from types import TracebackType
from typing import Any

import torch

from ..errors import CleverError, first_line

#: Packages whose models torch cannot differentiate.
_PACKAGES = (
    "art", "sklearn", "xgboost", "lightgbm", "catboost", "keras", "tensorflow", "tf_keras", "jax",
    "jaxlib", "flax", "equinox", "onnxruntime", "onnx", "cv2", "paddle", "mxnet",
)  # fmt: skip
#: Of these, those whose models are trees, and how scikit-learn's classes of trees are named.
_OF_TREES = ("xgboost", "lightgbm", "catboost")
_TREES = ("Tree", "Forest", "Boost")
#: What is said where a tensor with a graph is handed to NumPy, by DLPack, and to what takes none.
_HANDED_OVER = (
    "numpy() on Tensor that requires grad", "export tensors that require gradient",
    "<class 'torch.Tensor'>",
)  # fmt: skip
_GUIDE = "docs/guide/other-frameworks.md"


def refuse_foreign(model: Any, expected: str) -> None:
    """Refuse a model of another library, or a method of one, and say what to do instead.

    Raises:
        CleverError: it is one.
    """
    owner = model.__self__ if inspect.ismethod(model) else model
    if type(owner).__module__.startswith("transformers.pipelines"):
        raise CleverError(
            f"model is a pipeline of transformers ({type(owner).__name__}), which takes pictures",
            expected,
            'give clever_ext.load_model("hf:FOLDER-OR-ID"), or the model in it',
        )
    package = _package(owner)
    if package is None:
        return
    last = _last_step(owner)
    kind = type(last).__name__
    if package in _OF_TREES or (package == "sklearn" and any(each in kind for each in _TREES)):
        raise CleverError(
            f"model of type {kind} is made of trees, which have no gradients: their answers change "
            "in steps",
            "a model with gradients",
            "CLEVER does not apply: use a decision-based attack, or an exact verifier of tree "
            "ensembles",
        )
    fix = f"write its logits in torch, or a GradientOracle: {_GUIDE}"
    if package == "art":
        fix = "pass clever_ext.compat.art.as_model(model)"
    elif package.startswith("onnx"):
        fix = 'load its file by clever_ext.load_model("onnx:FILE")'
    elif _is_linear(last):
        fix = f"put its coef_ and intercept_ into a torch.nn.Linear: {_GUIDE} has the lines"
    raise CleverError(
        f"model of type {kind} is of {package}, which torch cannot differentiate", expected, fix
    )


def left_torch(model: Any, error: Exception) -> CleverError | None:
    """Return what to say of a model that failed where it left torch; None if it did not."""
    # A module that has others inside may fail for reasons of its own.
    package = None if isinstance(model, torch.nn.Module) else _package_behind(error.__traceback__)
    if package is None and any(each in str(error) for each in _HANDED_OVER):
        package = "NumPy or another library"
    if package is None:
        return None
    return outside_torch(f"the model leaves torch for {package} ({first_line(error)})")


def outside_torch(wrong: str) -> CleverError:
    """Return the error for a model that computes its logits outside torch."""
    return CleverError(
        f"{wrong}: no gradient reaches its input",
        "logits that torch can differentiate with respect to the input",
        "write them in torch, without torch.no_grad(), .detach() and NumPy, or write a "
        f"GradientOracle: {_GUIDE}",
    )


def _package(model: Any) -> str | None:
    """Return which other library a model is of, by its class; one to be called may be torch's."""
    kinds = type(model).__mro__[:1] if callable(model) else type(model).__mro__
    packages = [kind.__module__.split(".")[0] for kind in kinds]
    known = next((each for each in packages if each in _PACKAGES), None)
    if known is None and not callable(model) and hasattr(model, "predict_proba"):
        return packages[0]
    return known


def _last_step(model: Any) -> Any:
    """Return what a search or a pipeline of scikit-learn ends in."""
    model = getattr(model, "best_estimator_", model)
    steps = getattr(model, "steps", None)
    return _last_step(steps[-1][1]) if isinstance(steps, list) and steps else model


def _is_linear(model: Any) -> bool:
    """Tell whether decisions are x @ coef_.T + intercept_; those of an SVC are votes of pairs."""
    votes = type(model).__name__ in ("SVC", "NuSVC")
    return hasattr(model, "coef_") and hasattr(model, "intercept_") and not votes


def _package_behind(trace: TracebackType | None) -> str | None:
    """Return the library that raised, if it is one of the others."""
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        if package in _PACKAGES:
            return package
        trace = trace.tb_next
    return None
