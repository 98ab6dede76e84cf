"""Whether gradients tell how margins change, which scores take for granted.

A defence may hide its gradients (gradient masking: Athalye, Carlini & Wagner, ICML 2018, arXiv
1802.00420; for CLEVER Goodfellow 2018, arXiv 1804.07870). A search of a few gradients finds the
nearest flips in l-inf; then forward passes alone tell two things that need no gradient:

1. Steps half as long as to these flips, up and down in random cells of a grid, change the margin.
   Are the changes those that the gradient at the image says? For a linear model they are.
2. A search without gradients, in the spirit of the Square attack (Andriushchenko, Croce, Flammarion
   & Hein, ECCV 2020, arXiv 1912.00049), looks within half the distance of these flips. Where
   gradients are of use it finds nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..classifier.bpda import approximates
from ..errors import CleverError
from ..estimators.at_points import each as of_points
from ..estimators.bracket.ends import Ends
from ..estimators.bracket.search import search
from ..estimators.subjects import Subjects
from ..findings import Finding
from ..inputs.batch import Batch
from .looked import Looked

Floats = npt.NDArray[np.float64]

#: Images that are looked at: as many as have so many values together, within these bounds.
_VALUES, _FEWEST, _MOST = 2**13, 3, 8
#: Gradients of each, random steps, and tries without a gradient.
_GRADIENTS, _STEPS, _TRIES = 16, 24, 24
#: Length of steps, in distances of the flips, and the longest, in ways across valid data: of what
#: is farther off, as behind closed units of provably trained networks, no gradient tells.
_OF_FLIPS, _LONGEST = 0.5, 0.125
#: Cells along each side of an image, in which a step has one sign.
_CELLS = 7
#: The share of the flips' distance within which flips are looked for without gradients.
_NEARER = 0.5
#: By how much rounding may move a distance.
_ROUNDING = 1e-6
#: Sides of the windows that a try changes, in sides of the image: the first, and the last.
_WINDOWS = (0.5, 0.15)
#: Medians over the images, of two at least, at which gradients say little: a correlation below, or
#: changes so many times as large as said: docs/studies/masking.md.
_FORETOLD, _TIMES = 0.6, 4.0
#: Share of the images at which a search without gradients has to win.
_BEATEN = 0.5
_FIX = (
    "do not trust scores of it, those of first order least: they believe these gradients. Pass "
    "gradients around what changes in steps or saturates, by cx.BPDA, or leave that out. If the "
    "model has no such part, as some that are trained to be proved robust, take the bracket"
)
_FIX_OF_BPDA = (
    "gradients that pass straight through a transformation are rough here: take scores for rough "
    "too, and believe flips, which are real"
)


class Steps(NamedTuple):
    """What forward passes told of each image, [n].

    Attributes:
        size: Length of its steps in l-inf, at most half the distance of the gradients' flip.
        correlation: Of the changes of its margin with those that its gradient says.
        times: How many times as large as these they are.
        found: Whether gradients found a flip.
        beaten: Whether one was found at half that flip's distance without gradients.
    """

    size: Floats
    correlation: Floats
    times: Floats
    found: npt.NDArray[np.bool_]
    beaten: npt.NDArray[np.bool_]


def of_masking(looked: Looked) -> Iterator[Finding]:
    """Tell whether the gradients at a few images say how their margins change.

    It takes 17 gradients and some 60 forward passes of each of three to eight images.
    """
    try:
        with looked.subjects.engine.running(looked.subjects.batch.images.device):
            steps = steps_of(looked)
    except CleverError as error:
        yield Finding.of(error, "model")
        return
    if steps is not None:
        by_bpda = approximates(looked.subjects.engine.model)
        yield from _told(steps, _FIX_OF_BPDA if by_bpda else _FIX)


def _told(steps: Steps, fix: str) -> Iterator[Finding]:
    """Put in words what the steps tell, and what to do where gradients tell little."""
    n, n_found, n_beaten = len(steps.found), int(steps.found.sum()), int(steps.beaten.sum())
    if n_beaten >= _BEATEN * n:
        yield Finding(
            "model",
            f"the gradients hide flips: at {n_beaten} of {n} images a search without gradients "
            "finds some at less than half the distance of those that gradients find, if any",
            fix,
        )
    if n_found < 2:
        if n_beaten < _BEATEN * n:
            yield Finding(
                "model",
                f"gradients find flips of {n_found} of {n} images that were tried: too few to tell "
                "whether they say how margins change",
            )
        return
    size, correlation, times = (
        float(np.median(each[steps.found])) for each in (steps.size, steps.correlation, steps.times)
    )
    over = f"over random steps of {size:.2g} in l-inf, at {n_found} images"
    changes = f"correlation {correlation:.2g}, {times:.2g} times as large (1 and 1: as they say)"
    if correlation < _FORETOLD or not times < _TIMES:
        yield Finding("model", f"gradients say little of how margins change {over}: {changes}", fix)
    elif n_beaten < _BEATEN * n:
        yield Finding("model", f"gradients say how margins change {over}: {changes}")


def steps_of(looked: Looked) -> Steps | None:
    """Look at a few images; None where no margin can be looked at. The engine is running."""
    ends = _ends(looked)
    if ends is None:
        return None
    search(ends, 1, _GRADIENTS)
    flips = ends.upper.clone()
    size = torch.minimum(_OF_FLIPS * flips, _LONGEST * ends.widths)
    gradient = ends.lanes(ends.row, ends.centers).gradient.double()
    numbers = torch.Generator("cpu").manual_seed(looked.settings.seed)
    said, changes, signs = _random_steps(ends, gradient, size, numbers)
    _try_without_gradients(ends, signs, _NEARER * torch.minimum(flips, ends.widths), numbers)
    lengths = said.norm(dim=1), changes.norm(dim=1)
    correlation = ((said * changes).sum(dim=1) / (lengths[0] * lengths[1])).nan_to_num(0.0)
    beaten = (ends.upper <= _NEARER * flips * (1 + _ROUNDING)) & ends.upper.isfinite()
    told = size, correlation, lengths[1] / lengths[0], flips.isfinite(), beaten
    return Steps(*(each.cpu().numpy() for each in told))


def _ends(looked: Looked) -> Ends | None:
    """Return the brackets in l-inf of a few images against their runner-ups, to be searched."""
    subjects, settings = looked.subjects, replace(looked.settings, keep_witness=False)
    images, every = subjects.batch.images, np.arange(len(subjects.predicted))
    order, margins = subjects.by_margin(every)
    usable = np.flatnonzero(np.isfinite(margins[:, 0]) & (margins[:, 0] > 0))
    n = min(len(usable), max(_FEWEST, min(_MOST, _VALUES // images[0].numel())))
    if n == 0:
        return None
    places = usable[np.linspace(0, len(usable) - 1, n).astype(int)]
    some = Batch(
        images[torch.from_numpy(places).to(images.device)], None, subjects.batch.image_ids[places]
    )
    few = Subjects(
        subjects.engine, some, order[places, :1], settings.seed, logits=subjects.logits[places]
    )
    balls = [(np.inf, np.nan)]
    rows = few.rows(balls, of=few.scored)
    return Ends(few, rows, 1, few.at_image(balls, of=few.scored), settings, lambda _: None)


def _random_steps(
    ends: Ends, gradient: Tensor, size: Tensor, numbers: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Step into random directions; return changes of the margins, and the signs that lead lowest.

    Returns:
        Changes [n, S] that gradients [n, *shape] say, those that there are, and signs [n, *shape].
    """
    best, lowest = torch.ones_like(ends.centers), torch.full_like(size, torch.inf)
    said, changes = [], []
    for _ in range(_STEPS):
        signs = _random_signs(ends.centers, numbers)
        x = _moved(ends, signs, size)
        moved = (x - ends.centers).double()
        margin = ends.margins(ends.row, x)
        said.append((moved * gradient).flatten(1).sum(dim=1))
        changes.append(margin - ends.margin)
        lower = margin < lowest
        best[lower], lowest[lower] = signs[lower], margin[lower]
    return torch.stack(said, dim=1), torch.stack(changes, dim=1), best


