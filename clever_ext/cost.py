"""What scores will take, told before the work begins, and what would be cheaper."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .engine.trials import pass_seconds
from .estimators.bracket.estimator import DEFAULT_GRADIENTS
from .estimators.subjects import Subjects
from .estimators.table import estimator_of, gradients_of_image
from .findings import Finding
from .inputs.settings import Settings
from .inputs.targets import nearest
from .kernels.balls import AUTO
from .progress import duration

#: Seconds from which a user is told what would be cheaper.
_LONG = 600.0
#: Of a suggestion, the share of the time that it may take.
_CHEAPER = 0.5
#: Targets to which fewer are suggested, and the tolerance that is.
_FEW_TARGETS, _TOLERANCE = 10, 0.05
#: Gradients of a tolerance that most rows are content with: docs/studies/tolerance-cost.md.
_TOLERANCE_GRADIENTS = 25_600


@dataclass(frozen=True)
class Passes:
    """Seconds that a point's passes take: the forward one, and the backward one of each target."""

    forward: float
    backward: float

    def of(self, n_targets: int) -> float:
        """Return the seconds of one point with so many targets."""
        return self.forward + n_targets * self.backward


@dataclass(frozen=True)
class Cost:
    """What scores will take.

    Attributes:
        rows: Of the result.
        gradients: Gradient evaluations.
        at_most: Whether fewer may do, as with a race or a tolerance.
        seconds: Of one process, by passes of the model as it was given.
    """

    rows: int
    gradients: int
    at_most: bool
    seconds: float

    def __str__(self) -> str:
        most = "at most " if self.at_most else ""
        return (
            f"{most}{self.gradients:,} gradients for {self.rows:,} rows: "
            f"about {duration(self.seconds)}"
        )


def measure_passes(subjects: Subjects) -> Passes:
    """Time two passes of the model as it was given, which its checks have warmed up.

    They are over the images, in batches of its size.
    """
    plan, images = subjects.engine.own, subjects.batch.images
    oracle, size = plan.oracle, plan.device_batch
    of_row = torch.arange(size, device="cpu") % len(images)
    images = images[of_row.to(images.device)]
    classes = torch.from_numpy(subjects.predicted)[of_row].to(images.device)
    other = (classes + 1) % subjects.logits.shape[1]
    seconds = []
    for n_targets in (1, 2):
        targets = other[:, None].expand(-1, n_targets).contiguous()
        seconds.append(pass_seconds(oracle, images, classes, targets) / size)
    backward = max(seconds[1] - seconds[0], 0.0)
    return Passes(max(seconds[0] - backward, 0.0), backward)


def cost_of(settings: Settings, n_images: int, n_targets: int, passes: Passes) -> Cost:
    """Tell what the scores of so many images take."""
    gradients = n_images * gradients_of_image(settings, n_targets)
    return Cost(
        rows=n_images * n_targets * len(settings.balls),
        gradients=gradients,
        at_most=estimator_of(settings).AT_MOST or nearest(settings.targets) is not None,
        seconds=gradients / n_targets * passes.of(n_targets),
    )


def of_cost(settings: Settings, n_images: int, n_targets: int, passes: Passes) -> Finding:
    """Say what the scores take and, where that is long, what would be cheaper."""
    cost = cost_of(settings, n_images, n_targets, passes)
    if cost.seconds < _LONG:
        return Finding("cost", str(cost))
    ways = []
    for name, (cheaper, targets, note) in _cheaper(settings, n_targets).items():
        seconds = cost_of(cheaper, n_images, targets, passes).seconds
        if seconds < _CHEAPER * cost.seconds:
            ways.append(f"{name} (some {duration(seconds)}{note})")
    return Finding("cost", str(cost), "; or ".join(ways) or "score fewer images")


def _cheaper(settings: Settings, n_targets: int) -> dict[str, tuple[Settings, int, str]]:
    """Other settings, numbers of targets, and what to say of them, by what a user would ask for."""
    few = min(n_targets, _FEW_TARGETS - 1)
    targets = f"targets top-{_FEW_TARGETS}"
    ways = {targets: (settings, few, "")}
    others = {}
    if settings.estimator == "clever" and not settings.race:
        others[f"tolerance {_TOLERANCE}"] = (
            replace(settings, tolerance=_TOLERANCE, max_gradients=_TOLERANCE_GRADIENTS),
            "",
        )
    free = all(radii == AUTO for radii in settings.radii)
    bracket = replace(
        settings, estimator="steepest", radii=(AUTO,) * len(settings.norms), race=False,
        tolerance=None, max_gradients=DEFAULT_GRADIENTS,
    )  # fmt: skip
    if settings.estimator == "clever":
        name = "estimator steepest"
        note = f", {DEFAULT_GRADIENTS} gradients a row{'' if free else ', radius auto'}"
        others[name] = bracket, note
    elif not free:
        others["radius auto"] = bracket, f", {DEFAULT_GRADIENTS} gradients a row"
    both = f"{targets} and " if few < n_targets else ""
    return ways | {both + name: (other, few, note) for name, (other, note) in others.items()}
