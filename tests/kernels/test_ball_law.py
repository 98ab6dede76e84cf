"""The law of samples: uniform in the p-ball, and one independent of the other.

Seeds are fixed, so each of these tests either always passes or always fails. The bounds are such
that a correct sampler would fail one of them, for a new seed, about once in some hundred runs of
this file: p-values above 1e-4, z-scores below 4.5 (6 where there are 300,000 of them).
"""

import math

import pytest
import torch
from op_arguments import INF, NORMS
from scipy import stats
from torch import Tensor

from clever_ext.kernels.balls import sample_lp_ball

P_VALUE, Z_SCORE = 1e-4, 4.5
LAW = [
    *[(p, d, 20000) for p in NORMS for d in (1, 2, 3, 10)],
    *[(p, 784, 2000) for p in NORMS],
    *[(p, 150528, 240) for p in (1.0, 2.0, INF)],
    (3.0, 150528, 60),
]
# What float32 draws may add to a norm: each is within some 10 ulp of the one that its mass stands
# for, and on average they err to neither side. In 150,528 dimensions a uniform sample's norm is
# within 7e-6 of R on average, so that this bound is no formality there.
BEYOND = 2.0**-22

law = pytest.mark.parametrize(("p", "d", "n"), LAW)
law_below_1000 = pytest.mark.parametrize(("p", "d", "n"), [row for row in LAW if row[1] < 1000])


def norms_of(x: Tensor, p: float) -> Tensor:
    return torch.linalg.vector_norm(x.double(), p, dim=1)


def in_parts(p: float, d: int, n: int, dtype: torch.dtype):
    """Yield n samples of the unit ball, a few million numbers at a time."""
    step = max(1, 4_000_000 // d)
    for first in range(0, n, step):
        yield sample_lp_ball(
            torch.zeros(d, dtype=dtype), min(step, n - first), p, 1.0, 11, 5, first
        )


def mass_law(p: float, d: int):
    """The law of |x_i|^p (of |x_i| for p = inf) for x uniform in the unit ball.

    |x_i|^p = g_i / (g_1 + ... + g_d + Z), with g ~ Gamma(1/p) and Z ~ Gamma(1): a Beta variable.
    """
    return stats.uniform() if p == INF else stats.beta(1 / p, (d - 1) / p + 1)


def masses(x: Tensor, p: float) -> Tensor:
    return x.abs() if p == INF else x.abs() ** p


@law
def test_radius_is_that_of_a_uniform_sample(p, d, n):
    # Samples in float64 are not rounded after the draws, whose own errors average out in a norm:
    # (norm / R)^d multiplies what is left, below 1e-8, by d.
    radii = torch.cat([norms_of(x, p) for x in in_parts(p, d, n, torch.float64)])
    assert radii.max() <= 1 + BEYOND
    assert stats.kstest((d * radii.log()).exp(), "uniform").pvalue > P_VALUE


@law
def test_no_float32_point_is_outside(p, d, n):
    for x in in_parts(p, d, min(n, 20 if d > 1000 else 3000), torch.float32):
        assert norms_of(x, p).max() <= 1 + BEYOND


@law
def test_marginals_and_signs(p, d, n):
    # Some coordinates: first and last ones, and both sides of where blocks' draws 0..3 meet.
    quarter = (d + 3) // 4
    places = sorted({0, 1, quarter - 1, quarter, 2 * quarter, 3 * quarter, d - 1} & set(range(d)))
    parts, spread, positive, total = [], [], 0, 0
    for x in in_parts(p, d, n, torch.float64):
        parts.append(x[:, places])
        spread.append(masses(x[:, ::997], p))
        positive += int((x > 0).sum())
        total += x.numel()
    picked = torch.cat(parts)
    for place in range(len(places)):
        mass = masses(picked[:, place], p)
        assert stats.kstest(mass, mass_law(p, d).cdf).pvalue > P_VALUE, places[place]
        up = (picked[:, place] > 0).double().mean().item()
        assert abs(up - 0.5) <= Z_SCORE * 0.5 / math.sqrt(n), places[place]
    assert abs(positive / total - 0.5) <= Z_SCORE * 0.5 / math.sqrt(total)
    if d > 1000:
        # Few samples, but of coordinates so many that those far apart are as good as independent.
        pooled = torch.cat(spread).flatten()
        assert stats.kstest(pooled, mass_law(p, d).cdf).pvalue > P_VALUE


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("d", [2, 3])
def test_sign_patterns_are_equally_frequent(p, d):
    x = sample_lp_ball(torch.zeros(d), 20000, p, 1.0, 12)
    pattern = ((x > 0).long() * 2 ** torch.arange(d)).sum(1)
    assert stats.chisquare(torch.bincount(pattern, minlength=2**d)).pvalue > P_VALUE


def z_scores(products: Tensor, expected: float, terms: int) -> Tensor:
    """How far the mean of products [n, ...] is off, in standard errors estimated from them."""
    return (products.mean(0) - expected) / (products.std(0) / math.sqrt(terms))


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """z-scores of all sample correlations of columns of a [n, i] and b [n, j]."""
    a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))
    return a.T @ b / math.sqrt(len(a))