def _try_without_gradients(
    ends: Ends, signs: Tensor, size: Tensor, numbers: torch.Generator
) -> None:
    """Look for flips at a distance by random windows, of which those are kept that lead down."""
    lowest = ends.margins(ends.row, _moved(ends, signs, size))
    for number in range(_TRIES):
        share = _WINDOWS[0] * (_WINDOWS[1] / _WINDOWS[0]) ** (number / (_TRIES - 1))
        other = _changed_in_a_window(signs, share, numbers)
        margin = ends.margins(ends.row, _moved(ends, other, size))
        lower = margin < lowest
        signs[lower], lowest[lower] = other[lower], margin[lower]


def _moved(ends: Ends, signs: Tensor, size: Tensor) -> Tensor:
    """Return the images moved by so much in each element, within valid data."""
    return (ends.centers + of_points(size.to(signs.dtype), signs) * signs).clamp(
        *ends.settings.clip
    )


def _random_signs(like: Tensor, numbers: torch.Generator) -> Tensor:
    """Return signs [n, *shape] that are the same all over a cell of the last two dimensions."""
    n, *shape = like.shape
    most = _CELLS if len(shape) > 1 else _CELLS**2
    cells = [*shape[:-2], *(min(side, most) for side in shape[-2:])]
    signs = 2 * torch.randint(0, 2, (n, *cells), generator=numbers, device="cpu") - 1
    for dim in range(-min(2, len(shape)), 0):
        place = torch.arange(shape[dim], device="cpu") * cells[dim] // shape[dim]
        signs = signs.index_select(dim, place)
    return signs.to(like)


def _changed_in_a_window(signs: Tensor, share: float, numbers: torch.Generator) -> Tensor:
    """Return signs [n, *shape] with one random window of the last two dimensions drawn anew."""
    n, *shape = signs.shape
    window: list[slice] = []
    for side in shape[-2:]:
        length = max(1, round(share * side))
        first = int(torch.randint(0, side - length + 1, (1,), generator=numbers, device="cpu"))
        window.append(slice(first, first + length))
    drawn = n, *shape[:-2], *[1] * len(window)
    heads = torch.randint(0, 2, drawn, generator=numbers, device="cpu")
    other = signs.clone()
    where: Any = (..., *window)
    other[where] = (2 * heads - 1).to(other)
    return other
