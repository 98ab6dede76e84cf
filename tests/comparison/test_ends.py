"""Brackets compared from both sides: what each end says, and what both together allow."""

import csv
import json
import math

import numpy as np
import pytest
from published import lenet_adversarial, lenet_clean, mnist
from scored_runs import EASE, HIGH, LOW, SAME, bracketed, flagged, only, run, searched

import clever_ext as cx
from clever_ext.cli import main
from clever_ext.comparison import statistics
from clever_ext.comparison.compare import _of_lengths
from clever_ext.comparison.verdict import judge
from clever_ext.comparison.words import sections

# Upper ends stand above lower ends; the two ends of an image need not move together.
LOOSE = np.random.default_rng(3).uniform(1.2, 1.5, (3, 60))
LOW_UP, SAME_UP, HIGH_UP = LOW * LOOSE[0], SAME * LOOSE[1], HIGH * LOOSE[2]
LIKE_HIGH = HIGH * LOOSE[1]  # above LOW and HIGH alike, and no different from HIGH_UP


def compared(a, b, **columns):
    """The row of two brackets, (lower, upper) each; columns are those of the second."""
    return only(cx.compare(bracketed(*a, "a"), bracketed(*b, "b", **columns)))


# --- the rule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upper", "b", "verdict", "winner"),
    [
        (LOW_UP, (HIGH, HIGH_UP), "more robust from both sides", "b"),
        (LOW_UP, (SAME, HIGH_UP), "more robust by the attack alone", "b"),
        (LIKE_HIGH, (HIGH, HIGH_UP), "more robust by the estimate alone", "b"),
        (LOW_UP, (SAME, SAME_UP), "no difference found", ""),
    ],
)
def test_the_verdict_says_which_ends_it_rests_on(upper, b, verdict, winner):
    row = compared((LOW, upper), b)
    assert (row["verdict"], row["more_robust"]) == (verdict, winner)
    assert row["cautions"] == []
    alone = "alone" in verdict
    assert len(row["reasons"]) == alone
    if alone:
        other = "Lower" if "attack" in verdict else "Upper"
        assert row["reasons"][0].startswith(f"{other} ends: ")


def test_ends_that_contradict_each_other_cannot_tell_and_say_so():
    row = compared((LOW, LOW * 3), (HIGH, HIGH * 1.2))
    assert row["difference_high"] < 0 < row["upper_difference_low"]
    assert (row["verdict"], row["more_robust"]) == ("cannot tell", "")
    assert row["reasons"] == [
        "The two ends contradict each other: the lower ends, the estimate, speak for b, the upper "
        "ends, the nearest flips found, for a."
    ]


def test_one_end_alone_is_no_claim_where_the_other_leans_the_other_way():
    upper = LIKE_HIGH.copy()
    upper[:5] *= 8  # a few far flips of a: its mean is higher, its ranks are not
    row = compared((LOW, upper), (HIGH, HIGH_UP))
    assert row["upper_difference_low"] > 0
    assert row["upper_p_holm"] > 0.05
    assert row["verdict"] == "cannot tell"
    assert "contradict" in row["reasons"][0]


def test_a_masked_model_loses_by_the_attack():
    """Gradients that hide what the network does make lower ends that nobody believes."""
    lost = only(
        cx.compare(bracketed(HIGH, HIGH * 1.01, "a", flags=flagged(1, "plateau")),
                   bracketed(LOW, HIGH * 1.4, "b"))
    )  # fmt: skip
    assert lost["verdict"] == "more robust by the attack alone"
    assert lost["more_robust"] == "b"
    assert "masking" in lost["reasons"][0]


