"""Uniform samples of p-balls, by counter."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..arguments import SupportsArray, is_array, is_several, number, shown
from ..errors import CleverError
from . import ops

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

#: Larger ones overflow float32 samples.
MAX_RADIUS = 1e30

#: Names of norms, as a type checker knows them. `check_norm` takes the names of the compiled half,
#: `ops.NAMED_NORMS`, in letters large or small, with "_", "-" or a space in them.
NormName = Literal[
    "l1", "l2", "linf", "L1", "L2", "Linf", "l_1", "l_2", "l_inf", "L_1", "L_2", "L_inf", "inf",
]  # fmt: skip
Norm = float | NormName
Norms = Norm | Sequence[Norm] | SupportsArray

#: The radius that is to be found: that where margin / L(R) = R.
Auto = Literal["auto"]
AUTO: Auto = "auto"

Radius = float | Auto | Sequence[float] | SupportsArray | None
#: For all norms, or by norm. Keys are not told apart: in a mapping's type they would have to be
#: those of the caller's variable, numbers or names.
Radii = Radius | Mapping[Any, Radius]

#: Radii for p = inf, 2 and 1 of balls whose points models are tried at; see `trial_radius`.
_TRIAL_RADII = (0.01, 2.0, 40.0)


def trial_radius(p: float) -> float:
    """Return the radius of the balls that models are tried in where none is known yet.

    Checks and measurements draw points there; no score depends on it. For photographs with pixels
    in [0, 1] these balls reach a few times as far as the nearest attacks. Between p = 1, 2 and inf
    log R is linear in 1/p.
    """
    knots = [math.log(radius) for radius in _TRIAL_RADII]
    return float(np.exp(np.interp(1.0 / p, (0.0, 0.5, 1.0), knots)))


def known_balls(balls: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return (norm, radius) of each ball, where a NaN is a radius that is still to be found.

    Its norm's trial radius is taken for it; of no balls at all that of p = 2.
    """
    known = [(p, radius if radius == radius else trial_radius(p)) for p, radius in balls]
    return known or [(2.0, trial_radius(2))]


def dual_exponent(p: float) -> float:
    """Return q with 1/p + 1/q = 1."""
    if p == 1:
        return math.inf
    return 1.0 if p == math.inf else p / (p - 1)


def check_norm(p: object) -> float:
    """Return p as a float: a number, or a name as "L2" or "l_inf"; refuse what is no norm."""
    name = re.sub(r"[\s_-]", "", p.lower()) if isinstance(p, str) else None
    value = number(ops.NAMED_NORMS.get(name, p) if name else p, text=True)
    if not value >= 1:
        raise CleverError(
            f"norm={shown(p)} is no p-norm",
            f"a number p with 1 <= p <= inf, or one of {', '.join(ops.NAMED_NORMS)}",
            "choose 1, 2, inf or another p of at least 1",
        )
    return value


def check_radius(radius: object, p: float) -> float:
    """Return the radius of norm p as a float: a number, or {p: R}."""
    if isinstance(radius, Mapping):
        if p not in radius:
            raise CleverError(
                f"radius={shown(dict(radius))} has no entry for norm {p:g}",
                "one radius for each norm",
                f"add {p:g} to it, or give one number for all norms",
            )
        radius = radius[p]
    value = number(radius, text=True)
    if not 0 < value <= MAX_RADIUS:
        raise CleverError(
            f"radius={shown(radius)} is no radius",
            f"a positive number up to {MAX_RADIUS:g}, in the units of the images",
            "give such a number, or leave it out",
        )
    return value


def check_radii(radius: object, p: float) -> tuple[float, ...] | str:
    """Return the radii of norm p, ascending: what `check_radius` takes, or several.

    None and "auto" give AUTO.
    """
    given: Any = radius[p] if isinstance(radius, Mapping) and p in radius else radius
    if given is None or (isinstance(given, str) and given == AUTO):
        return AUTO
    if isinstance(given, Mapping) or not is_several(given):
        return (check_radius(given, p),)
    radii = tuple(sorted(check_radius(value, p) for value in given))
    if not radii or len(set(radii)) < len(radii):
        raise CleverError(
            f"radius={shown(radius)} holds none for norm {p:g}, or one twice",
            "different radii",
            "name each once",
        )
    return radii


