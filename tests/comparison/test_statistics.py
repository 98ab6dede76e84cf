"""Statistics of paired scores, as statistics: coverage, level and power on simulated data."""

import math

import numpy as np
import pytest
from scipy import stats

from clever_ext.comparison import statistics
from clever_ext.comparison.statistics import (
    detectable,
    holm,
    mean_intervals,
    median_interval,
    rank_agreement,
    resampled_means,
    signed_ranks,
)


def scores(random, n):
    """Paired scores as they are: positive, skewed, and of images that are easy for both."""
    image = random.gamma(2, 1, n)
    return image * random.gamma(8, 1 / 8, n), 1.3 * image * random.gamma(8, 1 / 8, n)


def test_resampled_means_are_those_of_resampled_pairs():
    a, b = scores(np.random.default_rng(0), 200)
    means = np.stack(resampled_means(a, b))
    assert means.shape == (2, statistics.RESAMPLES)
    # Standard deviations of means and their correlation, to 5 standard errors of 10,000 draws.
    np.testing.assert_allclose(
        means.std(axis=1), [a.std() / 200**0.5, b.std() / 200**0.5], rtol=0.04
    )
    assert np.corrcoef(means)[0, 1] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.04)


def test_the_size_of_a_chunk_changes_nothing(monkeypatch):
    a, b = scores(np.random.default_rng(0), 50)
    whole = mean_intervals(a, b, 0.95)
    monkeypatch.setattr(statistics, "_AT_ONCE", 2048)
    assert mean_intervals(a, b, 0.95) == whole


def test_intervals_are_those_of_scipy():
    a, b = scores(np.random.default_rng(1), 60)
    found = mean_intervals(a, b, 0.9)
    for name, statistic in (
        ("difference", lambda x, y, axis: x.mean(axis) - y.mean(axis)),
        ("ratio", lambda x, y, axis: x.mean(axis) / y.mean(axis)),
    ):
        theirs = stats.bootstrap(
            (a, b), statistic, paired=True, confidence_level=0.9, n_resamples=10_000,
            method="BCa", rng=np.random.default_rng(5),
        ).confidence_interval  # fmt: skip
        width = theirs.high - theirs.low
        # Two bootstraps of 10,000: end points have standard deviations of some 1 % of the width.
        np.testing.assert_allclose(found[name][1:], theirs, atol=0.05 * width)


def test_intervals_cover(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    random, n, trials = np.random.default_rng(2), 40, 300
    truth = {"mean_a": 2.0, "mean_b": 2.6, "difference": -0.6, "ratio": 1 / 1.3}
    covered = dict.fromkeys([*truth, "median"], 0)
    median = stats.gamma(2).median()
    for _ in range(trials):
        found = mean_intervals(*scores(random, n), 0.9)
        for name, value in truth.items():
            covered[name] += found[name][1] <= value <= found[name][2]
        low, high = median_interval(random.gamma(2, 1, n), 0.9)
        covered["median"] += low <= median <= high
    # 0.9 of 300 has a standard deviation of 5.2: three of them below, and BCa's own error of some
    # 2 % at n = 40. Nor may intervals be so wide that they always cover.
    for name, count in covered.items():
        assert 249 <= count <= 296, name


@pytest.mark.parametrize("n", [1, 2, 7, 24, 25])
def test_the_median_of_resamples_in_closed_form(n):
    values = np.sort(np.random.default_rng(3).normal(size=n))
    draws = np.random.default_rng(4).choice(values, size=(40_000, n))
    low, high = median_interval(values, 0.9)
    # The lower and the upper median of a resample; quantiles of a discrete law are its atoms.
    below = np.sort(draws, axis=1)[:, (n - 1) // 2]
    above = np.sort(draws, axis=1)[:, n // 2]
    places = [np.searchsorted(values, x) for x in (low, high)]
    drawn = [
        np.searchsorted(values, np.quantile(x, q, method="inverted_cdf"))
        for x, q in ((below, 0.05), (above, 0.95))
    ]
    np.testing.assert_allclose(places, drawn, atol=0)


def test_memory_is_bounded_and_many_images_are_quick(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    a, b = scores(np.random.default_rng(0), 50_000)
    low, high = mean_intervals(a, b, 0.95)["difference"][1:]
    assert low < a.mean() - b.mean() < high


def test_without_images_there_are_no_numbers():
    nothing = np.empty(0)
    assert all(math.isnan(x) for x in mean_intervals(nothing, nothing, 0.95)["ratio"])
    assert all(math.isnan(x) for x in median_interval(nothing, 0.95))
    assert math.isnan(detectable(np.ones(1), 0.05))
    assert signed_ranks(nothing) == (1.0, 0.0)


def test_signed_ranks():
    assert signed_ranks(np.zeros(9)) == (1.0, 0.0)
    p, correlation = signed_ranks(np.arange(1.0, 7.0))
    assert p == pytest.approx(2 * 2**-6)
    assert correlation == 1
    assert signed_ranks(np.array([1.0, -2.0, 3.0]))[1] == pytest.approx((1 - 2 + 3) / 6)
    # Ties at 0 do not make a finding of three images.
    assert signed_ranks(np.array([*[0.0] * 97, 1.0, 2.0, 3.0]))[0] > 0.05


@pytest.mark.parametrize("tied", [0.0, 0.6])
def test_the_test_holds_its_level(tied):
    random = np.random.default_rng(5)
    differences = random.laplace(size=(1000, 30)) * (random.random((1000, 30)) >= tied)
    rejected = np.mean([signed_ranks(row)[0] < 0.05 for row in differences])
    # 0.05 of 1,000 has a standard deviation of 0.007.
    assert 0.025 <= rejected <= 0.072


@pytest.mark.parametrize("law", ["norm", "laplace", "uniform", "t"])
def test_the_detectable_difference_is_detected(law):
    random, n = np.random.default_rng(6), 60
    draws = getattr(stats, law)(*([5] if law == "t" else []))
    noise = draws.rvs(size=(1000, n), random_state=random)
    noise = (noise - draws.mean()) / draws.std()
    shift = np.mean([detectable(row, 0.05) for row in noise])
    power = np.mean([signed_ranks(row + shift)[0] < 0.05 for row in noise])
    # At least the 80 % that are promised, less three standard deviations; heavy tails have more.
    assert power >= 0.76


def test_kendall():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_agreement(a, a) == 1
    assert rank_agreement(a, -a) == -1
    assert math.isnan(rank_agreement(a, np.ones(4)))


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    assert holm([]).tolist() == []


def test_holm_holds_the_level_of_the_family():
    random = np.random.default_rng(7)
    # Eight tests without an effect, two with: an error is any rejection among the eight.
    null, real = random.random((4000, 8)), random.random((4000, 2)) * 1e-4
    errors = [
        (holm([*true, *false])[2:] < 0.05).any() for false, true in zip(null, real, strict=True)
    ]
    assert np.mean(errors) <= 0.05 + 3 * 0.0035
