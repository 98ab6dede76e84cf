"""Which words the numbers of a pair of models allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .cautions import LOWER, UPPER, Caution
from .statistics import FEWEST_PAIRS

MORE_ROBUST, NO_DIFFERENCE, CANNOT_TELL = "more robust", "no difference found", "cannot tell"
#: What brackets add to MORE_ROBUST: which ends say so. The upper ends are what an attack found, the
#: lower ones an estimate.
BOTH, ATTACK, ESTIMATE = "from both sides", "by the attack alone", "by the estimate alone"
#: "No difference found" is said where one of this share of the mean score would have been found.
_ADEQUATE = 0.25


@dataclass(frozen=True)
class Verdict:
    """Words about a pair of models.

    Attributes:
        word: MORE_ROBUST, NO_DIFFERENCE or CANNOT_TELL; of brackets, MORE_ROBUST with BOTH, ATTACK
            or ESTIMATE.
        more_robust: Name of the more robust model, or "".
        reasons: Sentences; those that stand against a claim first.
        leans: Name of the model that the interval or the test, if not both, speak for, and no
            caution against; or "".
    """

    word: str
    more_robust: str
    reasons: tuple[str, ...]
    leans: str = ""


def judge(row: dict[str, Any], cautions: Sequence[Caution], alpha: float) -> Verdict:
    """Choose the words for a pair; docs/guide/comparing.md states this rule.

    Args:
        row: The pair's numbers, as in `Comparison.pairs`.
        cautions: All that concern it.
        alpha: Level of the test, 1 - confidence.
    """
    if "upper_n" not in row:
        return _judge_end(row, cautions, alpha)
    lower, upper = ([each for each in cautions if each.end in ("", end)] for end in (LOWER, UPPER))
    of_upper = {name.removeprefix("upper_"): v for name, v in row.items() if name[:6] == "upper_"}
    of_upper |= {"a": row["a"], "b": row["b"], "n_both_right": row["upper_n"]}
    return _of_both_ends(
        _judge_end(row, lower, alpha, LOWER), _judge_end(of_upper, upper, alpha, UPPER)
    )


def _of_both_ends(lower: Verdict, upper: Verdict) -> Verdict:
    """Join what the ends of brackets say."""
    claimed = MORE_ROBUST in (lower.word, upper.word)
    if claimed and lower.leans and upper.leans and lower.leans != upper.leans:
        return _cannot(
            "The two ends contradict each other: the lower ends, the estimate, speak for "
            f"{lower.leans}, the upper ends, the nearest flips found, for {upper.leans}."
        )
    if lower.word == upper.word == MORE_ROBUST:
        return Verdict(f"{MORE_ROBUST} {BOTH}", lower.more_robust, ())
    if lower.word == MORE_ROBUST:
        reasons = _reasons_of("Upper ends", upper)
        return Verdict(f"{MORE_ROBUST} {ESTIMATE}", lower.more_robust, reasons)
    if upper.word == MORE_ROBUST:
        reasons = _reasons_of("Lower ends", lower)
        return Verdict(f"{MORE_ROBUST} {ATTACK}", upper.more_robust, reasons)
    if lower.word == upper.word == NO_DIFFERENCE:
        return lower
    common = tuple(each for each in lower.reasons if each in upper.reasons)
    return _cannot(
        *common,
        *_reasons_of("Lower ends", lower, common),
        *_reasons_of("Upper ends", upper, common),
    )


def _reasons_of(end: str, verdict: Verdict, told: Sequence[str] = ()) -> tuple[str, ...]:
    reasons = verdict.reasons or (f"{verdict.word}.",)
    return tuple(f"{end}: {each}" for each in reasons if each not in told)


def _judge_end(
    row: dict[str, Any], cautions: Sequence[Caution], alpha: float, end: str = ""
) -> Verdict:
    """Judge by the scores, or by one end of brackets.

    Args:
        row: Numbers of that end, under the names of those of scores.
        cautions: All that concern it.
        alpha: Level of the test.
        end: Which one, "" for scores.
    """
    n, names = row["n_both_right"], (row["a"], row["b"])
    if n < FEWEST_PAIRS:
        known = ", with a flip of each," if end == UPPER else ""
        return _cannot(
            f"Both are right{known} on {n} images: {FEWEST_PAIRS} are the fewest that can tell."
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
        return _cannot(*against) if against else Verdict(MORE_ROBUST, winner, (), winner)
    if significant or up or down:
        speak = {names[row["rank_correlation"] < 0]} if significant else set()
        speak |= {winner} if up or down else set()
        speak -= {name for each in cautions for name in each.against}
        reason = "The interval of the mean difference and the corrected rank test do not agree."
        return Verdict(CANNOT_TELL, "", (reason,), speak.pop() if len(speak) == 1 else "")
    against = [each.text for each in cautions if each.against]
    if not row["detectable"] <= _ADEQUATE * (row["mean_a"] + row["mean_b"]) / 2:
        against.append(
            f"{n} images could have shown a difference of {row['detectable']:.3g} or more, which "
            f"is above {_ADEQUATE:.0%} of the mean {f'{end} end' if end else 'score'}."
        )
    return _cannot(*against) if against else Verdict(NO_DIFFERENCE, "", ())


def _cannot(*reasons: str) -> Verdict:
    return Verdict(CANNOT_TELL, "", reasons)
