"""The toolbox's functions, with estimators of a few lines and, where it is installed, its own."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.compat.art import as_model, clever, clever_t, clever_u

SHAPE, N_CLASSES = (1, 4, 4), 4
FEW = {"nb_batches": 8, "batch_size": 16}
DUAL = {1: np.inf, 2: 2, np.inf: 1}
WEIGHTS = np.random.default_rng(4).normal(size=(N_CLASSES, 16)).astype(np.float32)
X = np.random.default_rng(1).uniform(0.3, 0.7, size=SHAPE).astype(np.float32)


class Linear:
    """The least that an estimator has, and a note of where it was asked for gradients."""

    def __init__(self, clip_values=None):
        self.clip_values, self.points = clip_values, []

    def predict(self, x):
        return x.reshape(len(x), -1) @ WEIGHTS.T

    def class_gradient(self, x, label):
        assert isinstance(label, int)
        self.points.append(x)
        return np.broadcast_to(WEIGHTS[label].reshape(SHAPE), (len(x), 1, *SHAPE))


LOGITS = Linear().predict(X[None])[0]
PREDICTED = int(LOGITS.argmax())
OTHERS = [j for j in range(N_CLASSES) if j != PREDICTED]


def exact(target, norm):
    steepest = np.linalg.norm(WEIGHTS[PREDICTED] - WEIGHTS[target], DUAL[norm])
    return (LOGITS[PREDICTED] - LOGITS[target]) / steepest


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_scores_of_a_linear_classifier_are_exact(norm):
    scores = [clever_t(Linear(), X, j, **FEW, radius=100, norm=norm) for j in OTHERS]
    assert scores == pytest.approx([exact(j, norm) for j in OTHERS], rel=1e-5)
    assert isinstance(scores[0], np.float64)
    together = clever(Linear(), X, **FEW, radius=100, norm=norm, verbose=False)
    assert together.tolist() == scores
    smallest = clever_u(Linear(), X, **FEW, radius=100, norm=norm, verbose=False)
    assert smallest == min(scores)
    assert clever_u(Linear(), X, **FEW, radius=1e-3, norm=norm, verbose=False) == 1e-3


def test_targets_and_their_order():
    how = {**FEW, "radius": 100, "norm": 2, "verbose": False}
    scores = dict(zip(OTHERS, clever(Linear(), X, **how), strict=True))
    of_logits = [int(j) for j in np.argsort(LOGITS)[:-1]]
    assert of_logits != OTHERS
    ordered = clever(Linear(), X, target_sort=True, **how)
    assert ordered.tolist() == [scores[j] for j in of_logits]
    with_itself = clever(Linear(), X, target=[OTHERS[1], PREDICTED, OTHERS[1]], **how)
    assert with_itself.tolist() == [scores[OTHERS[1]], None, scores[OTHERS[1]]]
    assert clever(Linear(), X, target=np.int64(PREDICTED), **how).tolist() == [None]
    assert clever(Linear(), X, target=np.array(OTHERS[:1]), **how).dtype == np.float64
    assert clever(Linear(), X, target=[], **how).shape == (0,)


def test_samples_stay_within_clip_values():
    low, high = np.full(SHAPE, 0.25, np.float32), np.full(SHAPE, 0.75, np.float32)
    high[0, 0, 0] = 0.71
    for clip_values in ((0.25, 0.75), np.array([0.25, 0.75]), (low, high), np.array([low, high])):
        estimator = Linear(clip_values)
        clever_t(estimator, X, OTHERS[0], **FEW, radius=5, norm=2)
        points = np.concatenate(estimator.points)
        slack = 1e-6
        assert points.min() == pytest.approx(0.25)
        assert points.max() == pytest.approx(0.75)
        corner = 0.71 if np.shape(clip_values) == (2, *SHAPE) else 0.75
        assert points[:, 0, 0, 0].max() == pytest.approx(corner, abs=slack)


def test_unused_arguments_change_nothing():
    how = {**FEW, "radius": 100, "norm": 2}
    expected = clever_t(Linear(), X, OTHERS[0], **how)
    assert clever_t(Linear(), X, OTHERS[0], **how, c_init=7, pool_factor=3) == expected
    assert clever_t(Linear(), X, OTHERS[0], 8, 16, 100, 2, 7, 3) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_class": PREDICTED}, "is the class predicted for x"),
        ({"target_class": 9}, "9"),
        ({"target_class": 1.5}, "are no classes"),
        ({"pool_factor": 0}, "pool_factor=0 is less than 1"),
        ({"norm": 0.5}, "is no p-norm"),
        ({"radius": -1}, "is no radius"),
        ({"classifier": object()}, "has no predict and no class_gradient"),
        ({"nb_batches": 0}, "n_batches"),
        ({"classifier": Linear((0, 0.5))}, r"outside clip=\(0, 0.5\)"),
    ],
)
def test_what_is_unfit_is_refused(change, message):
    target = OTHERS[0]
    how = {"classifier": Linear(), "x": X, "target_class": target, **FEW, "radius": 1, "norm": 2}
    with pytest.raises(cx.CleverError, match=message):
        clever_t(**how | change)


def test_a_bar_is_shown_where_it_is_asked_for(capfd):
    clever_u(Linear(), X, **FEW, radius=1, norm=2, verbose=False)
    assert not capfd.readouterr().err
    clever_u(Linear(), X, **FEW, radius=1, norm=2)
    assert capfd.readouterr().err


def test_the_functions_are_names_of_the_package():
    assert cx.compat.art.clever_t is clever_t
    assert cx.compat.art.as_model is as_model


def test_the_toolbox_is_not_imported():
    code = "import sys, clever_ext.compat.art; print('art' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# With the toolbox.


@pytest.fixture(scope="module")
def toolbox():
    pytest.importorskip("art", reason="the toolbox is not installed")
    return pytest.importorskip("art.estimators.classification")


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, N_CLASSES)
    return nn.Sequential(*layers, nn.Dropout(0.5))


def of_torch(toolbox, kind=None, **how):
    kind = kind or toolbox.PyTorchClassifier
    how = {"clip_values": (0, 1), "device_type": "cpu", **how}
    return kind(network(), nn.CrossEntropyLoss(), SHAPE, N_CLASSES, **how)


def scores_of(model, **how):
    few = {"n_batches": 8, "batch_samples": 16, "radius": 2, "clip": (0, 1)}
    return cx.clever_score(model, X[None], prepare="none", **few, **how).table["score"].tolist()


@pytest.mark.usefixtures("toolbox")
def test_signatures_are_the_toolboxs():
    from art import metrics

    for ours in (clever, clever_t, clever_u):
        theirs = inspect.signature(getattr(metrics, ours.__name__)).parameters.values()
        mine = inspect.signature(ours).parameters.values()
        assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in theirs]


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_a_network_is_scored_as_clever_score_does(toolbox, norm):
    classifier = of_torch(toolbox)
    assert as_model(classifier) is classifier.model  # so that its choices are remembered
    found = clever(classifier, X, **FEW, radius=2, norm=norm, verbose=False)
    assert found.tolist() == pytest.approx(scores_of(network().eval(), norm=norm), rel=1e-5)


def test_an_estimator_in_training_mode_predicts_as_it_does_there(toolbox):
    classifier = of_torch(toolbox)
    classifier.model.train()
    found = clever(classifier, X, **FEW, radius=2, norm=2, verbose=False)
    assert found.tolist() == pytest.approx(scores_of(network().eval()), rel=1e-5)


def test_preprocessing_is_kept(toolbox):
    classifier = of_torch(toolbox, preprocessing=(np.array([0.5]), np.array([0.25])))
    normalised = network().eval()
    found = clever(classifier, X, **FEW, radius=2, norm=2, verbose=False)
    expected = scores_of(lambda x: normalised((x - 0.5) / 0.25))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.tolist() != pytest.approx(scores_of(normalised), rel=0.1)


def test_a_defence_in_torch_is_kept_and_differentiated(toolbox):
    from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

    class Squaring(PreprocessorPyTorch):
        def __init__(self, **how):
            super().__init__(device_type="cpu", **how)

        def forward(self, x, y=None):
            return x**2, y

    classifier = of_torch(toolbox, preprocessing_defences=Squaring())
    model = as_model(classifier)
    assert isinstance(model, nn.Module)
    agrees(model, classifier)
    assert clever_u(classifier, X, **FEW, radius=2, norm=2, verbose=False) > 0
    of_training = of_torch(toolbox, preprocessing_defences=Squaring(apply_predict=False))
    assert as_model(of_training) is of_training.model


def test_a_defence_in_numpy_is_kept(toolbox):
    from art.defences.preprocessor.preprocessor import Preprocessor

    class Steps(Preprocessor):
        """Rounds, and has a gradient all the same."""

        def __call__(self, x, y=None):
            return np.round(x * 7) / np.float32(7), y

        def estimate_gradient(self, x, grad):  # noqa: ARG002
            return grad

    classifier = of_torch(toolbox, preprocessing_defences=Steps())
    model = as_model(classifier)
    assert not isinstance(model, nn.Module)
    agrees(model, classifier)
    assert clever_u(classifier, X, **FEW, radius=2, norm=2, verbose=False) > 0


def agrees(model, classifier):
    """What is scored has the estimator's logits and gradients."""
    points = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    oracle = cx.TorchOracle(model) if isinstance(model, nn.Module) else model
    assert torch.allclose(
        oracle.logits(points), torch.tensor(classifier.predict(points.numpy())), atol=1e-6
    )
    classes, targets = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([[1], [2], [0], [3], [3]])
    (found,) = oracle.margin_gradients(points, classes, targets)
    of_class = classifier.class_gradient(points.numpy(), label=classes.numpy())
    of_target = classifier.class_gradient(points.numpy(), label=targets[:, 0].numpy())
    expected = torch.tensor(of_class - of_target).reshape(points.shape)
    assert torch.allclose(found, expected, atol=1e-6)