def test_reasons_of_both_ends_are_told_apart_and_common_ones_once():
    few = compared((LOW[:5], LOW_UP[:5]), (HIGH[:5], HIGH_UP[:5]))
    assert few["verdict"] == "cannot tell"
    assert few["reasons"] == [
        "Lower ends: Both are right on 5 images: 6 are the fewest that can tell.",
        "Upper ends: Both are right, with a flip of each, on 5 images: 6 are the fewest that can "
        "tell.",
    ]
    fewer = {"settings": {"max_gradients": 50}}
    row = only(cx.compare(bracketed(LOW, LOW_UP, "a"), bracketed(HIGH, HIGH_UP, "b", **fewer)))
    assert row["verdict"] == "cannot tell"
    assert row["reasons"] == [
        "b was scored with 50 gradients a row and a with 100: fewer see less, and leave both ends "
        "higher."
    ]


def test_power_is_told_of_both_ends():
    noisy = EASE[:12] * np.exp(np.random.default_rng(1).normal(size=(2, 12)))
    row = compared((noisy[0], noisy[0] * 1.3), (noisy[1], noisy[1] * 1.3))
    assert row["verdict"] == "cannot tell"
    lower, upper = row["reasons"]
    assert f"{row['detectable']:.3g} or more, which is above 25% of the mean lower end" in lower
    assert f"{row['upper_detectable']:.3g} or more, which is above 25% of the mean upper" in upper
    assert row["upper_detectable"] == pytest.approx(1.3 * row["detectable"])


# --- the numbers -------------------------------------------------------------------------------


def test_upper_ends_get_the_statistics_of_scores():
    """What `upper_` names is what a comparison of these numbers as scores would find."""
    row = compared((LOW, LOW_UP), (HIGH, HIGH_UP))
    as_scores = only(cx.compare(run(LOW_UP, "a"), run(HIGH_UP, "b")))
    names = [name.removeprefix("upper_") for name in row.index if name.startswith("upper_")]
    assert {"difference", "ratio", "median_a", "kendall_tau", "all_difference_low"} <= set(names)
    # Two ends are two tests of one family: what can be detected, and Holm's p, know of it.
    for name in set(names) - {"n", "detectable", "p_holm"}:
        assert row[f"upper_{name}"] == as_scores[name], name
    assert row["upper_detectable"] > as_scores["detectable"]
    assert row["upper_p_holm"] >= as_scores["p_holm"]


