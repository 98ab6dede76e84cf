"""Where a comparison would mislead: refused, or said with whose claim it stands against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import other_contents
from ..errors import CleverError
from ..results.brackets import is_bracket
from .pairing import Paired, Side, fed_alike

#: Shares of images. Above `_MOST`, what holds of both models leaves the rest without weight.
_MOST = 0.5
#: Capped scores and max-fallbacks are said from these shares on.
_CAPPED, _FALLBACK = 0.1, 0.25
#: Undeserved scores: signs of masking, and scores above a flip that the run saw.
_UNDESERVED = 0.1
#: Ends of brackets, where a caution concerns one of them alone.
LOWER, UPPER = "lower", "upper"
#: Margins of saturated outputs lie this close to the largest, relative to it.
_SATURATED = 1e-2
#: Images below which shares say nothing.
_FEWEST_IMAGES = 6
#: How far crops may differ, as a share of the picture's short side.
_SAME_CROP = 0.01


@dataclass(frozen=True)
class Caution:
    """A reason to doubt.

    Attributes:
        kind: A word for it: "capped", "masking", "gradients" ...
        text: A sentence.
        against: Names of models that cannot be called more robust because of it; none where it is
            only to be known.
        end: Of brackets: LOWER or UPPER where it concerns that end alone, else "".
    """

    kind: str
    text: str
    against: tuple[str, ...] = ()
    end: str = ""


def _settings(side: Side, estimator: str) -> dict[str, Any]:
    settings: dict[str, Any] = side.runs[estimator].metadata["settings"]
    return settings


def refuse_unlike(sides: Sequence[Side], norms: Sequence[float], estimator: str) -> None:
    """Refuse runs whose scores do not mean the same.

    Raises:
        CleverError: clip, targets or the radius of a norm differ, or labels of targets that were
            given one by one do.
    """
    first = sides[0]
    for other in sides[1:]:
        a, b = _settings(first, estimator), _settings(other, estimator)
        unlike = {name: (a.get(name), b.get(name)) for name in ("clip", "targets")}
        for p in norms:
            unlike[f"the radius of norm {p:g}"] = _radius(a, p), _radius(b, p)
        for name, (x, y) in unlike.items():
            if x != y:
                raise CleverError(
                    f"{name} is {_short(x)} in {first.name} and {_short(y)} in {other.name}",
                    f"runs of the same {name.split(' of ')[0].removeprefix('the ')}",
                    "score one of the two again"
                    + (", or compare other norms alone" if "norm" in name else ""),
                )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _radius(settings: dict[str, Any], p: float) -> Any:
    known = zip(settings.get("norms", []), settings.get("radii", []), strict=True)
    return next((radius for norm, radius in known if float(norm) == p), None)


def of_settings(a: Side, b: Side, estimator: str) -> list[Caution]:
    """Say where two runs were not made alike."""
    found: list[Caution] = []
    for side in (a, b):
        if not side.runs[estimator].metadata.get("complete", True):
            found.append(Caution("incomplete", f"The run of {side.name} is not complete."))
    if a.digest is not None and a.digest == b.digest:
        found.append(Caution("same-weights", f"{a.name} and {b.name} have the same weights."))
    found += _of_gradients(a, b, estimator)
    of_a, of_b = _settings(a, estimator), _settings(b, estimator)
    for name, what in (("dtype", "computed in"), ("race", "raced:"), ("tolerance", "to within")):
        if of_a.get(name) != of_b.get(name):
            found.append(
                Caution(name, f"{a.name}: {what} {of_a.get(name)}; {b.name}: {of_b.get(name)}.")
            )
    return found + _of_contents(a, b, estimator) + _of_pictures(a, b, estimator)


def _of_gradients(a: Side, b: Side, estimator: str) -> list[Caution]:
    names = ["n_batches", "batch_samples"] if estimator == "clever" else ["max_gradients"]
    budget = [
        math.prod(_settings(side, estimator).get(name) or 1 for name in names) for side in (a, b)
    ]
    if budget[0] == budget[1] or _settings(a, estimator).get("tolerance") is not None:
        return []
    fewer, more = (a, b) if budget[0] < budget[1] else (b, a)
    if is_bracket(a.runs[estimator].metadata):
        why = "fewer see less, and leave both ends higher"
    else:
        why = "fewer see less of the ball, and score higher"
    text = (
        f"{fewer.name} was scored with {min(budget):,} gradients a row and {more.name} with "
        f"{max(budget):,}: {why}."
    )
    return [Caution("gradients", text, (fewer.name,))]


def _of_pictures(a: Side, b: Side, estimator: str) -> list[Caution]:
    known = [side.runs[estimator].metadata.get("preprocessing") for side in (a, b)]
    if known[0] is None and known[1] is None:
        return []
    if known[0] is None or known[1] is None:
        text = f"Only one of {a.name} and {b.name} tells how its pictures were prepared."
        return [Caution("preprocessing", f"{text} Are both in the same units?")]
    from ..data import Preprocessing

    of_a, of_b = (Preprocessing(**each) for each in known if each)
    if of_a.crop_mode != of_b.crop_mode:
        text = f"{a.name}: {of_a.words()}; {b.name}: {of_b.words()}."
    elif abs(of_a.kept - of_b.kept) > _SAME_CROP:
        text = f"{a.name} sees {of_a.kept:.0%} of a picture's short side, {b.name} {of_b.kept:.0%}."
    else:
        return []
    return [Caution("crop", text)]


def _of_contents(a: Side, b: Side, estimator: str) -> list[Caution]:
    """Say where files of the same names are other data, of models that see them otherwise.

    Of models that see them alike the digests in their rows tell, picture by picture.
    """
    of_a, of_b = (side.runs[estimator].metadata.get("data", {}) for side in (a, b))
    known = "contents" in of_a and "contents" in of_b
    if not known or fed_alike(a, b, estimator):
        return []
    same_names = of_a["listing_sha256"] == of_b["listing_sha256"]
    same_way = of_a["contents"]["of"] == of_b["contents"]["of"]
    if not (same_names and same_way and other_contents(of_a["contents"], of_b["contents"])):
        return []
    text = f"The pictures of {a.name} and {b.name} have the same names, and are other data."
    return [Caution("contents", text, (a.name, b.name))]


def of_sizes(
    a: Side, b: Side, estimator: str, norm: float, ratio: tuple[float, float, float], end: str = ""
) -> list[Caution]:
    """Say what another size of the inputs does to lengths.

    The same change of a picture, seen at n values instead of m, is (n / m)^(1 / p) times as long in
    the p-norm.

    Args:
        a: The one model.
        b: The other.
        estimator: What made the scores.
        norm: p.
        ratio: Of the mean scores, or of one end's means, a / b, with its interval.
        end: Which end's, of brackets.
    """
    sizes = [math.prod(_settings(side, estimator).get("shape") or [1]) for side in (a, b)]
    factor = (sizes[0] / sizes[1]) ** (1 / norm)
    if factor == 1:
        return []
    explained = ratio[1] <= factor if factor > 1 else ratio[2] >= factor
    larger = a if factor > 1 else b
    difference = f"difference of the {end} ends" if end else "difference"
    text = (
        f"{larger.name} takes larger pictures: that alone makes lengths "
        f"{max(factor, 1 / factor):.3g} times as large in this norm"
        + (f", which the {difference} does not clearly exceed." if explained else ".")
    )
    return [Caution("size", text, (larger.name,) if explained else (), end)]


def of_search(a: Side, b: Side, estimator: str, norm: float) -> list[Caution]:
    """Say where a search missed what the samples of the other run met by chance."""
    found: list[Caution] = []
    for side in (a, b):
        if estimator != "steepest" or "clever" not in side.runs:
            continue
        searched, sampled = (
            table[(table["norm"] == norm) & (table["status"] != "misclassified")]
            for table in (side.runs[name].table for name in ("steepest", "clever"))
        )
        rows = searched.merge(sampled, on=["image_id", "target", "radius"], suffixes=("", "_met"))
        missed = float((rows["max_norm_met"] > rows["lipschitz"]).mean()) if len(rows) else 0.0
        if missed >= _UNDESERVED:
            text = f"{side.name}: on {missed:.0%} of the rows samples met a steeper place than the"
            found.append(Caution("missed", f"{text} search: these scores are too high."))
    return found


def of_labels(pair: Paired) -> list[Caution]:
    """Say where it is not known which answers are right."""
    n = int((pair.labels < 0).sum())
    if n == 0:
        return []
    text = f"{n} images have no label: a model that gets one wrong counts as right there."
    return [Caution("labels", text)]


def of_scores(pair: Paired, names: tuple[str, str]) -> list[Caution]:
    """Say what the rows themselves tell against two models' scores.

    Args:
        pair: Of two models, images that both classify correctly.
        names: Of the two.
    """
    if len(pair.image_ids) < _FEWEST_IMAGES:
        return []
    found = _of_ends(pair, names) if pair.bracket else _of_radii(pair, names)
    for name, rows in zip(names, _shares(pair), strict=True):
        if rows["fallback"] >= _FALLBACK:
            text = f"{name}: {rows['fallback']:.0%} of the fits were not used (max-fallback)."
            found.append(Caution("max-fallback", f"{text} Such scores are rather too high."))
        if rows["masked"] >= _UNDESERVED:
            text = f"{name}: signs of gradient masking on {rows['masked']:.0%} of the images."
            found.append(Caution("masking", f"{text} Its scores are not deserved.", (name,)))
        if rows["saturated"] > _MOST:
            text = f"{name}: {rows['saturated']:.0%} of the margins are the same to a hundredth."
            found.append(Caution("saturated", f"{text} Its outputs are saturated.", (name,)))
        if rows["flipped"] >= _UNDESERVED:
            text = f"{name}: {rows['flipped']:.0%} of the scores exceed a flip that the run saw."
            found.append(Caution("flipped", text, (name,)))
        if rows["contradicted"] > _MOST:
            text = f"{name}: {rows['contradicted']:.0%} of the scores are contradicted by the run."
            found.append(Caution("contradicted", f"{text} They are too high."))
    return found


def _of_radii(pair: Paired, names: tuple[str, str]) -> list[Caution]:
    """Say where scores are the radius."""
    found: list[Caution] = []
    both = float(pair.capped.all(axis=0).mean())
    if both > _MOST:
        text = f"Both scores are R on {both:.0%} of the images: the radius is too small to tell."
        found.append(Caution("capped", text, names))
    for name, rows in zip(names, _shares(pair), strict=True):
        if rows["capped"] >= _CAPPED and both <= _MOST:
            text = f"{name}: {rows['capped']:.0%} of the scores are R; they would be higher."
            found.append(Caution("capped", text))
    return found


def _of_ends(pair: Paired, names: tuple[str, str]) -> list[Caution]:
    """Say where an end of brackets is not known.

    Upper ends are compared where both models have one. A model without a flip may be the more
    robust one there, so what is left speaks for the other; or the search failed.
    """
    found: list[Caution] = []
    for name, other, rows in zip(names, names[::-1], _shares(pair), strict=True):
        if rows["capped"] >= _UNDESERVED:
            text = f"{name}: on {rows['capped']:.0%} of the images no slope was found: the default"
            text += " radius stands for their lower ends."
            found.append(Caution("no-slope", text, (name,), LOWER))
        text = f"{name}: no flip was found on {rows['unflipped']:.0%} of the images."
        if rows["unflipped"] > _MOST:
            found.append(Caution("no-flip", f"{text} Too few have an upper end.", names, UPPER))
        elif rows["unflipped"] > 0:
            against = (other,) if rows["unflipped"] >= _UNDESERVED else ()
            text += " They are left out of the upper ends, and may be its most robust ones."
            found.append(Caution("no-flip", text, against, UPPER))
    return found


def _shares(pair: Paired) -> list[dict[str, float]]:
    """Shares of images, for each model."""
    largest = np.abs(pair.margins).max(axis=1, keepdims=True)
    saturated = np.abs(pair.margins) >= (1 - _SATURATED) * largest
    columns = {
        "capped": pair.capped,
        "fallback": pair.fallback,
        "masked": pair.masked,
        "flipped": pair.flipped,
        "contradicted": pair.contradicted,
        "saturated": saturated,
        "unflipped": np.isposinf(pair.uppers),
    }
    return [{name: float(c[m].mean()) for name, c in columns.items()} for m in range(len(largest))]