def test_an_estimator_with_answers_of_its_own_is_believed(toolbox):
    from art.defences.postprocessor import HighConfidence

    class Own(toolbox.PyTorchClassifier):
        def predict(self, x, **how):
            return 2 * super().predict(x, **how)

    assert not isinstance(as_model(of_torch(toolbox, Own)), nn.Module)
    confident = of_torch(toolbox, postprocessing_defences=HighConfidence(cutoff=0.1))
    assert not isinstance(as_model(confident), nn.Module)
    # The margin doubles, and the gradients do not.
    with pytest.warns(cx.CleverWarning, match="change 2 times as much as their gradients say"):
        doubled = clever(of_torch(toolbox, Own), X, **FEW, radius=100, norm=2, verbose=False)
    once = clever(of_torch(toolbox), X, **FEW, radius=100, norm=2, verbose=False)
    assert doubled.tolist() == pytest.approx((2 * once).tolist(), rel=1e-4)


def test_clip_values_of_each_pixel_hold_a_network_too(toolbox):
    low, high = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    high[0, 0, 0] = 0.75
    model = as_model(of_torch(toolbox, clip_values=(low, high)))
    beyond, held = torch.full((1, *SHAPE), 2.0), torch.tensor(high)[None]
    classes = torch.tensor([0]), torch.tensor([[1]])
    assert torch.equal(model(beyond), model.network(held))
    # The sample is moved, its gradient is not changed: so it is within one range for all.
    (found,) = cx.TorchOracle(model).margin_gradients(beyond, *classes)
    (expected,) = cx.TorchOracle(model.network).margin_gradients(held, *classes)
    assert torch.equal(found, expected)
    assert found.abs().min() > 0