def ranks(x: Tensor) -> Tensor:
    """Ranks of the sizes in each column.

    Correlations of the masses themselves, whose tails are long for large p, are far from normal.
    """
    order = x.abs().T.contiguous().argsort(1)
    places = torch.arange(len(x)).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).T.float()


def bound(d: int) -> float:
    return Z_SCORE if d <= 10 else 6.0


@law_below_1000
def test_mean_and_covariance(p, d, n):
    x = torch.cat(list(in_parts(p, d, n, torch.float64)))
    assert z_scores(x, 0.0, n).abs().max() <= bound(d)
    # E x_i^2 = E B^(2/p) of the Beta variable B above; 1/3 for p = inf.
    if p == INF:
        variance = 1 / 3
    else:
        a, b = 1 / p, (d - 1) / p + 1
        log_moment = math.lgamma(a + 2 / p) - math.lgamma(a)
        variance = math.exp(log_moment + math.lgamma(a + b) - math.lgamma(a + b + 2 / p))
    assert z_scores(x**2, variance, n).abs().max() <= bound(d)
    off_diagonal = ~torch.eye(d, dtype=torch.bool)
    if d > 1:
        assert correlations(x, x)[off_diagonal].abs().max() <= bound(d)
    # The masses and Z are Dirichlet with parameters 1/p (d times) and 1, so that sizes depend on
    # each other in one way only; draws that share words would show here, whatever their signs. In
    # 784 dimensions what is left of that dependence, -1/784, is a z-score below 0.1.
    if d > 10:
        sizes = ranks(x)
        assert correlations(sizes, sizes)[off_diagonal].abs().max() <= bound(d)
    elif d > 1 and p != INF:
        total = d / p + 1
        mass = masses(x, p) - 1 / p / total
        expected = -((1 / p) ** 2) / (total**2 * (total + 1))
        excess = mass.T @ mass / n - expected
        error = (mass**2).mean(0).sqrt()
        scores = excess / (error[:, None] * error) * math.sqrt(n)
        assert scores[off_diagonal].abs().max() <= bound(d)


@law_below_1000
def test_consecutive_samples_are_not_correlated(p, d, n):
    x = torch.cat(list(in_parts(p, d, n, torch.float64)))
    y = sample_lp_ball(torch.zeros(d, dtype=torch.float64), n, p, 1.0, 11, 5, 1 << 32)
    for a, b in [(x, y), (ranks(x), ranks(y))]:
        assert correlations(a[:-1], a[1:]).abs().max() <= bound(d)  # in k
        assert correlations(a, b).abs().max() <= bound(d)  # in b
