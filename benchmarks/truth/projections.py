"""Nearest points of the box [0, 1] where linear functions are not positive, in l1, l2 and l-inf.

Each answer is a point and a bound. The bound is that of one linear function, the sum of all with
multipliers that are not negative: a point where all are not positive is one where the sum is not,
so that no solver has to be believed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array, eye_array, hstack, vstack

from truth.boxed_balls import nearest_below

Floats = npt.NDArray[np.float64]


class _Enough(Exception):
    """The dual value shows that the point is farther than is asked for."""


def projected(
    slopes: Floats, values: Floats, x: Floats, p: float, enough: float
) -> tuple[Floats, float]:
    """Return a point near to the nearest, and a distance that no such point is below.

    Args:
        slopes: [n, d], of the functions.
        values: [n], of the functions at x.
        x: [d].
        p: 1, 2 or inf.
        enough: Once the bound is beyond this distance, the point is any.

    Returns:
        The point, and the bound; infinite where there is no such point.
    """
    scale = np.linalg.norm(slopes, axis=1)
    if (values[scale == 0] > 0).any():
        return x, math.inf
    slopes, values = slopes[scale > 0], values[scale > 0]
    slopes, values = slopes / scale[scale > 0, None], values / scale[scale > 0]
    if p == 2:
        return _by_dual(slopes, values, x, enough)
    point, multipliers = _by_program(slopes, values, x, p)
    if multipliers is None:
        return x, math.inf
    sum_of_all = torch.from_numpy(multipliers @ slopes)
    here = torch.from_numpy(x)
    found = nearest_below(sum_of_all, float(multipliers @ values), here, p)
    if found is None:
        return x, math.inf
    return point, float(torch.linalg.vector_norm(found - here, p))


def _by_dual(slopes: Floats, values: Floats, x: Floats, enough: float) -> tuple[Floats, float]:
    """Maximise the dual of half the squared distance; every value of it is a bound."""
    best, point = 0.0, x

    def negative_dual(multipliers: Floats) -> tuple[float, Floats]:
        nonlocal best, point
        move = np.clip(-multipliers @ slopes, -x, 1 - x)
        excess = slopes @ move + values
        dual = float(move @ move / 2 + multipliers @ excess)
        if dual > best:
            best, point = dual, x + move
        if dual > enough**2 / 2:
            raise _Enough
        return -dual, -excess

    try:
        minimize(
            negative_dual, np.maximum(values, 0), jac=True, method="L-BFGS-B",
            bounds=[(0, None)] * len(values),
            options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30},
        )  # fmt: skip
    except _Enough:
        return point, math.inf
    return point, math.sqrt(2 * best)


def _by_program(
    slopes: Floats, values: Floats, x: Floats, p: float
) -> tuple[Floats, Floats | None]:
    """Solve a linear program; return its point and multipliers, None where it has no point."""
    (n, d), room = slopes.shape, np.concatenate([1 - x, x])
    costs, most = np.ones(2 * d), room
    rows: Any = csr_array(np.hstack([slopes, -slopes]))
    right = -values
    if p == math.inf:
        costs, most = np.append(np.zeros(2 * d), 1.0), np.append(room, 1.0)
        size: Any = vstack([csr_array((n, 1)), csr_array(-np.ones((d, 1)))])
        moves: Any = hstack([eye_array(d), eye_array(d)])
        rows, right = hstack([vstack([rows, moves]), size]), np.append(right, np.zeros(d))
    bounds = [(0.0, each) for each in most.tolist()]
    found = linprog(costs, A_ub=rows, b_ub=right, bounds=bounds, method="highs-ds")
    if found.x is None:
        return x, None
    return x + found.x[:d] - found.x[d : 2 * d], np.maximum(-found.ineqlin.marginals[:n], 0)