def test_ensembles_and_linear_models_of_scikit_learn(toolbox):
    linear_model = pytest.importorskip("sklearn.linear_model")
    numbers = np.random.default_rng(2)
    points = numbers.uniform(size=(60, 16)).astype(np.float32)
    regression = linear_model.LogisticRegression().fit(points, np.argmax(points[:, :4], axis=1))
    classifier = toolbox.SklearnClassifier(model=regression, clip_values=(0, 1))
    with pytest.warns(cx.CleverWarning, match="gradients are not those of the logits"):
        score = clever_u(classifier, points[0], **FEW, radius=0.5, norm=2, verbose=False)
    assert 0 < score <= 0.5
    both = toolbox.EnsembleClassifier(
        [of_torch(toolbox), of_torch(toolbox)], clip_values=(0, 1), channels_first=True
    )
    ensemble = clever(both, X, **FEW, radius=2, norm=2, verbose=False)
    alone = clever(of_torch(toolbox), X, **FEW, radius=2, norm=2, verbose=False)
    assert ensemble.tolist() == pytest.approx(alone.tolist(), rel=1e-4)


def test_answers_have_the_toolboxs_form(toolbox):
    from art import metrics

    classifier = of_torch(toolbox)
    predicted = int(classifier.predict(X[None]).argmax())
    cases = [{}, {"target_sort": True}, {"target": predicted}, {"target": [0, 1, 2, 3]}]
    for case in cases:
        theirs = metrics.clever(classifier, X, 5, 4, 2.0, 2, pool_factor=3, verbose=False, **case)
        ours = clever(classifier, X, 5, 4, 2.0, 2, pool_factor=3, verbose=False, **case)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert [x is None for x in ours] == [x is None for x in theirs]
    target = (predicted + 1) % N_CLASSES
    assert type(clever_t(classifier, X, target, 5, 4, 2.0, 2)) is type(
        metrics.clever_t(classifier, X, target, 5, 4, 2.0, 2, pool_factor=3)
    )
    assert type(clever_u(classifier, X, 5, 4, 2.0, 2, verbose=False)) is type(
        metrics.clever_u(classifier, X, 5, 4, 2.0, 2, pool_factor=3, verbose=False)
    )
