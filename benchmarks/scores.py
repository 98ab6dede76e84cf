"""Draws docs/images/scores.png: four scores of pictures against the nearest flips of attacks.

python scores.py      # from the result files of bracket.py; runs nothing
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bracket import RESULTS, best_attack, kept_attacks
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "scores.png"


def found(file: str, start: str, end: str, key: str) -> list[float]:
    """Return the raw values of one case of a result file."""
    figures: Any = json.loads((RESULTS / file).read_text())["figures"]
    cases = [f for f in figures if f["case"].startswith(start) and f["case"].endswith(end)]
    values: list[float] = next(f[key] for f in cases if key in f)
    return values


def panel(axes: Axes, name: str, file: str, title: str, paper: list[float], spent: str) -> None:
    """Draw the scores of one network in l2."""
    of = f"{name}, p = 2,"
    attack = best_attack(kept_attacks(name), 2.0)
    scores = {
        "first order, 1 gradient": (
            "o",
            "#969696",
            found(file, of, " 1 gradient", "score"),
        ),
        f"the paper's, {spent} gradients": ("x", "#d95f0e", paper),
        "bracket, upper end": (
            "v",
            "#6baed6",
            found(file, of, " 100 gradients", "upper"),
        ),
        "bracket, lower end": (
            "^",
            "#08519c",
            found(file, of, " 100 gradients", "score"),
        ),
    }
    for label, (marker, color, values) in scores.items():
        axes.plot(attack, values, marker, color=color, ms=5, alpha=0.85, label=label)
    ends = [min(attack) / 1.5, max(attack) * 1.5]
    axes.plot(ends, ends, "-", color="black", lw=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="nearest flip of the attacks (l2)", title=title)
    few = (1.0,) if ends[1] / ends[0] > 100 else (1.0, 2.0, 5.0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=few))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def main() -> None:
    """Draw both networks."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    photographs = found("bracket-paper-cpu.json", "efficientnet-lite0, p = 2", "paper's", "score")
    panel(
        left,
        "efficientnet-lite0",
        "bracket-large-cpu.json",
        "EfficientNet-Lite0, 18 photographs",
        photographs,
        "1,024",
    )
    digits = found("bracket-paper-cpu.json", "lenet-adversarial, p = 2", "paper's", "score")
    panel(
        right,
        "lenet-adversarial",
        "bracket-robust-cpu.json",
        "adversarially trained LeNet, digits",
        digits,
        "6,000",
    )
    left.set_ylabel("score (l2)")
    figure.savefig(IMAGE, dpi=110)


if __name__ == "__main__":
    main()