def check_clip(clip: tuple[float, float] | None) -> tuple[float, float]:
    """Return the range that samples are clamped to, (-inf, inf) for None."""
    if clip is None:
        return -math.inf, math.inf
    bounds = [number(bound, text=True) for bound in clip] if is_several(clip) else []
    low, high = bounds if len(bounds) == 2 else (math.nan, math.nan)
    if not low < high:
        raise CleverError(
            f"clip={shown(clip)} is no range", "(low, high) with low < high", "give e.g. (0, 1)"
        )
    return low, high


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return an integer argument within [low, high]."""
    whole = None
    with suppress(Exception):  # whatever a class of the user's raises
        whole = operator.index(value)  # type: ignore[arg-type]
    if whole is None or isinstance(value, bool) or is_array(value):
        raise CleverError(
            f"{name}={shown(value)} is no integer", "an integer", f"give {name} as an int"
        )
    if not low <= whole <= high:
        raise CleverError(
            f"{name}={shown(whole)} is out of range",
            f"an integer from {low} to {high}",
            f"choose another {name}",
        )
    return whole


def points_like(center: Tensor, n: int) -> Tensor:
    """Return an unwritten [n, *center.shape] buffer whose points lie as center's elements do."""
    strides = (center.numel(), *center.stride())
    return torch.empty_strided(
        (n, *center.shape), strides, dtype=center.dtype, device=center.device
    )


def as_layout(points: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Return points [N, *shape] in a memory format, copied only if need be."""
    if memory_format == torch.contiguous_format:
        return points  # as they are: sampling takes either
    return points.contiguous(memory_format=memory_format)


def as_points(points: Tensor, first_dim: int) -> Tensor:
    """Return points whose elements are contiguous or channels_last, copied only if need be."""
    if points.dim() - first_dim == 3:
        batch = points if first_dim == 1 else points[None]
        if batch.is_contiguous(memory_format=torch.channels_last):
            return points
    return points.contiguous()


def sample_lp_ball(
    center: Tensor,
    n: int,
    p: Norm = 2,
    radius: float = 1.0,
    seed: int = 0,
    image_id: int = 0,
    first: int = 0,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """Draw points uniformly in the p-ball around a center.

    Each sample is a pure function of (seed, image_id, its number, p, radius, shape): the same
    whatever else is drawn, on whatever device, in whatever memory format; a smaller dtype rounds
    it. Sample number `(b << 32) + k` is the k-th sample of batch b of the score.

    Method: t / (sum |t_i|^p + Z)^(1/p) with t_i of density proportional to exp(-|t|^p) and
    Z ~ Exp(1) (Barthe, Guedon, Mendelson, Naor 2005), from Philox4x32-10 counters.

    Args:
        center: [*shape], float64, float32, float16 or bfloat16.
        n: How many samples.
        p: The norm, 1 <= p <= inf.
        radius: R, in the units of `center`.
        seed: Any int64.
        image_id: Any int64; distinguishes images under one seed.
        first: Number of the first sample.
        clip: (low, high) to clamp the samples to afterwards, or None.

    Returns:
        [n, *shape], dtype, device and memory format of `center`.

    Raises:
        CleverError: an argument is out of its range.

    >>> import torch
    >>> x = sample_lp_ball(torch.zeros(3, 8, 8), 4, p=2, radius=0.5)
    >>> bool((x.flatten(1).norm(dim=1) <= 0.5).all())
    True
    """
    if not isinstance(center, Tensor) or center.dtype not in FLOATS:
        given = center.dtype if isinstance(center, Tensor) else type(center).__name__
        raise CleverError(
            f"center is {given}",
            "a tensor of float32, float64, float16 or bfloat16",
            "convert it with torch.as_tensor(center, dtype=torch.float32)",
        )
    low, high = check_clip(clip)
    int64 = 2**63 - 1
    count = check_integer("n", n, 0, 2**31 - 1)
    center = as_points(center.detach(), 0)
    out = points_like(center, count)
    exponent = check_norm(p)
    ops.sample_lp_ball(
        out,
        center,
        exponent,
        check_radius(radius, exponent),
        check_integer("seed", seed, -int64 - 1, int64),
        check_integer("image_id", image_id, -int64 - 1, int64),
        check_integer("first", first, 0, int64 - count),
        low,
        high,
    )
    return out
