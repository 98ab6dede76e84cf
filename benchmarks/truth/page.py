"""Joins what the scores are held against: the table and both pictures of docs/trust.md.

    python -m truth.page --out results/truth-cpu.json      # from benchmarks/; runs nothing

Rows come from result files of bracket.py (attacks), truth.exact and truth.vnncomp. Of each picture
a score is one point, its smallest over the targets that were asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attacks import MET
from bracket import RESULTS, ROBUST, rounded
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from scipy.stats import spearmanr
from side_by_side import arguments, parsed, quantity, share, show, write

Floats = npt.NDArray[np.float64]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NORMS = {"1": "l1", "2": "l2", "inf": "l-inf"}
#: Roundings of distances.
_SAME = 1 + 1e-5
FIRST, PAPER, LOWER, UPPER = "first order", "the paper's", "lower end", "upper end"
#: Colour of each score.
_LOOKS = {FIRST: "#969696", PAPER: "#d95f0e", LOWER: "#08519c", UPPER: "#6baed6"}
USUAL, TRAINED, EXACT, VERIFIED = (
    "trained as usual, beside attacks",
    "robust, beside attacks",
    "small, beside exact radii",
    "verifiers know a flip",
)


#: Ratios that are drawn.
_SHOWN = 0.08, 3000.0
#: Colour of each kind whose truth is a distance.
_COLORS = {USUAL: "#1b9e77", TRAINED: "#7570b3", EXACT: "#e7298a"}


@dataclass(frozen=True)
class Points:
    """One score of the pictures of a network.

    Attributes:
        kind: Of network and truth.
        network: Its name.
        norm: "1", "2" or "inf".
        score: Which.
        truth: [N], distances; of a verified network the radius within which a flip lies.
        values: [N], of the score.
    """

    kind: str
    network: str
    norm: str
    score: str
    truth: Floats
    values: Floats


def _figures(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RESULTS / file).read_text())["figures"]
    return found


def _array(values: list[float | None]) -> Floats:
    return np.array([math.inf if value is None else value for value in values])


def beside_attacks() -> Iterator[Points]:
    """Yield what bracket.py measured: brackets of 400 gradients a row, and the paper's score.

    Those of large networks are of 100.
    """
    for name, spent in (("normal", 400), ("large", 100), ("robust", 400), ("paper", 0)):
        told = _figures(f"bracket-{name}-cpu.json")
        for figure in told:
            case = re.match(r"(\S+), p = (\w+), \d+ pictures, (.*)", figure["case"])
            if case is None:
                continue
            network, norm, how = case.groups()
            score = {"1 gradient": FIRST, f"{spent} gradients": LOWER}.get(how)
            score = PAPER if how.endswith("of the paper's") else score
            kind = TRAINED if network in ROBUST else USUAL
            if score is not None and "score" in figure:
                truth, values = _array(figure["attack"]), _array(figure["score"])
                yield Points(kind, network, norm, score, truth, values)
            elif score == LOWER and "upper" in figure:
                truth = _array(_of_case(told, figure["case"], "attack"))
                yield Points(kind, network, norm, UPPER, truth, _array(figure["upper"]))


def _of_case(told: list[dict[str, Any]], case: str, key: str) -> Any:
    return next(figure[key] for figure in told if figure["case"] == case and key in figure)


def exact() -> Iterator[Points]:
    """Yield what truth.exact measured."""
    told = _figures("truth-exact-cpu.json")
    scores = {"bracket, 400 gradients": LOWER, "first order": FIRST}
    scores["the paper's, 640 gradients"] = PAPER
    for figure in told:
        case = re.match(r"(.+), p = (\w+), \d+ pictures, (.*)", figure["case"])
        if case is None or "exact" not in figure or case[1] == "all four":
            continue
        network, norm, how = case.groups()
        known = _array(figure["exact"])
        if "upper" in figure and how == "bracket, 400 gradients":
            yield Points(EXACT, network, norm, UPPER, known, _array(figure["upper"]))
        elif "score" in figure and how in scores:
            yield Points(EXACT, network, norm, scores[how], known, _array(figure["score"]))


def verified() -> Iterator[Points]:
    """Yield what truth.vnncomp measured of instances whose property is violated."""
    rows = json.loads((RESULTS / "truth-vnncomp-cpu.json").read_text())["instances"]
    rows = [row for row in rows if row["verdict"] == "violated"]
    keys = {FIRST: "first_order", PAPER: "paper", LOWER: "lower_400", UPPER: "upper_400"}
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        eps = _array([row["eps"] for row in own])
        for score, key in keys.items():
            yield Points(VERIFIED, network, "inf", score, eps, _array([row[key] for row in own]))


def above(points: Points) -> npt.NDArray[np.bool_]:
    """Tell of which pictures a score is above the truth.

    The paper's of a verified network was made in the ball of its radius: it cannot be above, and
    where it is equal it says that no flip lies within.
    """
    if points.kind == VERIFIED and points.score == PAPER:
        return np.asarray(points.values >= points.truth / _SAME)
    return np.asarray(points.values > points.truth * _SAME)


def table(found: list[Points]) -> Iterator[dict[str, Any]]:
    """Yield the figures of each kind and norm."""
    for kind in (USUAL, TRAINED, EXACT, VERIFIED):
        for norm, name in NORMS.items():
            own = [each for each in found if (each.kind, each.norm) == (kind, norm)]
            if own:
                yield from _of_cell(own, f"{name}, {kind}")


def _of_cell(own: list[Points], case: str) -> Iterator[dict[str, Any]]:
    by_score = {score: [each for each in own if each.score == score] for score in _LOOKS}
    n = sum(len(each.truth) for each in by_score[LOWER])
    case = f"{case}, {n} pictures"
    for score in (FIRST, PAPER, LOWER):
        if by_score[score]:
            wrong = np.concatenate([above(each) for each in by_score[score]])
            yield share(f"{score} above", case, None, wrong)
    uppers = by_score[UPPER]
    met = 1.0 if own[0].kind == VERIFIED else MET
    near = np.concatenate([each.values <= met * _SAME * each.truth for each in uppers])
    yield share("upper end near", case, None, near)
    if own[0].kind != VERIFIED:
        ratios = np.concatenate([each.values / each.truth for each in by_score[LOWER]])
        yield quantity("lower end / truth", case, None, ratios[np.isfinite(ratios)])


def set_means(found: list[Points]) -> Iterator[dict[str, Any]]:
    """Yield the rank correlation of networks' mean scores with their mean attacks."""
    attacked = [each for each in found if each.kind in (USUAL, TRAINED)]
    for norm, name in NORMS.items():
        for score in _LOOKS:
            own = [each for each in attacked if (each.norm, each.score) == (norm, score)]
            means = [float(np.mean(each.values)) for each in own]
            truths = [float(np.mean(each.truth)) for each in own]
            ranks = np.array([spearmanr(means, truths).statistic])
            yield quantity(
                f"{score}: rank correlation of means", f"{name}, {len(own)} networks", 0.95, ranks,
                networks=[each.network for each in own], means=rounded(means),
                attacks=rounded(truths),
            )  # fmt: skip


