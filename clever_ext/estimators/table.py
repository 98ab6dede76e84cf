"""Which estimators there are, and which one a call asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from ..arguments import check_flag, check_share, is_several, shown
from ..errors import CleverError
from ..inputs.settings import EstimatorName, Settings
from ..inputs.targets import FEW_CLASSES, class_numbers, named, nearest
from ..kernels.balls import check_clip, check_integer, check_norm, check_radii
from . import clever, first_order, race, radius, tolerance
from .bracket import estimator as bracket
from .protocol import Estimator
from .screening import most_screened
from .steepest import estimator as steepest

#: The first that a call asks for makes its scores.
ESTIMATORS: tuple[Estimator, ...] = (
    bracket, steepest, first_order, tolerance, race, radius, clever,
)  # fmt: skip


def names() -> tuple[EstimatorName, ...]:
    """Return what `clever_score(estimator=...)` may be."""
    return tuple(sorted({each.NAME for each in ESTIMATORS}))


def estimator_of(settings: Settings) -> Estimator:
    """Return what makes the scores that settings ask for.

    Raises:
        CleverError: none has that name.
    """
    for each in ESTIMATORS:
        if each.is_asked(settings):
            return each
    raise _unknown(settings.estimator)


def _unknown(estimator: Any) -> CleverError:
    return CleverError(
        f"estimator={shown(estimator)} is unknown",
        " or ".join(repr(name) for name in names()),
        "choose one of these; docs/guide/which-score.md tells them apart",
    )


def check_settings(
    norm: Any,
    radius: Any,
    targets: Any,
    n_batches: Any,
    batch_samples: Any,
    clip: Any,
    seed: Any,
    estimator: Any = "clever",
    max_gradients: Any = None,
    keep_witness: Any = False,
    candidates: Any = None,
    race: Any = False,
    tolerance: Any = None,
    confidence: Any = 0.95,
) -> Settings:
    """Check the arguments of these names of `clever_score`, each by itself and all together.

    Raises:
        CleverError: one is unfit, or does not suit the estimator that they ask for.
    """
    if not isinstance(estimator, str):
        raise _unknown(estimator)
    if isinstance(norm, Tensor) and norm.dim() and not norm.is_floating_point():
        raise CleverError(
            f"norm is a tensor of {norm.dtype}",
            "a norm, such as 2 or inf, or several",
            "give it as labels or targets, whichever it is",
        )
    norms = tuple(check_norm(p) for p in (norm if is_several(norm) else (norm,)))
    if not norms or len(set(norms)) < len(norms):
        raise CleverError(
            f"norm={shown(norm)} names no norm or one twice", "different norms", "name each once"
        )
    if isinstance(radius, Mapping):
        radius = {check_norm(p): value for p, value in radius.items()}
    settings = Settings(
        norms=norms,
        radii=tuple(check_radii(radius, p) for p in norms),
        targets=_targets(targets),
        n_batches=check_integer("n_batches", n_batches, 2, 2**31 - 1),
        batch_samples=check_integer("batch_samples", batch_samples, 1, 2**31 - 1),
        clip=check_clip(clip),
        seed=check_integer("seed", seed, -(2**63), 2**63 - 1),
        estimator=cast(EstimatorName, str(estimator)),
        keep_witness=check_flag("keep_witness", keep_witness),
        race=check_flag("race", race),
        tolerance=None if tolerance is None else check_share("tolerance", tolerance),
        confidence=check_share("confidence", confidence),
    )
    asked = estimator_of(settings)
    budget = asked.budget(settings)
    options = {
        "max_gradients": max_gradients,
        "keep_witness": keep_witness or None,
        "candidates": candidates,
    }
    _check_options(asked, [name for name, value in options.items() if value is not None])
    asked.check(settings)
    if budget is None:
        return settings
    default, least = budget
    wanted = default if max_gradients is None else max_gradients
    return replace(settings, max_gradients=check_integer("max_gradients", wanted, least, 2**31 - 1))


def settled(settings: Settings, n_classes: int) -> Settings:
    """Return settings with the targets that are meant for so many classes.

    Without a choice these are all of a few classes, else the nearest. A bracket of all of many
    classes is one of the few that can decide.

    Args:
        settings: From `check_settings`, or settled already.
        n_classes: Of the model.
    """
    targets = named(settings.targets, n_classes)
    many = isinstance(targets, str) and targets == "all" and n_classes > FEW_CLASSES
    if many and bracket.is_asked(settings):
        targets = f"near-{bracket.deciding(settings)}"
    return replace(settings, targets=targets)


def gradients_of_image(settings: Settings, n_targets: int) -> int:
    """Return the most gradients that an image takes: those of its rows, and of the screening.

    Args:
        settings: Settled ones.
        n_targets: Of the image.
    """
    each, k = settings.most_gradients_of_row, nearest(settings.targets)
    if bracket.is_asked(settings):
        each = bracket.gradients_of_row(settings)
    screening = 0 if k is None else most_screened(settings, k)
    return screening + each * n_targets * len(settings.balls)


def _targets(targets: Any) -> Any:
    """Check class numbers; None is left to those who know how many classes there are."""
    if targets is None or isinstance(targets, (str, int)):
        return targets
    return class_numbers(targets)


def _check_options(asked: Estimator, given: list[str]) -> None:
    """Refuse options of other estimators than the one that is asked for."""
    foreign = [name for name in given if name not in asked.OPTIONS]
    if foreign:
        raise CleverError(
            f"{', '.join(foreign)} with estimator={asked.NAME!r}",
            'estimator="steepest"',
            "leave them out, or search for the steepest place",
        )
