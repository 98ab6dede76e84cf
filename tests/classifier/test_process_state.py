"""Scores do not depend on the modes, threads and settings around the call."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.classifier.process_state import process_settings
from clever_ext.findings import CleverWarning

FEW = {"n_batches": 20, "batch_samples": 64, "radius": 9.0}
pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)
    )
    model[1].running_mean.normal_()
    return model.eval()


IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def score(model=None, images=IMAGES, **more):
    return cx.clever_score(network() if model is None else model, images, **{**FEW, **more})


@pytest.fixture(scope="module")
def expected():
    return score(prepare="none").scores[2]


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


WAYS = [
    {}, {"estimator": "steepest", "max_gradients": 64}, {"tolerance": 0.4}, {"race": True},
    {"radius": "auto"}, {"targets": "random", "norm": [1, 2]},
]  # fmt: skip


@pytest.fixture(scope="module")
def outside():
    return [score(batch_samples=16, **more).scores[2] for more in WAYS]


@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad, torch.inference_mode, lambda: torch.autograd.set_detect_anomaly(True),
        default_dtype, deterministic, lambda: torch.device("meta"),
    ],
    ids=["no_grad", "inference", "anomaly", "float64", "deterministic", "meta"],
)  # fmt: skip
def test_modes_around_the_call_change_nothing(around, outside):
    model = network()
    for more, expected in zip(WAYS, outside, strict=True):
        with around():
            inside = score(model, batch_samples=16, **more)
        np.testing.assert_allclose(inside.scores[2], expected, rtol=1e-4)


def test_inference_mode_may_have_made_images_and_model(expected):
    with torch.inference_mode():
        model, images = network(), IMAGES.clone()
        assert images.is_inference()
        inside = score(model, images)
    np.testing.assert_allclose(inside.scores[2], expected, rtol=1e-4)
    np.testing.assert_allclose(score(model, images).scores[2], expected, rtol=1e-4)
    assert inside.metadata["model"]["digest"] == score().metadata["model"]["digest"]


def test_a_model_of_inference_mode_that_cannot_be_copied_is_refused():
    class Alone(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    with torch.inference_mode():
        model = Alone(4, 3).eval()
    with pytest.raises(cx.CleverError, match="inference_mode"):
        cx.clever_score(model, torch.rand(1, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_the_call_is_left_and_said(dtype, expected):
    name = str(dtype).removeprefix("torch.")
    with torch.autocast("cpu", dtype), pytest.warns(CleverWarning, match=rf"autocast \({name}\)"):
        inside = score()
    np.testing.assert_allclose(inside.scores[2], expected, rtol=1e-4)
    (said,) = inside.metadata["warnings"]
    assert f'prepare="{name}"' in said["fix"]
    with torch.autocast("cpu", dtype), pytest.warns(CleverWarning):
        asked = score(prepare=name)
    assert asked.metadata["engine"]["options"] == [name]
    assert not np.allclose(asked.scores[2], expected, rtol=1e-6)


def test_anomaly_detection_does_not_end_a_score_whose_gradients_are_nan():
    class Root(nn.Linear):
        def forward(self, x):
            return super().forward(torch.where(x < 0.5, x, x.sqrt() * (x - 2).clamp(0).sqrt()))

    with torch.autograd.set_detect_anomaly(True):
        result = cx.clever_score(Root(4, 3).eval(), torch.rand(2, 4), **FEW)
        assert torch.is_anomaly_check_nan_enabled()
    assert "non-finite" in set(result.table["status"])


def test_a_precision_below_float32_is_told():
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        assert score().metadata["engine"]["precision"] == {"matmul": "bf16"}
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert "precision" not in score().metadata["engine"]


@pytest.mark.parametrize("used_before", [False, True])
def test_a_model_that_the_user_has_compiled(used_before):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.Tanh(), nn.Linear(8, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        model = torch.compile(plain, dynamic=True)
        if used_before:  # its backward pass gives buffers away
            leaf = IMAGES.clone().requires_grad_()
            model(leaf).sum().backward()
        result = score(model, targets="all")
    expected = score(plain, targets="all", prepare="none").scores[2]
    np.testing.assert_allclose(result.scores[2], expected, rtol=1e-4)


def test_threads_may_score_one_model(expected):
    model = network()
    with ThreadPoolExecutor(4) as threads:
        tasks = [threads.submit(score, model, n_batches=20) for _ in range(12)]
        for task in tasks:
            np.testing.assert_allclose(task.result().scores[2], expected, rtol=1e-4)


class Training:
    """Trains a model in another thread, as long as the block runs."""

    def __init__(self, model):
        self.model, self.failed, self.steps, self.over = model, None, 0, False
        self.thread = threading.Thread(target=self.train)

    def train(self):
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        try:
            while not self.over:
                optimizer.zero_grad()
                self.model(IMAGES).square().sum().backward()
                optimizer.step()
                self.steps += 1
        except Exception as error:
            self.failed = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


@pytest.mark.parametrize("prepare", ["none", "auto", ["fold_batch_norm"]])
def test_the_model_may_be_trained_meanwhile(prepare):
    model = network()
    with Training(model) as training, pytest.warns(CleverWarning, match="weights changed"):
        result = score(model, n_batches=100, prepare=prepare)
    assert training.failed is None
    assert training.steps > 10
    assert np.isfinite(result.scores[2]).all()
    assert all(p.requires_grad for p in model.parameters())


def test_another_model_may_be_called_meanwhile(expected):
    other, failed, over = network(1), [], threading.Event()

    def call():
        try:
            while not over.is_set():
                other(IMAGES)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    found = score(prepare=["fold_batch_norm", "channels_last"])
    over.set()
    thread.join()
    assert not failed
    np.testing.assert_allclose(found.scores[2], expected, rtol=1e-4)


def settings_of_products():
    """Return all of torch's settings, and those of its older interface where they can be read."""
    backends = torch.backends
    of = (backends.cuda.matmul, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn)
    found = [each.fp32_precision for each in (backends, *of, backends.mkldnn.matmul)]
    for older in (
        lambda: backends.cuda.matmul.allow_tf32,
        lambda: backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision,
    ):
        try:
            found.append(older())
        except RuntimeError:
            found.append("mixed")
    return found


