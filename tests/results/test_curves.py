"""The numbers behind the pictures, against laws and samples that are known."""

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scored_runs import HIGH, LOW, bracketed, searched

import clever_ext as cx
from clever_ext.results import curves
from clever_ext.results.curves import Law
from clever_ext.results.result import make_table


def row_of(maxima, **columns):
    fit = cx.fit_reverse_weibull(maxima)
    given = {
        "image_id": 0, "maxima": maxima, "lipschitz": float(fit.location), "margin": 1.0,
        "scale": float(fit.scale), "shape": float(fit.shape), "status": str(fit.status),
        "estimator": "clever", "radius": 5.0, "score": 1 / float(fit.location),
        "score_low": 1 / float(fit.ci_high), "score_high": 1 / float(fit.ci_low),
    } | columns  # fmt: skip
    return make_table({name: [value] for name, value in given.items()}).iloc[0]


@pytest.fixture
def maxima():
    return 10 - np.random.default_rng(0).weibull(3.0, size=200)


def test_the_density_is_one(maxima):
    law = curves.law(row_of(maxima))
    line = curves.density(law, maxima, 2000)
    assert np.trapezoid(line.y, line.x) == pytest.approx(1, abs=5e-3)
    assert line.x[0] <= maxima.min()
    assert line.x[-1] < law.location


def test_quantiles_are_those_of_the_law():
    law = Law(location=10.0, scale=2.0, shape=3.0)
    n = 5000
    drawn = law.location - law.scale * np.random.default_rng(0).weibull(law.shape, size=n)
    points = curves.quantiles(law, drawn)
    assert len(points.x) == n
    inner = slice(n // 20, -n // 20)
    np.testing.assert_allclose(points.x[inner], points.y[inner], atol=0.06)
    # And of the i-th stands the law's probability (i - 1/2) / n.
    below = np.exp(-(((law.location - points.x) / law.scale) ** law.shape))
    np.testing.assert_allclose(below, (np.arange(n) + 0.5) / n)
    few = curves.quantiles(law, drawn, 60)
    assert len(few.x) == 60
    assert (few.y[0], few.y[-1]) == (drawn.min(), drawn.max())


def test_an_adaptive_row_shows_the_law_of_its_own_maxima(maxima):
    fit = cx.fit_reverse_weibull(maxima)
    predicted = row_of(maxima, estimator="clever-adaptive", lipschitz=20.0)
    assert curves.law(predicted) == (float(fit.location), float(fit.scale), float(fit.shape))


@pytest.mark.parametrize("status", ["degenerate", "max-fallback", "non-finite", "misclassified"])
def test_no_law_where_none_was_used(maxima, status):
    assert curves.law(row_of(maxima, status=status)) is None


def test_the_interval_of_the_end_point_is_that_of_the_fit(maxima):
    fit = cx.fit_reverse_weibull(maxima)
    found = curves.location_interval(row_of(maxima))
    assert found == pytest.approx((float(fit.ci_low), float(fit.ci_high)))
    # Where the score is R, no more is known than that the end point is not below a maximum.
    capped = row_of(maxima, radius=0.01, score_low=0.01, score_high=0.01)
    low, high = curves.location_interval(capped)
    assert low == maxima.max()
    assert math.isnan(high)
    assert all(map(math.isnan, curves.location_interval(row_of(maxima, margin=0.0))))


@pytest.mark.parametrize(
    "values", [[1.0, np.nextafter(1.0, 2)], [3.0, 3.0], [0.0, 0.0], [1e-300, 0]]
)
def test_a_histogram_of_nearly_equal_numbers(values):
    counts, edges = curves.histogram(values)
    assert counts.sum() == 2
    assert (np.diff(edges) > 0).all()


def test_the_share_above_is_counted():
    scores = np.round(np.random.default_rng(0).gamma(2.0, size=300), 1)
    scores[:30] = 0.0
    scores[30:33] = np.nan
    curve = curves.share_above(scores)
    known = scores[~np.isnan(scores)]
    for eps, share in zip(*curve, strict=True):
        assert share == pytest.approx(np.mean(known > eps))
    assert curve.x[0] == 0
    assert curve.y[0] == np.mean(known > 0)
    few = curves.share_above(scores, 10)
    assert len(few.x) == 10
    assert (few.x[0], few.y[-1]) == (0, 0)
    assert len(curves.share_above([math.nan]).x) == 0


def test_the_band_is_counted():
    random = np.random.default_rng(0)
    lower = np.round(random.gamma(2.0, size=200), 1)
    upper = np.round(lower * random.uniform(1, 2, 200), 1)
    upper[:20], lower[20:23], upper[20:23] = np.inf, np.nan, np.nan
    band = curves.band_above(lower, upper)
    known = ~np.isnan(lower)
    for eps, low, high in zip(*band, strict=True):
        assert low == pytest.approx(np.mean(lower[known] > eps))
        assert high == pytest.approx(np.mean(upper[known] > eps))
    assert (band.low <= band.high).all()
    assert band.x[0] == 0
    assert band.high[-1] == pytest.approx(20 / known.sum())  # no flip is known of these
    assert np.isfinite(band.x).all()
    assert len(curves.band_above(lower, upper, 10).x) == 10
    assert len(curves.band_above([np.nan], [1.0]).x) == 0
    alone = curves.share_above(lower)
    at = np.searchsorted(band.x, alone.x)
    np.testing.assert_allclose(band.low[at], alone.y)


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.Tanh(), torch.nn.Linear(20, 3))
    x = torch.rand(4, 6)
    settings = {"targets": "top2", "n_batches": 20, "batch_samples": 4, "image_ids": [3, 1, 2, 9]}
    return cx.clever_score(model.eval(), x, norm=[2, "inf"], radius=0.5, **settings)