def test_both_ends_together_hold_the_level(monkeypatch):
    """Of models that do not differ, at most a share alpha gets a claim by any end."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    random, right, claims, trials = np.random.default_rng(8), np.ones(25, dtype=bool), 0, 100
    for _ in range(trials):
        lower = random.gamma(4, 0.1, 25) * random.uniform(0.8, 1.2, (2, 25))
        upper = lower * random.uniform(1.1, 1.6, (2, 25))
        both = [_of_lengths(each, right, 0.95, 0.025) for each in (lower, upper)]
        p = statistics.holm([each["p_value"] for each in both])
        row = {"a": "a", "b": "b", "n_both_right": 25, **both[0], "p_holm": p[0], "upper_n": 25}
        row |= {f"upper_{name}": value for name, value in both[1].items()} | {"upper_p_holm": p[1]}
        claims += judge(row, [], 0.05).more_robust != ""
    assert claims <= 0.05 * trials + 3 * math.sqrt(trials * 0.05 * 0.95)


def test_the_nearest_flip_of_all_targets_is_the_upper_end():
    a, b = (bracketed(x, 2 * x, n) for x, n in ((LOW, "a"), (SAME, "b")))
    other = a.table.assign(target=2, score=LOW * 1.1, nearest_flip=LOW * 1.2)
    both = cx.CleverResult.concatenate([a, cx.CleverResult(other, a.metadata)])
    row = only(cx.compare(both, b))
    assert row["mean_a"] == pytest.approx(LOW.mean())
    assert row["upper_mean_a"] == pytest.approx(1.2 * LOW.mean())
    np.testing.assert_allclose(both.flips[2], 1.2 * LOW)


def test_misclassified_images_have_both_ends_at_0():
    predicted = np.arange(60) % 2
    predicted[:12] = 1 - predicted[:12]
    status = np.where(np.arange(60) < 12, "misclassified", "ok").astype(object)
    flips = np.where(np.arange(60) < 12, np.nan, HIGH_UP)
    b = bracketed(HIGH, flips, "b", predicted=predicted, status=status)
    assert (b.flips[2][:12] == 0).all()
    row = only(cx.compare(bracketed(LOW, LOW_UP, "a"), b))
    assert row[["n_both_right", "upper_n"]].tolist() == [48, 48]
    assert row["upper_mean_b"] == pytest.approx(HIGH_UP[12:].mean())
    in_all = np.where(np.arange(60) < 12, 0, HIGH_UP)
    assert row["upper_all_difference"] == pytest.approx((LOW_UP - in_all).mean())


# --- ends that are not known -------------------------------------------------------------------


def without(upper, share):
    return np.where(np.arange(60) < share * 60, np.inf, upper)


def test_images_without_a_flip_are_left_out_of_the_upper_ends():
    row = compared((LOW, LOW_UP), (HIGH, without(HIGH_UP, 0.05)))
    assert row["upper_n"] == 57
    assert row["upper_mean_a"] == pytest.approx(LOW_UP[3:].mean())
    assert row["verdict"] == "more robust from both sides"
    assert row["cautions"] == [
        "b: no flip was found on 5% of the images. They are left out of the upper ends, and may be "
        "its most robust ones."
    ]


def test_what_is_left_out_stands_against_the_other_model():
    # b has no flip on a fifth of the images, which may be those where it is best.
    won = compared((LOW, LOW_UP), (HIGH, without(HIGH_UP, 0.2)))
    assert won["verdict"] == "more robust from both sides"
    lost = compared((HIGH, HIGH_UP), (LOW, without(LOW_UP, 0.2)))
    assert lost["verdict"] == "more robust by the estimate alone"
    assert "no flip was found on 20%" in lost["reasons"][0]


def test_where_most_flips_are_missing_the_upper_ends_cannot_tell():
    row = compared((LOW, LOW_UP), (HIGH, without(HIGH_UP, 0.6)))
    assert row["verdict"] == "more robust by the estimate alone"
    assert "Too few have an upper end" in row["reasons"][0]
    none = compared((LOW, LOW_UP), (HIGH, without(HIGH_UP, 1)))
    assert none["upper_n"] == 0
    assert math.isnan(none["upper_mean_a"])
    assert "on 0 images" in none["reasons"][0]


def test_where_no_slope_was_found_the_lower_ends_are_not_deserved():
    """Such rows hold the default radius; the nearest flips are flips all the same."""
    capped = np.arange(60) < 12
    row = compared((LOW, LOW_UP), (HIGH, HIGH_UP), capped=capped)
    assert row["verdict"] == "more robust by the attack alone"
    assert "b: on 20% of the images no slope was found" in row["reasons"][0]
    assert "radius is too small" not in str(row["cautions"])


@pytest.mark.parametrize(("side", "verdict"), [(9, "from both sides"), (16, "cannot tell")])
def test_larger_pictures_make_both_ends_longer(side, verdict):
    larger = {"settings": {"shape": [1, side, side]}}
    row = only(cx.compare(bracketed(LOW, LOW_UP, "a"), bracketed(HIGH, HIGH_UP, "b", **larger)))
    assert row["verdict"].endswith(verdict)
    ends = [text for text in row["cautions"] if "times as large" in text]
    assert len(ends) == (1 if side == 9 else 2)  # told once where it is the same of both ends


def test_a_bracket_is_not_compared_with_the_search_of_one_ball():
    with pytest.raises(cx.CleverError, match=r"radius of norm 2 is 'auto' in a and 4\.0 in b"):
        cx.compare(bracketed(LOW, LOW_UP, "a"), searched(HIGH, "b"))


# --- how it is shown ---------------------------------------------------------------------------


def test_words_tell_both_ends():
    found = cx.compare(bracketed(LOW, LOW_UP, "a"), bracketed(SAME, HIGH_UP, "b"))
    first, lower, upper, models, *rest = sections(found)
    assert first.lines[0].startswith(
        "p = 2, steepest: b is more robust than a, by the attack alone (mean lower ends "
    )
    assert "; mean upper ends " in first.lines[0]
    assert first.lines[0].endswith("Lower ends: no difference found.")
    assert [lower.title[-10:], upper.title[-10:]] == ["lower ends", "upper ends"]
    row = only(found)
    assert lower.rows[0][1].startswith(f"{row['mean_a']:.3g} (")
    assert upper.rows[0] == ["images", "60"]
    assert upper.rows[1][1].startswith(f"{row['upper_mean_a']:.3g} (")
    assert list(models.head[-2:]) == ["upper mean", "no flip"]
    assert [part.title.rsplit(", ", 1)[1] for part in rest[:2]] == [
        "lower ends: by class", "upper ends: by class"
    ]  # fmt: skip
    assert rest[2].head[3:] == ["A, lower", "B, lower", "A, upper", "B, upper"]
    same = cx.compare(bracketed(LOW, LOW_UP, "a"), bracketed(SAME, SAME_UP, "b"))
    assert "no difference found between a and b (mean lower ends" in sections(same)[0].lines[0]


def test_other_estimators_have_no_columns_of_ends():
    found = cx.compare(run(LOW, "a"), run(HIGH, "b"))
    for table in (found.pairs, found.models, found.by_class, found.moved):
        assert not [name for name in table if "upper" in name or name == "no_flip"]
    mixed = cx.compare(
        run(LOW, "a"), bracketed(LOW, LOW_UP, "a"), run(HIGH, "b"), bracketed(HIGH, HIGH_UP, "b")
    )
    assert mixed.pairs["verdict"].tolist() == ["more robust", "more robust from both sides"]
    assert [s.title for s in sections(mixed)][1:4] == [
        "a (A) against b (B), clever",
        "a (A) against b (B), steepest, lower ends",
        "a (A) against b (B), steepest, upper ends",
    ]
    json.dumps(mixed.to_dict(), allow_nan=False)


def test_the_command_tells_both_ends_in_every_form(tmp_path, capsys, monkeypatch):
    upper = without(HIGH_UP, 0.05)
    for name, (lower, flips) in {"weak": (LOW, LOW_UP), "strong": (HIGH, upper)}.items():
        bracketed(lower, flips, f"a-network-with-a-long-name:{name}").save(
            tmp_path / f"{name}.parquet"
        )
    files = [str(tmp_path / f"{name}.parquet") for name in ("weak", "strong")]
    for width in (80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["compare", *files]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= width
        words = " ".join(out.split())
        assert "is more robust than a-network-with-a-long-name:weak, from both sides" in words
        assert "steepest, upper ends" in words
    assert main(["compare", *files, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"][0]["verdict"] == "more robust from both sides"
    assert found["pairs"][0]["upper_n"] == 57
    assert found["models"][1]["no_flip"] == 0.05
    assert main(["compare", *files, "--format", "csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(row["upper_mean_a"]) > float(row["mean_a"])


@pytest.fixture(scope="module")
def real():
    """Brackets of a LeNet before and after adversarial training."""
    images, labels = (each[:10] for each in mnist())
    return [
        cx.clever_score(
            build(), images, norm=[2, math.inf], radius="auto", estimator="steepest",
            targets="top2", labels=labels, clip=(0, 1), model_name=build.__name__, prepare="none",
            device_batch=128,
        )
        for build in (lenet_clean, lenet_adversarial)
    ]  # fmt: skip


def test_two_real_networks_from_both_sides(real):
    found = cx.compare(*real).pairs.set_index("norm")
    # Trained against l-inf attacks, it gains there by estimate and attack alike.
    assert found.loc[math.inf, "verdict"] == "more robust from both sides"
    assert found.loc[math.inf, "more_robust"] == "lenet_adversarial"
    # In l2 it does not: attacks of thousands of gradients find flips as near as those of the other.
    assert found.loc[2.0, "more_robust"] == ""
    assert (found["upper_mean_a"] > found["mean_a"]).all()
    assert (found["upper_n"] == found["n_both_right"]).all()
