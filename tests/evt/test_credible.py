"""Predictions of the paper's number: coverage under known laws, and maxima without a law."""

import numpy as np
import pytest

import clever_ext as cx
from clever_ext.evt.credible import predict_location, predicted_fit


def law(shape, size, rng, samples=1):
    """Maxima of so many samples; a negative shape is a Frechet law, which has no end."""
    drawn = rng.exponential(size=size) / samples
    return 10 - drawn ** (1 / shape) if shape > 0 else 10 + drawn ** (1 / shape)


@pytest.mark.parametrize("shape", [3.0, 6.0, 12.0, 30.0])
@pytest.mark.parametrize("n", [8, 24, 100])
def test_intervals_hold_the_papers_number(shape, n):
    rng = np.random.default_rng(n)
    target = cx.fit_reverse_weibull(law(shape, (200, 500), rng, samples=4)).location
    found = predict_location(law(shape, (200, n), rng), batch_samples=256)
    assert ((found.low <= target) & (target <= found.high)).mean() >= 0.86


def test_coverage_is_the_confidence_on_average_over_the_prior():
    rng = np.random.default_rng(0)
    size = np.abs(rng.normal(size=200))
    usual = -0.08 + np.where(rng.random(200) < 0.68, -0.17, 0.08) * size
    index = np.where(rng.random(200) < 0.1, 0.2 + 0.2 * rng.normal(size=200), usual)
    index = index[(np.abs(index) > 0.01) & (index > -0.8) & (index < 0.6)]
    maxima = np.stack([law(-1 / xi, 16, rng) for xi in index])
    target = cx.fit_reverse_weibull([law(-1 / xi, 500, rng) for xi in index]).location
    for confidence, least, most in [(0.95, 0.91, 0.99), (0.6, 0.52, 0.72)]:
        found = predict_location(maxima, 1024, confidence)
        assert least <= ((found.low <= target) & (target <= found.high)).mean() <= most


@pytest.mark.parametrize("shape", [4.0, 8.0, 20.0])
def test_coverage_after_stopping_where_the_interval_is_narrow(shape):
    rng = np.random.default_rng(int(shape))
    n_rows = 200
    target = cx.fit_reverse_weibull(law(shape, (n_rows, 500), rng)).location
    maxima = law(shape, (n_rows, 192), rng)
    active, held, stops = np.arange(n_rows), np.zeros(n_rows, dtype=bool), np.zeros(n_rows)
    for n in (8, 12, 18, 27, 40, 60, 91, 136, 192):
        found = predict_location(maxima[active, :n], 1024)
        held[active] = (found.low <= target[active]) & (target[active] <= found.high)
        stops[active] = n
        active = active[found.high - found.low > 0.08 * found.location]
    assert len(np.unique(stops)) >= 3
    assert held.mean() >= 0.9


def test_a_law_without_an_end_gets_an_interval_that_holds_the_number():
    rng = np.random.default_rng(3)
    target = cx.fit_reverse_weibull(law(-6.0, (200, 500), rng)).location
    found = predict_location(law(-6.0, (200, 40), rng), 1024)
    assert ((found.low <= target) & (target <= found.high)).mean() >= 0.75
    usual = predict_location(law(8.0, (200, 40), rng), 1024)
    assert np.median(found.high - found.low) > 2 * np.median(usual.high - usual.low)


def test_shift_scale_and_company_change_nothing():
    maxima = law(7.0, (6, 30), np.random.default_rng(1))
    found, moved = predict_location(maxima, 512), predict_location(3 * maxima + 7, 512)
    np.testing.assert_allclose(moved.location, 3 * found.location + 7, rtol=1e-6)
    alone = predict_location(maxima[2:3], 512)
    for name in ("location", "low", "high"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(found, name)[2:3])


def test_nothing_lies_below_the_largest_maximum():
    maxima = law(5.0, (50, 500), np.random.default_rng(2))
    found = predict_location(maxima, 1024)
    assert (found.low >= maxima.max(axis=1)).all()
    assert (found.low <= found.location).all()
    assert (found.location <= found.high).all()


def test_small_batches_are_joined():
    maxima = law(6.0, (3, 96), np.random.default_rng(4))
    joined = maxima.reshape(3, 12, 8).max(axis=2)
    small, large = predict_location(maxima, 128), predict_location(joined, 1024)
    np.testing.assert_array_equal(small.high, large.high)


def test_where_norms_take_few_values_the_largest_stands_in():
    rng = np.random.default_rng(5)
    maxima = rng.choice([1.0, 1.1, 1.2], size=(4, 24))
    fit = predicted_fit(maxima, 1024, 0.95)
    assert (fit.status == "max-fallback").all()
    np.testing.assert_array_equal(fit.location, maxima.max(axis=1))
    np.testing.assert_array_equal(fit.ci_low, fit.location)
    assert (fit.ci_high > fit.location).all()


def test_equal_and_broken_maxima():
    maxima = law(6.0, (4, 25), np.random.default_rng(6))
    maxima[0], maxima[1, 24], maxima[2, 0] = 2.5, np.nan, np.inf
    fit = predicted_fit(maxima, 128, 0.95)
    assert fit.status.tolist() == ["degenerate", "non-finite", "non-finite", "ok"]
    assert fit.location[0] == fit.ci_low[0] == fit.ci_high[0] == 2.5
    assert np.isnan(fit.location[1:3]).all()
    assert np.isnan(fit.ci_high[1:3]).all()


def test_no_rows():
    assert predict_location(np.empty((0, 12)), 1024).location.shape == (0,)
