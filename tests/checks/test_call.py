"""`check`: findings on what `clever_score` would be given."""

import numpy as np
import pytest
import torch
from torch import nn

import clever_ext as cx
from clever_ext.checks import check

pytestmark = pytest.mark.usefixtures("one_thread")


class Sorted(nn.Module):
    """Its class is the number of the largest of ten pixels."""

    def forward(self, x):
        return 5 * x.flatten(1)[:, :10]


def pictures(n: int = 40, seed: int = 0):
    """Pictures whose classes `Sorted` knows, evenly."""
    x = torch.rand(n, 10, generator=torch.Generator().manual_seed(seed)) * 0.5
    labels = np.arange(n) % 10
    x[torch.arange(n), torch.from_numpy(labels)] += 0.5
    return x.view(n, 1, 2, 5), labels


FEW = {"n_batches": 2, "batch_samples": 4}


def topics(checked):
    return [each.topic for each in checked.concerns]


def test_nothing_to_say_of_a_sound_model():
    x, labels = pictures()
    told = check(Sorted().eval(), x, labels=labels, **FEW)
    assert told.well, str(told)
    assert told
    assert not told.refused
    assert "40 of 40 images that were looked at are classified right (100%)" in str(told)
    assert "✓ units" in str(told)


def test_no_labels_are_said():
    told = check(Sorted().eval(), pictures()[0], **FEW)
    assert topics(told) == ["labels"]


@pytest.mark.parametrize(
    ("shift", "reading"),
    [(1, "each class number is taken one lower"), (-1, "each class number is taken one higher")],
)
def test_labels_that_count_from_another_number(shift, reading):
    x, labels = pictures()
    keep = (labels + shift >= 0) & (labels + shift < 10)
    told = check(Sorted().eval(), x[torch.from_numpy(keep)], labels=(labels + shift)[keep], **FEW)
    assert topics(told) == ["labels"]
    assert f"36 if {reading}" in str(told)


def test_labels_that_are_guesses():
    x, labels = pictures()
    told = check(Sorted().eval(), x, labels=np.random.default_rng(0).permutation(labels), **FEW)
    assert topics(told) == ["labels"]
    assert "no better than guessing among 10 classes" in str(told)


def test_a_weak_model_is_not_called_a_guesser():
    x, labels = pictures()
    wrong = np.where(np.arange(40) % 2, labels, (labels + 3) % 10)
    told = check(Sorted().eval(), x, labels=wrong, **FEW)
    assert told.well, str(told)


def test_few_labels_say_nothing():
    x, labels = pictures(5)
    told = check(Sorted().eval(), x, labels=(labels + 1) % 10, **FEW)
    assert told.well
    assert "0 of 5 images that were looked at are classified right (0%): too few to tell" in str(
        told
    )


def test_one_class_for_all():
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 3)).eval()
    with torch.no_grad():
        model[1].bias += torch.tensor([100.0, 0, 0])
    told = check(model, pictures()[0], labels=np.zeros(40, dtype=int), **FEW)
    assert "all 40 images that were tried are predicted as class 0" in str(told)


@pytest.mark.parametrize(
    ("arguments", "topic", "said"),
    [
        ({"norm": 0.5}, "cost", "0.5"),
        ({"images": torch.full((2, 3), torch.nan)}, "pictures", "NaN"),
        ({"model": Sorted()}, "model", "training mode"),
        ({"model": 3}, "model", "cannot be called"),
        ({"labels": [1, 2]}, "pictures", "labels"),
        ({"targets": "most"}, "model", "'most' is unknown"),
    ],
)
def test_refusals_are_findings(arguments, topic, said):
    given = {"model": Sorted().eval(), "images": pictures()[0], **arguments}
    told = check(**given, **FEW)
    assert told.refused
    assert [each.topic for each in told.findings] == [topic]
    assert said in str(told)
    assert "✗" in str(told)


def test_it_is_public():
    assert cx.check is check
