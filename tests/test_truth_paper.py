import numpy as np
import torch
from scipy.stats import kstest, weibull_max
from truth.authors import FARTHEST, location, stretched
from truth.second_order import bound, spectral_norms

import clever_ext as cx


def test_points_of_the_script_are_as_far_as_uniform_numbers():
    grey = torch.full((1, 28, 28), 0.5)
    points = stretched(grey, 2000, seed=1)
    away = (points - grey).flatten(1).norm(dim=1).numpy()
    # Clipping shortens few of them, all by less than 1 %; at the 0.1 % level on a fixed seed.
    assert kstest(away / FARTHEST, "uniform").pvalue > 0.001
    assert torch.equal(points, stretched(grey, 2000, seed=1))


def test_the_fit_of_the_script_is_near_ours_where_tails_are_light():
    maxima = weibull_max(2, loc=10, scale=3).rvs((4, 300), random_state=np.random.default_rng(0))
    theirs = np.array([location(row) for row in maxima])
    assert (theirs >= maxima.max(axis=1)).all()
    # Both are within 0.05 of 10 here (a standard deviation); five of them.
    assert np.allclose(theirs, cx.fit_reverse_weibull(maxima).location, atol=0.25)


def test_equal_maxima_are_their_own_location():
    assert location(np.full(20, 3.0)) == 3.0


def test_second_order_is_exact_for_a_quadratic_margin():
    hessian = torch.diag(torch.tensor([3.0, 0.1, 0.1, 0.1]))

    def margins(points):
        return 1 - points[:, 0] - 0.5 * ((points @ hessian) * points).sum(dim=1)

    (norm,) = spectral_norms(margins, torch.zeros(1, 4), seed=0).tolist()
    assert np.isclose(norm, 3, rtol=1e-3)
    reach = bound(1.0, 1.0, np.array([3.0])).item()
    assert margins(torch.tensor([[reach, 0, 0, 0]])).abs().item() < 1e-6