def test_plots_are_drawn_of_rows(result):
    row = result.table[result.table["status"] == "ok"].iloc[0]
    ax = cx.plot.fit(row)
    assert ax.patches  # the histogram, and the band of the interval
    assert any(line.get_xdata()[0] == row["lipschitz"] for line in ax.lines)
    points = cx.plot.qq(row).lines[1]
    assert len(points.get_xdata()) == 20
    nothing = row.copy()
    nothing["status"] = "max-fallback"
    assert cx.plot.qq(nothing).texts[0].get_text() == "no fit"


def test_curves_are_drawn_of_results(result):
    both = cx.plot.curve(result)
    assert both.get_xscale() == "log"
    assert [text.get_text() for text in both.get_legend().texts] == ["p = 2", "p = inf"]
    one = cx.plot.curve({"first": result, "second": result}, norm=2)
    assert one.get_xscale() == "linear"
    assert [text.get_text() for text in one.get_legend().texts] == ["first", "second"]
    np.testing.assert_array_equal(one.lines[0].get_ydata(), curves.share_above(result.scores[2]).y)
    with pytest.raises(cx.CleverError, match="no result has scores of the norm 1"):
        cx.plot.curve(result, norm=1)


def lines_of(ax):
    (lines,) = ax.collections
    return [segment[:, 1].tolist() for segment in lines.get_segments()]


def test_both_ends_of_brackets_are_drawn():
    lower, upper = np.array([0.3, 0.0, 0.1, 0.2]), np.array([0.6, np.nan, 0.1, np.inf])
    status = np.array(["ok", "misclassified", "ok", "ok"], dtype=object)
    result = bracketed(lower, upper, "net", status=status)
    ax = cx.plot.bracket(result)
    top = ax.get_ylim()[1]
    # Sorted by the lower end; a line that no flip ends is open to the top.
    assert lines_of(ax) == [[0, 0], [0.1, 0.1], [0.2, top], [0.3, 0.6]]
    dots, dashes, arrows = ax.lines
    assert dots.get_ydata().tolist() == [0, 0.1, 0.2, 0.3]
    assert dashes.get_ydata().tolist() == [0, 0.1, 0.6]
    assert (arrows.get_xdata().tolist(), arrows.get_ydata().tolist()) == ([2], [top])
    assert ax.get_yscale() == "linear"
    ax.figure.savefig(io.BytesIO())
    nothing = bracketed(lower * np.nan, upper * np.nan, "net", status=["non-finite"] * 4)
    assert lines_of(cx.plot.bracket(nothing)) == []


def test_brackets_whose_flips_are_all_known_fill_a_users_figure():
    """A line without points that is not clipped would push them aside."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for ax in figure.subplots(1, 2, sharey=True):
        cx.plot.bracket(bracketed(LOW, HIGH, "net"), ax=ax)
    figure.draw_without_rendering()
    assert ax.get_position().width > 0.3


def test_brackets_of_several_norms_stand_side_by_side():
    two, inf = (
        bracketed(LOW * f, HIGH * f, "net", norm=np.full(60, p))
        for f, p in ((1, 2.0), (1e-2, np.inf))
    )
    both = cx.CleverResult.concatenate([two, inf])
    ax = cx.plot.bracket(both)
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["p = 2", "p = inf"]
    assert len(ax.collections) == 2
    right = ax.collections[0].get_segments()[-1][0, 0]
    assert right < ax.collections[1].get_segments()[0][0, 0]
    assert len(lines_of(cx.plot.bracket(both, norm=2))) == 60
    with pytest.raises(cx.CleverError, match="no brackets of the norm 1"):
        cx.plot.bracket(both, norm=1)
    with pytest.raises(cx.CleverError, match="no brackets"):
        cx.plot.bracket(searched(LOW, "net"))
