"""CleverCallback in trainings by Lightning, under both of its names."""

import importlib
import math
from contextlib import suppress
from unittest import SkipTest

import pytest
import torch
from peers import peer
from small_training import FEW, by_two, digits, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import clever_ext as cx

with suppress(SkipTest):
    peer("torchvision")  # which TorchMetrics imports where it is installed
pytest.importorskip("torchmetrics")  # which Lightning imports
NAMES = ("lightning.pytorch", "pytorch_lightning")
if not any(importlib.util.find_spec(name.split(".")[0]) for name in NAMES):
    pytest.skip("Lightning is not installed", allow_module_level=True)

from clever_ext.compat.lightning import CleverCallback  # noqa: E402

IMAGES, LABELS = digits()
MONITOR = {"monitor": "clever/l2/score_mean", "mode": "max"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # of workers and intervals of its own
]


def module_of(lightning, validation):
    class Digits(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.seen = network(), []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.seen.append(float(loss.detach()))
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    class Validated(Digits):
        def validation_step(self, batch, _):
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    return Validated() if validation else Digits()


class Logged:
    """A logger's place: what is logged, with its step."""

    def of(self, lightning):
        class Logger(lightning.loggers.logger.DummyLogger):
            def __init__(self):
                super().__init__()
                self.lines = []

            def log_metrics(self, metrics, step=None):
                self.lines.append((step, metrics))

        return Logger()


def trained(folder, callbacks=None, name=NAMES[0], validation=True, epochs=2, **how):
    """Train on the digits; return the module, the trainer, and the lines of the log."""
    lightning = pytest.importorskip(name)
    if callbacks is None:
        checkpoint = lightning.callbacks.ModelCheckpoint(folder, **MONITOR)
        stop = lightning.callbacks.EarlyStopping(**MONITOR, patience=9)
        callbacks = [CleverCallback(IMAGES[:3], LABELS[:3], **FEW), stop, checkpoint]
    torch.manual_seed(1)
    module, log = module_of(lightning, validation), Logged().of(lightning)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": log}
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=callbacks, accelerator="cpu", default_root_dir=folder,
        enable_checkpointing=len(callbacks) > 2, log_every_n_steps=1, **quiet, **how,
    )  # fmt: skip
    train = DataLoader(TensorDataset(IMAGES, LABELS), 8, shuffle=True)
    data = [train, DataLoader(TensorDataset(IMAGES, LABELS), 8)] if validation else [train]
    trainer.fit(module, *data)
    return module, trainer, log.lines


def scores_in(lines):
    return [line["clever/l2/score_mean"] for _, line in lines if "clever/l2/score_mean" in line]


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_is_the_same_with_and_without(tmp_path, name, validation):
    """To the last bit; and each epoch has a score, which other callbacks act on."""
    bare, without, _ = trained(tmp_path, [], name, validation, epochs=3)
    module, trainer, lines = trained(tmp_path, None, name, validation, epochs=3)
    assert module.seen == bare.seen
    ours, theirs = module.state_dict(), bare.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    steps = [opt.state_dict()["state"] for opt in (*trainer.optimizers, *without.optimizers)]
    for mine, other in zip(steps[0].values(), steps[1].values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], other["momentum_buffer"])
    scores = scores_in(lines)
    assert len(scores) == 3
    assert max(scores) > 0
    final = cx.clever_score(module.eval(), IMAGES[:3], labels=LABELS[:3], **FEW).summary()
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    for key, value in final.items():
        assert logged[f"clever/{key}"] == pytest.approx(value, rel=1e-6, nan_ok=True)
    stop, checkpoint = trainer.early_stopping_callback, trainer.checkpoint_callback
    assert float(stop.best_score) == pytest.approx(max(scores))
    assert float(checkpoint.best_model_score) == pytest.approx(max(scores))


def test_epochs_between_scores_and_names(tmp_path):
    how = FEW | {"norm": "linf"}
    callbacks = [
        CleverCallback(IMAGES[:2], every_n_epochs=2, **how),
        CleverCallback(IMAGES[2:4], name="others", **FEW),
    ]
    _, _, lines = trained(tmp_path, callbacks, epochs=4)
    assert len([1 for _, line in lines if "clever/linf/score_mean" in line]) == 2
    assert len([1 for _, line in lines if "others/l2/score_mean" in line]) == 4
    assert not scores_in(lines)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(tmp_path, precision):
    """Mixed ones are Lightning's own in steps; the score is that of the weights as they are."""
    score = CleverCallback(IMAGES[:2], LABELS[:2], **FEW)
    module, _, lines = trained(tmp_path, [score], epochs=1, precision=precision)
    (found,) = scores_in(lines)
    model = module.net.eval()
    expected = cx.clever_score(model, IMAGES[:2], labels=LABELS[:2], **FEW).summary()
    assert found == pytest.approx(expected["l2/score_mean"], rel=1e-6)
    assert math.isfinite(found)


def test_what_cannot_be_scored_is_refused_before_the_training(tmp_path):
    passes = []
    lightning = pytest.importorskip(NAMES[0])

    class Watched(lightning.Callback):
        def on_train_batch_start(self, *_):
            passes.append(1)

    for images, settings in ((IMAGES[:2, :, :9], {}), (IMAGES[:2], {"norm": 0.5})):
        score = CleverCallback(images, **settings)
        with pytest.raises(cx.CleverError):
            trained(tmp_path, [score, Watched()])
    assert not passes
    with pytest.raises(TypeError, match="nrom"):
        CleverCallback(IMAGES, nrom=2)


def test_without_more_it_searches_for_the_steepest_place(tmp_path):
    score = CleverCallback(IMAGES[:1], targets="top2", clip=(0, 1))
    _, trainer, _ = trained(tmp_path, [score], epochs=1)
    assert 0 < trainer.callback_metrics["clever/gradients"] < 1000


def test_the_sanity_check_is_not_scored(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "clever_ext.compat.in_training.Pictures.numbers", lambda *_: asked.append(1) or {}
    )
    trained(tmp_path, [CleverCallback(IMAGES[:2], **FEW)], epochs=3)
    assert len(asked) == 3


def test_two_processes(tmp_path):
    first, second = by_two(tmp_path, "lightning")
    for each in (first, second):
        each["logged"].pop("val_loss")  # of each process's own share
    assert first == second
    assert math.isfinite(first["logged"]["clever/l2/score_mean"])
    assert first["logged"]["clever/images"] == 3
    assert first["best"]
