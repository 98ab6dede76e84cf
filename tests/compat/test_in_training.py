"""A model that is trained is scored, and left as it was found."""

import warnings

import pytest
import torch
from small_training import FEW, by_two, digits, modes, network, same, state
from torch import nn

import clever_ext as cx
from clever_ext.compat import in_training
from clever_ext.compat.in_training import Pictures, evaluating, score

IMAGES, LABELS = digits()


def test_modes_are_put_back_one_by_one():
    model = network()
    before = modes(model)
    assert True in before
    assert False in before
    with evaluating(model):
        assert not any(modes(model))
    assert modes(model) == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert modes(model) == before


def test_code_of_the_models_own_is_not_run():
    class Merging(nn.Linear):
        def train(self, *_):
            raise AssertionError

    model = Merging(4, 3)
    with evaluating(model):
        assert not model.training
    assert model.training


@pytest.mark.parametrize(
    "inside",
    [
        torch.no_grad,
        torch.inference_mode,
        torch.enable_grad,
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
)
def test_nothing_is_changed_by_a_score(inside):
    model = network()
    model(IMAGES).square().sum().backward()
    before = state(model)
    with inside(), warnings.catch_warnings():
        warnings.simplefilter("ignore", cx.CleverWarning)  # autocast is left, and that is said
        found = score(model, IMAGES[:3], LABELS[:3], **FEW)
    assert same(state(model), before)
    expected = cx.clever_score(model.eval(), IMAGES[:3], labels=LABELS[:3], **FEW)
    assert found.scores[2].tolist() == expected.scores[2].tolist()


def test_a_wrapper_for_several_gpus_is_left_out(monkeypatch):
    seen = []
    real = in_training.clever_score
    monkeypatch.setattr(
        in_training,
        "clever_score",
        lambda model, *a, **k: seen.append(model) or real(model, *a, **k),
    )
    model = network()
    score(nn.DataParallel(model), IMAGES[:2], None, **FEW)
    assert seen == [model]


def test_ctrl_c_ends_the_training_too():
    def pressed(done, _):
        if done:
            raise KeyboardInterrupt

    model = network()
    before = modes(model)
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted"):
        score(model, IMAGES[:4], None, targets="all", progress=pressed)
    assert modes(model) == before


def test_all_is_checked_before_the_training():
    model = network()
    model[1].running_mean.add_(1)
    before, passes = state(model), []
    model.register_forward_hook(lambda *_: passes.append(1))
    Pictures(IMAGES, LABELS, 1, "at", {"radius": 1.0, "estimator": "clever"}).check(model)
    assert same(state(model), before)
    assert len(passes) < 100  # of the 2,000 that the first picture alone takes
    for settings, said in (
        ({"norm": 0.5}, "norm"),
        ({"targets": 10}, "10"),
        ({"clip": (0.5, 1)}, "outside clip"),
        ({"candidates": IMAGES}, "candidates"),
    ):
        with pytest.raises(cx.CleverError, match=said):
            Pictures(IMAGES, LABELS, 1, "at", settings).check(model)
    with pytest.raises(cx.CleverError, match="labels"):
        Pictures(IMAGES, LABELS[:3], 1, "at", FEW).check(model)
    with pytest.raises(TypeError, match="nrom"):
        Pictures(IMAGES, LABELS, 1, "at", {"nrom": 2})
    with pytest.raises(cx.CleverError, match="every_n_epochs=0"):
        Pictures(IMAGES, LABELS, 0, "at", {})


def test_epochs_that_are_due():
    pictures = Pictures(IMAGES, None, 3, "at", {})
    assert [epoch for epoch in range(1, 10) if pictures.due(epoch)] == [3, 6, 9]


def test_numbers_are_those_of_the_summary():
    model = network()
    found = Pictures(IMAGES[:3], LABELS[:3], 1, "at", FEW).numbers(model)
    told = score(model, IMAGES[:3], LABELS[:3], **FEW).summary()
    assert found == {f"at/{name}": value for name, value in told.items()}
    assert "at/l2/score_mean" in found


def test_a_training_goes_on_where_a_model_can_no_longer_be_scored():
    broken = nn.Sequential(nn.Flatten(), nn.Linear(196, 1))
    with pytest.warns(cx.CleverWarning, match="no scores of this epoch: the model has one logit"):
        assert Pictures(IMAGES[:3], None, 1, "at", FEW).numbers(broken) == {}


def test_two_processes_get_the_numbers_of_the_first(tmp_path):
    first, second = by_two(tmp_path, "plain")
    assert first["numbers"] == second["numbers"]
    told = score(network(), IMAGES[:3], LABELS[:3], **FEW).summary()
    assert first["numbers"] == {f"at/{name}": value for name, value in told.items()}
    assert (first["calls"], second["calls"]) == (["Sequential"] * 2, [])
    for each in (first, second):
        assert "77" in each["check"]
        none, [said] = each["later"]
        assert none == {}
        assert "no scores of this epoch" in said
        assert "spread over several processes" in each["sharded"]
