"""Scores against a truth, the words made of them, and their picture."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from clever_ext.validation.figures import against
from clever_ext.validation.validation import SCORES, Validation

RANDOM = np.random.default_rng(0)


def test_figures_of_scores_against_any_truth():
    truth = RANDOM.uniform(1, 2, 50)
    scores = truth * RANDOM.uniform(0.5, 1.2, 50)
    found = against(scores, truth)
    assert found.n == 50
    assert found.above == (scores > truth).sum()
    assert found.near == (abs(scores / truth - 1) <= 0.05).sum()
    assert found.ratio == np.median(scores / truth)
    assert (found.low, found.high) == ((scores / truth).min(), (scores / truth).max())
    assert found.spearman == pytest.approx(spearmanr(scores, truth).statistic)


def test_what_is_not_known_is_left_out():
    scores = [1.0, math.nan, 2.0, 3.0, math.inf, 1.0]
    truth = [2.0, 1.0, math.inf, 0.0, 4.0, math.nan]
    found = against(scores, truth)
    assert (found.n, found.above, found.low, found.high) == (2, 1, 0.5, math.inf)
    assert math.isnan(found.spearman)
    nothing = against([math.nan], [1.0])
    assert (nothing.n, nothing.above) == (0, 0)
    assert math.isnan(nothing.ratio)
    assert math.isnan(against([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).spearman)  # no order
    assert math.isnan(against([], []).ratio)


def test_rounding_is_not_above():
    found = against([1 + 1e-4, 1 + 2e-3], [1.0, 1.0])
    assert (found.above, found.near) == (1, 2)


def made(n=20, masked=0, **columns):
    nearest = np.linspace(1, 2, n)
    rows = {
        "image_id": np.arange(n),
        "norm": np.full(n, 2.0),
        "status": ["ok"] * n,
        "flags": [""] * n,
        "attacked": np.full(n, True),
        "first_order": nearest * 1.3,
        "lower": nearest * 0.7,
        "clever": nearest * np.where(np.arange(n) < 3, 1.1, 0.9),
        "upper": nearest,
        "FMN": nearest * 1.02,
        "boundary": nearest * np.where(np.arange(n) < masked, 0.8, 1.5),
    } | columns
    table = pd.DataFrame(rows)
    table["nearest"] = table[["upper", "FMN", "boundary"]].min(axis=1)
    for column in ("first_order", "lower", "clever"):
        table[f"{column}_gradients"] = 100
    ran = {"norm": [2.0, 2.0], "attack": ["FMN", "boundary"], "by_gradients": [True, False]}
    return Validation(table, pd.DataFrame(ran))


def test_words_say_what_the_figures_say():
    said = made().words()
    assert "p = 2: never above a known flip: lower end of the bracket." in said
    [above] = [each for each in said if "too high" in each]
    assert "first order on 20 of 20 (up to 1.30 times) and the paper's on 3 of 20" in above
    whole = " ".join(said)
    assert "within 5 % of the nearest on 20 of 20: its upper end can be believed" in whole
    assert "which sees answers alone, came nearer on no row, and ends 1.50 times" in whole
    assert not any("flag" in each or "Left out" in each for each in said)


def test_words_of_masked_gradients_and_flags():
    found = made(masked=6, flags=["plateau"] * 2 + [""] * 18)
    said = " ".join(found.words())
    assert "on 6 of 20 rows boundary, which sees answers alone, came nearer" in said
    assert "gradients are masked" in said
    assert "within 5 % of the nearest on 14 of 20: gradients are hidden" in said
    assert "2 of 20 rows have a flag of gradient masking" in said


def test_words_where_more_gradients_or_attacks_may_help():
    few = " ".join(made(FMN=np.linspace(1, 2, 20) * 0.8).words())
    assert "within 5 % of the nearest on 0 of 20: give the bracket more gradients" in few
    far = " ".join(made(boundary=np.linspace(1, 2, 20) * 9).words())
    assert "too weak to tell whether gradients are masked" in far
    found = made()
    alone = Validation(found.rows, found.attacks.iloc[:0])
    assert "no attack of this norm has run" in " ".join(alone.words())


def test_weak_attacks_confirm_nothing():
    weak = made(FMN=np.linspace(1, 2, 20) * 1.2)
    said = " ".join(weak.words())
    assert "attacks came as near on 0 alone and confirm little: give them more gradients" in said


def test_words_of_few_pictures_and_of_none_with_a_flip():
    said = " ".join(made(9).words())
    assert "too few pictures with a flip (9)" in said
    assert "never above" not in said
    infinite = np.full(12, math.inf)
    blind = made(12, upper=infinite, FMN=infinite, boundary=infinite)
    assert "no flip is known of 12 of 12 pictures" in " ".join(blind.words())
    assert blind.table["pictures"].eq(0).all()
    assert len(blind.figures()[1]) == 4


def test_a_picture_and_what_notebooks_show():
    found = made()
    ax = found.plot()
    assert len(ax.get_lines()) == len(SCORES) + 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(SCORES.values())
    assert "p = 2" in ax.get_xlabel()
    assert "<table>" in found._repr_html_()
    assert "upper end of the bracket" in repr(found)
