"""What a classifier can be scored in spite of, but whoever reads the scores should know."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from ..findings import Finding
from .outputs import logits_of

#: By how much probabilities may miss a sum of 1.
_SUM = 2e-2
#: How many times farther from 0 bounded outputs are looked for than the images are.
_FAR = 100.0
#: Outputs so near their bounds are those of a saturated activation.
_SATURATED = 0.99


def doubts_of(
    model: Callable[[Tensor], Any],
    points: Tensor,
    logits: Tensor,
    gradients: Tensor,
    kind: torch.dtype,
) -> list[Finding]:
    """Return what is doubtful about a model's logits, by those at some points.

    Args:
        model: [B, *shape] -> logits [B, K].
        points: [B, *shape], images and points of the balls around them.
        logits: [B, K], at the points.
        gradients: [B, *shape], of sums of the logits there.
        kind: The coarsest type that the model computes in.
    """
    found = [
        _bounded(model, points, logits),
        _coarse(logits, kind),
        _ruled_out(logits),
        _not_finite(logits, gradients) or _flat(logits, gradients),
    ]
    return [each for each in found if each is not None]


def of_probabilities(logits: Tensor) -> Finding | None:
    """Doubt logits [B, K] that are probabilities: their margins are not those of the logits."""
    values = logits.double()
    if bool((values >= 0).all() & ((values.sum(dim=1) - 1).abs() < _SUM).all()):
        return _activated("are probabilities, as a softmax gives: each row adds up to 1")
    return None


def _bounded(model: Callable[[Tensor], Any], points: Tensor, logits: Tensor) -> Finding | None:
    """Doubt outputs of a last activation, such as a softmax: their margins are not those before."""
    values = logits.double()
    if not bool((values.abs() <= 1).all()) or _same(logits):
        return None
    found = of_probabilities(logits)
    if found is None:
        far = torch.tensor([math.nan], device="cpu")
        with suppress(Exception), torch.no_grad():  # the model may not take such points
            far = torch.cat([logits_of(model(sign * _FAR * points)) for sign in (1, -1)]).double()
        if not bool((far.abs() <= 1).all() & (far.abs() > _SATURATED).any()):
            return None
        positive = bool((far >= 0).all() & (values >= 0).all())
        low, name = (0, "sigmoid") if positive else (-1, "tanh")
        found = _activated(f"stay between {low} and 1 wherever it is called, as a {name}'s do")
    return found


def _activated(outputs: str) -> Finding:
    return Finding(
        "model",
        f"the model's outputs {outputs}",
        "score the logits before it: scores of its outputs are another quantity, often higher",
    )


def _coarse(logits: Tensor, kind: torch.dtype) -> Finding | None:
    """Doubt margins that a short type of numbers rounds by much."""
    if kind not in (torch.float16, torch.bfloat16):
        return None
    best = logits.double().topk(2, dim=1).values
    best = best[torch.isfinite(best).all(dim=1)]
    if len(best) == 0:
        return None
    exponent = math.floor(math.log2(max(1e-30, float(best.abs().max()))))
    grid = torch.finfo(kind).eps * 2.0**exponent
    margin = max(1e-30, float((best[:, 0] - best[:, 1]).median()))
    share = f"{100 * grid / margin:.2g} % of the median margin"
    return Finding(
        "model",
        f"the model computes in {str(kind).removeprefix('torch.')}: its largest logits lie on a "
        f"grid of {grid:.2g}, {share} at the points that were looked at, which intervals leave out",
        "score it in float32, e.g. model.float()",
    )


def _ruled_out(logits: Tensor) -> Finding | None:
    """Tell of classes that no attack can reach."""
    classes = torch.isneginf(logits).all(dim=0).nonzero()[:, 0].tolist()
    if not classes:
        return None
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    names = ", ".join(map(str, classes[:3])) + more
    return Finding(
        "model",
        f"the logit of class {names} is -inf wherever it was looked at: no target for a score",
        "remove the mask if these classes can be predicted",
    )


def _same(logits: Tensor) -> bool:
    return len(logits) > 1 and torch.equal(logits, logits[:1].expand_as(logits))


def _not_finite(logits: Tensor, gradients: Tensor) -> Finding | None:
    """Tell of logits and gradients that are no numbers, or beyond the largest."""
    above = (torch.isposinf(logits)).any(dim=0).nonzero()[:, 0].tolist()
    for what, bad in (
        ("logits are NaN", logits.isnan()),
        (f"logits of class {above[0] if above else 0} are inf", torch.isposinf(logits)),
        ("gradients to the input are NaN or infinite", ~torch.isfinite(gradients)),
    ):
        n = int(bad.flatten(1).any(dim=1).sum())
        if n:
            return Finding(
                "model",
                f"{what} at {n} of {len(logits)} points that were looked at: they have no score",
                "look for overflow, divisions by zero and logarithms of it in the model, or "
                "compute in float32",
            )
    return None


def _flat(logits: Tensor, gradients: Tensor) -> Finding | None:
    """Doubt a model whose logits or gradients tell nothing of its input."""
    where = f"at all {len(logits)} points that were looked at"
    if _same(logits):
        return Finding("model", f"the logits are the same {where}", "see that they use the input")
    if not bool(gradients.any()):
        return Finding(
            "model",
            f"the gradient to the input is exactly zero {where}",
            "remove what has no gradient, such as rounding or a saturated activation: without one "
            "a score says nothing",
        )
    return None
