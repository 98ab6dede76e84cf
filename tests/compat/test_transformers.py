"""CleverTrainerCallback in trainings by the Trainer of transformers."""

import json
import math
from contextlib import suppress
from unittest import SkipTest

import pytest
import torch
from peers import peer
from small_training import FEW, by_two, digits

import clever_ext as cx

with suppress(SkipTest):
    peer("torchvision")
pytest.importorskip("accelerate")  # which the Trainer needs
library = pytest.importorskip("transformers")

from clever_ext.compat.transformers import CleverTrainerCallback  # noqa: E402

IMAGES, LABELS = digits()
DATA = [{"pixel_values": x, "labels": int(y)} for x, y in zip(IMAGES, LABELS, strict=True)]
MEAN = "eval_clever/l2/score_mean"
pytestmark = pytest.mark.filterwarnings("ignore::clever_ext.CleverWarning")


def trained(folder, score=True, run=True, callbacks=(), **how):
    """Train on the digits; return the Trainer and the model."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 4], "depths": [1, 1]}
    config = library.ResNetConfig(num_channels=1, num_labels=10, layer_type="basic", **sizes)
    model = library.ResNetForImageClassification(config)
    settings = {"eval_strategy": "epoch", "num_train_epochs": 2, "report_to": "none"} | how
    evaluated = settings.pop("eval_dataset", DATA)
    arguments = library.TrainingArguments(
        str(folder), use_cpu=True, per_device_train_batch_size=8, logging_steps=1,
        disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = library.Trainer(model, arguments, train_dataset=DATA, eval_dataset=evaluated)
    if score:
        trainer.add_callback(CleverTrainerCallback(trainer, IMAGES[:3], **FEW))
    for each in callbacks:
        trainer.add_callback(each)
    if run:
        trainer.train()
    return trainer, model


def scores_in(trainer):
    return {line["step"]: line[MEAN] for line in trainer.state.log_history if MEAN in line}


@pytest.mark.parametrize("strategy", ["epoch", "no"])
def test_a_training_is_the_same_with_and_without(tmp_path, strategy):
    """To the last bit; and each epoch has a score."""
    bare, theirs = trained(tmp_path, score=False, eval_strategy=strategy)
    trainer, model = trained(tmp_path, eval_strategy=strategy)
    ours, theirs = model.state_dict(), theirs.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    losses = [
        [x["loss"] for x in each.state.log_history if "loss" in x] for each in (bare, trainer)
    ]
    assert losses[0] == losses[1]
    scores = scores_in(trainer)
    assert list(scores) == [3, 6]
    assert min(scores.values()) > 0
    final = cx.clever_score(model.eval(), IMAGES[:3], **FEW).summary()
    assert scores[6] == pytest.approx(final["l2/score_mean"], rel=1e-6)
    assert set(trainer.state.log_history[-2]) == {f"eval_clever/{key}" for key in final} | {
        "epoch", "step",
    }  # fmt: skip


def test_other_callbacks_act_on_it(tmp_path):
    stop = library.EarlyStoppingCallback(1)
    trainer, _ = trained(
        tmp_path, callbacks=[stop], save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="clever/l2/score_mean", num_train_epochs=3,
    )  # fmt: skip
    assert trainer.state.best_metric == max(scores_in(trainer).values())
    values = list(scores_in(trainer).values())
    worse = [n for n in range(1, len(values)) if values[n] <= max(values[:n])]
    assert len(values) == 3 if not worse else len(values) == worse[0] + 1


def test_it_goes_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer, _ = trained(tmp_path, report_to="tensorboard", num_train_epochs=1)
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    (event,) = events.Scalars("eval/clever/l2/score_mean")
    assert event.value == pytest.approx(scores_in(trainer)[3])
    assert event.step == 3


def test_once_at_a_step_and_in_epochs_that_are_due(tmp_path):
    two = {"one": DATA[:8], "other": DATA[8:]}
    steps = {"eval_strategy": "steps", "eval_steps": 2, "num_train_epochs": 4, "eval_dataset": two}
    trainer, _ = trained(tmp_path, score=False, run=False, **steps)
    how = FEW | {"every_n_epochs": 2}
    trainer.add_callback(CleverTrainerCallback(trainer, IMAGES[:2], **how))
    trainer.train()
    lines = [line["step"] for line in trainer.state.log_history if MEAN in line]
    assert lines == [4, 6, 10, 12]  # of evaluations at 2, 4, ..., 12; an epoch has 3 steps


def test_evaluations_outside_of_a_training(tmp_path):
    trainer, model = trained(tmp_path, run=False)
    before = trainer.evaluate()[MEAN]
    with torch.no_grad():
        model.classifier[-1].bias.add_(torch.arange(10) / 100)
    assert trainer.evaluate()[MEAN] != before


def test_bfloat16_is_scored_as_the_trainer_calls_it(tmp_path):
    trainer, _ = trained(tmp_path, bf16=True, num_train_epochs=1)
    assert math.isfinite(scores_in(trainer)[3])


def test_what_cannot_be_scored_is_refused_before_the_training(tmp_path):
    trainer, _ = trained(tmp_path, score=False, run=False)
    trainer.add_callback(CleverTrainerCallback(trainer, IMAGES[:2], norm=0.5))
    with pytest.raises(cx.CleverError, match="norm"):
        trainer.train()
    assert trainer.state.global_step == 0
    with pytest.raises(TypeError, match="nrom"):
        CleverTrainerCallback(trainer, IMAGES, nrom=2)


def test_without_more_it_searches_for_the_steepest_place(tmp_path):
    trainer, _ = trained(tmp_path, score=False, run=False)
    trainer.add_callback(CleverTrainerCallback(trainer, IMAGES[:1], targets="top2", clip=(0, 1)))
    assert 0 < trainer.evaluate()["eval_clever/gradients"] < 1000


def test_two_processes(tmp_path):
    first, second = by_two(tmp_path, "transformers")
    assert first["weights"] == second["weights"]
    logs = [[line for line in each["log"] if MEAN in line] for each in (first, second)]
    assert json.dumps(logs[0]) == json.dumps(logs[1])
    assert len(logs[0]) == 2
