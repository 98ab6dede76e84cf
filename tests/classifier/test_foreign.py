"""What is said of models of other libraries: by stand-ins, and by the libraries that there are."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx

POINTS = np.random.default_rng(0).uniform(size=(60, 5)).astype(np.float32)
LABELS = POINTS[:, :3].argmax(axis=1)
WEIGHT = torch.from_numpy(POINTS[:5, :3].copy())
GUIDE = "docs/guide/other-frameworks.md"
ORACLE = f"write a GradientOracle: {GUIDE}"


def said(model):
    """What a model is refused with."""
    with pytest.raises(cx.CleverError) as caught:
        cx.clever_score(model, POINTS[:2], n_batches=4, batch_samples=8)
    return caught.value


def of(module, name="Model", **holds):
    """An object of a class of another library, as far as names tell."""
    return type(name, (), holds | {"__module__": module})()


LINEAR = {"coef_": np.ones((3, 5)), "intercept_": np.ones(3)}
PREDICTS = {"predict": lambda _, x: x, "predict_proba": lambda _, x: x}


@pytest.mark.parametrize(
    ("model", "package", "fix"),
    [
        (of("sklearn.svm._classes", "SVC", **PREDICTS), "sklearn", f"or a GradientOracle: {GUIDE}"),
        (of("sklearn.svm._classes", "SVC", **LINEAR), "sklearn", "or a GradientOracle"),
        (of("keras.src.models", __call__=lambda _, x: x), "keras", "or a GradientOracle"),
        (of("tensorflow.python", __call__=lambda _, x: x), "tensorflow", "or a GradientOracle"),
        (of("jaxlib._jax", "PjitFunction", __call__=lambda _, x: x), "jaxlib", "or a GradientO"),
        (of("mine.models", **PREDICTS), "mine", "or a GradientOracle"),
        (of("sklearn.linear_model", "SGDClassifier", **LINEAR), "sklearn", "coef_ .*nn.Linear"),
        (of("art.estimators", "ScikitlearnSVC"), "art", r"compat.art.as_model\(model\)"),
        (of("onnxruntime.capi", "InferenceSession"), "onnxruntime", r'load_model\("onnx:FILE"\)'),
    ],
)
def test_each_kind_is_told_what_to_do(model, package, fix):
    assert f"is of {package}, which torch cannot differentiate" in said(model).wrong
    with pytest.raises(cx.CleverError, match=fix):
        raise said(model)


@pytest.mark.parametrize(
    "model",
    [
        of("xgboost.core", "Booster"),
        of("lightgbm.sklearn", "LGBMClassifier", **PREDICTS),
        of("sklearn.ensemble._forest", "RandomForestClassifier", **PREDICTS),
        of("sklearn.pipeline", steps=[("first", None), ("last", of("sklearn.tree", "ExtraTree"))]),
        of("sklearn", best_estimator_=of("sklearn.ensemble", "HistGradientBoostingClassifier")),
    ],
)
def test_trees_are_told_that_there_is_no_score(model):
    assert "is made of trees, which have no gradients" in said(model).wrong
    assert "CLEVER does not apply: use a decision-based attack" in said(model).fix


def test_a_class_of_ones_own_goes_by_what_it_is_of():
    own = type("Own", (type(of("sklearn.tree", "DecisionTreeClassifier")),), {})()
    assert "Own is of sklearn" in said(own).wrong
    # One that can be called may be torch's all the same.
    called = type("Called", (type(own),), {"__call__": lambda _, x: x @ WEIGHT, **PREDICTS})()
    assert len(cx.clever_score(called, POINTS[:2], n_batches=4, batch_samples=8).table)


def without_graph(x):
    with torch.no_grad():
        return x @ WEIGHT


class Leaving(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() @ WEIGHT.numpy())


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (lambda x: x.numpy() @ WEIGHT.numpy(), "leaves torch for NumPy or another"),
        (lambda x: np.asarray(x) @ WEIGHT.numpy(), "leaves torch for NumPy or another"),
        (lambda x: np.from_dlpack(x) @ WEIGHT.numpy(), "leaves torch for NumPy or another"),
        (Leaving().eval(), "leaves torch for NumPy or another"),
        (lambda x: x.detach().numpy() @ WEIGHT.numpy(), "output is of type ndarray, no tensor"),
        (lambda x: torch.from_numpy(x.detach().numpy()) @ WEIGHT, "logits do not depend on"),
        (without_graph, "logits do not depend on its input"),
    ],
)
def test_functions_that_leave_torch_are_sent_to_an_oracle(model, wrong):
    error = said(model)
    assert wrong in error.wrong
    assert "no gradient reaches its input" in error.wrong
    assert error.fix.endswith(ORACLE)


def test_models_of_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    def fitted(model):
        return model.fit(POINTS, LABELS)

    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {})
    for model in (LinearSVC(), RidgeClassifier(), search):
        assert "coef_ and intercept_ into a torch.nn.Linear" in said(fitted(model)).fix
    for model in (fitted(SVC(kernel="linear")), fitted(SVC()), LogisticRegression()):
        assert f"or a GradientOracle: {GUIDE}" in said(model).fix
    tree = fitted(make_pipeline(StandardScaler(), DecisionTreeClassifier()))
    ensembles = fitted(AdaBoostClassifier()), fitted(GradientBoostingClassifier(n_estimators=2))
    for model in (tree, *ensembles, tree.predict_proba):
        assert "made of trees" in said(model).wrong
    wrapped = said(lambda x: ensembles[1].predict_proba(x))
    assert "leaves torch for sklearn" in wrapped.wrong


def test_boosters():
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=2).fit(POINTS, LABELS)
    for each in (model, model.get_booster(), model.predict_proba):
        assert "made of trees" in said(each).wrong


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    weight = WEIGHT.numpy()

    def logits(x):
        return jax.numpy.dot(x, weight)

    assert "is of jaxlib" in said(jax.jit(logits)).wrong
    for function in (logits, lambda x: logits(jax.dlpack.from_dlpack(x.detach()))):
        assert said(function).fix.endswith(ORACLE)
    assert "leaves torch for jax" in said(lambda x: logits(jax.numpy.asarray(x))).wrong


def test_no_library_is_imported_to_tell():
    code = """
import sys, numpy, torch, clever_ext as cx
names = {"sklearn", "xgboost", "jax", "keras", "tensorflow", "art", "onnx"}
try:
    cx.clever_score(type("Model", (), {"__module__": "sklearn.tree"})(), numpy.ones((1, 3), "f"))
except cx.CleverError:
    print(names & {name.split(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_pipeline_of_transformers_is_named():
    kind = type("ImageClassificationPipeline", (), {"__call__": lambda *_: None})
    kind.__module__ = "transformers.pipelines.image_classification"
    with pytest.raises(cx.CleverError, match=r"pipeline of transformers.*hf:FOLDER"):
        cx.clever_score(kind(), torch.rand(2, 3, 4, 4))
