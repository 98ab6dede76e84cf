"""Which words the numbers of a pair of models allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .cautions import Caution
from .statistics import FEWEST_PAIRS

MORE_ROBUST, NO_DIFFERENCE, CANNOT_TELL = "more robust", "no difference found", "cannot tell"
#: "No difference found" is said where one of this share of the mean score would have been found.
_ADEQUATE = 0.25


@dataclass(frozen=True)
class Verdict:
    """Words about a pair of models.

    Attributes:
        word: MORE_ROBUST, NO_DIFFERENCE or CANNOT_TELL.
        more_robust: Name of the more robust model, or "".
        reasons: Sentences; those that stand against a claim first.
    """

    word: str
    more_robust: str
    reasons: tuple[str, ...]


def judge(row: dict[str, Any], cautions: Sequence[Caution], alpha: float) -> Verdict:
    """Choose the words for a pair; docs/guide/comparing.md states this rule.

    Args:
        row: The pair's numbers, as in `Comparison.pairs`.
        cautions: All that concern it.
        alpha: Level of the test, 1 - confidence.
    """
    n, names = row["n_both_right"], (row["a"], row["b"])
    if n < FEWEST_PAIRS:
        return _cannot(
            f"Both are right on {n} images: {FEWEST_PAIRS} are the fewest that can tell."
        )
    up, down = row["difference_low"] > 0, row["difference_high"] < 0
    significant = row["p_holm"] < alpha
    winner = names[0] if up else names[1]
    if significant and ((up and row["rank_correlation"] > 0)
                        or (down and row["rank_correlation"] < 0)):  # fmt: skip
        against = [each.text for each in cautions if winner in each.against]
        other_way = row["all_difference_high"] < 0 if up else row["all_difference_low"] > 0
        if other_way:
            against.append(
                f"{winner} is more robust where both are right, but wrong so often that over all "
                "images, with 0 where a model is wrong, the mean goes the other way."
            )
        return _cannot(*against) if against else Verdict(MORE_ROBUST, winner, ())
    if significant or up or down:
        return _cannot(
            "The interval of the mean difference and the corrected rank test do not agree."
        )
    against = [each.text for each in cautions if each.against]
    if not row["detectable"] <= _ADEQUATE * (row["mean_a"] + row["mean_b"]) / 2:
        against.append(
            f"{n} images could have shown a difference of {row['detectable']:.3g} or more, which "
            f"is above {_ADEQUATE:.0%} of the mean score."
        )
    return _cannot(*against) if against else Verdict(NO_DIFFERENCE, "", ())


def _cannot(*reasons: str) -> Verdict:
    return Verdict(CANNOT_TELL, "", reasons)