DEFAULT = settings_of_products()


def nothing():
    pass


def newly():
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def for_all():
    torch.backends.fp32_precision = "tf32"


def as_before():
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture
def any_precision():
    yield
    backends = torch.backends
    new = (backends, backends.cudnn, backends.mkldnn, backends.mkldnn.matmul, backends.cuda.matmul)
    for each in new:
        each.fp32_precision = "none"
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = False, True
    torch.set_float32_matmul_precision("highest")
    for each in (backends.mkldnn.matmul, backends.cuda.matmul):
        each.fp32_precision = "none"
    assert settings_of_products() == DEFAULT


@pytest.mark.usefixtures("any_precision")
@pytest.mark.parametrize(
    "choose",
    [nothing, newly, for_all, as_before, lambda: torch.set_float32_matmul_precision("medium")],
)
def test_precisions_are_the_user_s_but_for_tf32_on_a_gpu(choose):
    choose()
    before, seen = settings_of_products(), []

    class Watched(nn.Linear):
        def forward(self, x):
            seen.append(settings_of_products())
            return super().forward(x)

    for prepare in ("none", "auto", ["tf32"]):
        cx.clever_score(
            Watched(4, 3).eval(), torch.rand(1, 4), n_batches=2, batch_samples=4, prepare=prepare
        )
    assert all(each == before for each in seen)
    with process_settings(["tf32"], torch.device("cuda")):
        with process_settings(["tf32"], torch.device("cuda")):
            pass
        _, matmul, _, conv, rnn, *_ = inside = settings_of_products()
        assert matmul == conv == rnn == "tf32"
        assert "mixed" in before or "mixed" not in inside
    assert settings_of_products() == before
    with pytest.raises(ZeroDivisionError), process_settings(["tf32"], torch.device("cuda")):
        raise ZeroDivisionError
    assert settings_of_products() == before
