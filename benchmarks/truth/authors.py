"""How the CLEVER authors' scripts draw points and fit maxima, where it is not as their paper says.

Facts of their scripts, written anew: points that are uniform in the unit l2 ball are stretched by
U(0, 3), so that their distance is uniform in [0, 3], and clipped to the valid range; the norms of
*all* p are taken at these points. The fit's penalty, meant for the shape, is on the scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import fmin
from scipy.special import gamma
from scipy.stats import kstest, weibull_min
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]

#: Shapes that their fit starts from.
_STARTS = (0.1, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_PENALTY = 0.01
#: Their largest distance in l2.
FARTHEST = 3.0
#: The norm of the gradient that bounds the way in p.
DUAL = {2.0: 2.0, math.inf: 1.0}


def stretched(x: Tensor, n: int, seed: int) -> Tensor:
    """Return their points [n, *shape] around one picture in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    away = torch.randn(n, x.numel(), generator=draw)
    inside, stretch = torch.rand(2, n, generator=draw)
    lengths = FARTHEST * stretch * inside ** (1 / x.numel())
    away *= (lengths / away.norm(dim=1))[:, None]
    return (x + away.view(n, *x.shape)).clamp(0, 1)


def norms_at(model: nn.Module, points: Tensor, own: int, targets: Tensor) -> Tensor:
    """Return the dual norms of the margins' gradients, [2, T, n], for p = 2 and inf."""
    points = points.detach().requires_grad_()
    logits = model(points)
    found = []
    for target in targets.tolist():
        margin = (logits[:, own] - logits[:, target]).sum()
        (g,) = torch.autograd.grad(margin, points, retain_graph=True)
        rows = g.flatten(1)
        found.append(torch.stack([rows.norm(q, dim=1) for q in DUAL.values()]))
    return torch.stack(found, dim=1).detach()


def maxima(
    model: nn.Module, parts: Iterator[Tensor], own: int, targets: Tensor, samples: int
) -> Floats:
    """Return batch maxima [2, T, N_b] for p = 2 and inf of points that come in parts."""
    norms = torch.cat([norms_at(model, part, own, targets) for part in parts], dim=2)
    found: Floats = norms.view(*norms.shape[:2], -1, samples).amax(dim=3).double().numpy()
    return found


def location(found: Floats) -> float:
    """Fit maxima [N_b] as their script does and return the end point."""
    largest, span = found.max(), np.ptp(found)
    if span == 0:  # theirs raises
        return float(largest)
    scaled = (largest - found) / span
    best, best_p = 0.0, -1.0
    for start in _STARTS:
        shape, place, scale = _fitted(scaled, start)
        p = kstest(scaled, weibull_min(shape, place, scale).cdf).pvalue if scale > 0 else 0.0
        if p > best_p:
            best, best_p = place, float(p)
    return float(largest - span * best) if best_p >= 0.001 else float(largest)


def _fitted(scaled: Floats, start: float) -> tuple[float, float, float]:
    """Minimise -log likelihood + 0.01 scale^2 from a shape, and its moments."""
    spread = gamma(1 + 2 / start) - gamma(1 + 1 / start) ** 2
    scale = scaled.std() / math.sqrt(spread)
    place = scaled.mean() - scale * gamma(1 + 1 / start)
    if place >= scaled.min():
        place = scaled.min() - 0.1 * np.ptp(scaled)

    def cost(theta: Floats) -> float:
        c, a, s = theta
        if c <= 0 or s <= 0 or a >= 0:
            return math.inf
        z = (scaled - a) / s
        with np.errstate(over="ignore"):
            likelihood = len(z) * math.log(c / s) + (c - 1) * np.log(z).sum() - (z**c).sum()
        return float(_PENALTY * s * s - likelihood)

    c, a, s = fmin(cost, (start, place, scale), disp=False)
    return float(c), float(a), float(s)