def draw_points(found: list[Points]) -> None:
    """Draw score / truth of every picture, all norms, a panel for each score."""
    panels = {"first order": (FIRST,), "the paper's": (PAPER,), "bracket": (LOWER, UPPER)}
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    rows = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for ax, (title, scores) in zip(rows, panels.items(), strict=True):
        for kind, color in _COLORS.items():
            for score in scores:
                own = [each for each in found if (each.kind, each.score) == (kind, score)]
                if not own:
                    continue
                truth = np.concatenate([each.truth for each in own])
                ratio = np.concatenate([each.values for each in own]) / truth
                marker = "v" if score == UPPER else "^" if score == LOWER else "o"
                label = None if score == UPPER else kind
                ax.plot(truth, ratio, marker, color=color, ms=3, alpha=0.55, mew=0, label=label)
        ax.axhline(1, color="black", lw=0.8, zorder=0)
        ax.set(xscale="log", yscale="log", title=title, xlabel="nearest flip (l1, l2, l-inf)")
        ax.set_ylim(*_SHOWN)
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.grid(alpha=0.3)
    rows[0].set_ylabel("score / nearest flip")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, markerscale=2)
    rows[-1].text(0.03, 0.97, "▲ lower end   ▼ upper end", transform=rows[-1].transAxes,
                  va="top", fontsize=8, color="#525252")  # fmt: skip
    figure.savefig(IMAGES / "truth-points.png", dpi=110)


def draw_shares(found: list[Points]) -> None:
    """Draw the share of pictures whose score is above the truth, by kind of network."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ax = figure.subplots()
    kinds, width = (USUAL, TRAINED, EXACT, VERIFIED), 0.26
    for shift, score in zip((-width, 0, width), (FIRST, PAPER, LOWER), strict=True):
        wrong = [
            np.concatenate(
                [above(each) for each in found if (each.kind, each.score) == (kind, score)]
            )
            for kind in kinds
        ]
        shares = [100 * float(each.mean()) for each in wrong]
        label = "bracket, lower end" if score == LOWER else score
        places = np.arange(len(kinds)) + shift
        bars = ax.bar(places, shares, width, color=_LOOKS[score], label=label)
        told = [f"{share:.1f}" if 0 < share < 1 else f"{share:.0f}" for share in shares]
        ax.bar_label(bars, told, fontsize=8)
    ax.set_xticks(np.arange(len(kinds)), [kind.replace(", ", ",\n") for kind in kinds])
    ax.set(ylabel="% of pictures too high", ylim=(0, 105))
    ax.legend(fontsize=8, ncols=3, loc="upper center")
    figure.savefig(IMAGES / "truth-shares.png", dpi=110)


def main() -> None:
    """Join, draw, and write."""
    args = parsed(arguments(__doc__, rounds=1))
    found = [*beside_attacks(), *exact(), *verified()]
    figures = [*table(found), *set_means(found)]
    for each in figures:
        show(each)
    draw_points(found)
    draw_shares(found)
    write(args.out, figures)


if __name__ == "__main__":
    main()
