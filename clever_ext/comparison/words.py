"""A comparison in words and tables: what the terminal, Markdown and reports show alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .cautions import LOWER, UPPER
from .tables import Tables
from .verdict import CANNOT_TELL, MORE_ROBUST, NO_DIFFERENCE

if TYPE_CHECKING:
    import pandas as pd

#: Classes, and images of each norm, that are shown; the tables of the comparison have all.
_CLASSES, _IMAGES = 20, 3
_PAIR = ["estimator", "a", "b"]
#: What stands before the names of the numbers of each end of brackets.
_ENDS = {LOWER: "", UPPER: "upper_"}


@dataclass(frozen=True)
class Section:
    """A heading with sentences and a table, all as text.

    Attributes:
        title: The heading.
        lines: Sentences, one after the other.
        head: Names of the columns.
        rows: Cells.
    """

    title: str
    lines: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())


def sections(comparison: Tables) -> list[Section]:
    """Write a comparison down, the verdict first."""
    level = f"{comparison.confidence:.0%}"
    pairs = comparison.pairs
    found = [Section("Verdict", [_verdict(row) for _, row in pairs.iterrows()])]
    if any(pairs["cautions"].map(len)):
        found.append(Section("Cautions", list(_cautions(pairs))))
    for key, rows in pairs.groupby(_PAIR, sort=False):
        found += [_numbers(rows, _title(key, end), level, end) for end in _ends_of(rows)]
    found.append(_models(comparison.models))
    for key, rows in comparison.by_class.groupby(_PAIR, sort=False):
        for end in _ends_of(rows):
            # Classes of a few images each say nothing.
            if rows[f"{_ENDS.get(end, '')}p_value"].notna().any():
                found.append(_classes(rows, f"{_title(key, end)}: by class", end))
    for key, rows in comparison.moved.groupby(_PAIR, sort=False):
        found.append(_moved(rows, f"{_title(key)}: images that differ most"))
    if len(comparison.dropped):
        found.append(_dropped(comparison.dropped))
    return found


def _title(key: Any, end: str = "") -> str:
    estimator, a, b = key
    return f"{a} (A) against {b} (B), {estimator}" + (f", {end} ends" if end else "")


def _ends_of(rows: pd.DataFrame) -> list[str]:
    """Return the ends of brackets, or "" for scores, of some rows of `pairs` or `by_class`."""
    brackets = "upper_mean_a" in rows and rows["upper_mean_a"].notna().any()
    return list(_ENDS) if brackets else [""]


def _norm(p: float) -> str:
    return f"p = {p:g}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def _share(value: float) -> str:
    return "" if value != value else f"{100 * value:.3g} %"


def _verdict(row: Any) -> str:
    where = f"{_norm(row['norm'])}, {row['estimator']}: "
    a, b = row["a"], row["b"]
    if row.get("upper_n", float("nan")) >= 0:
        return where + _verdict_of_ends(row)
    of_a, of_b = _number(row["mean_a"]), _number(row["mean_b"])
    means = f"mean scores {of_a} and {of_b}"
    if row["verdict"] == MORE_ROBUST:
        names = f"{a} is {MORE_ROBUST} than {b}"
        if row["more_robust"] == b:
            names, means = f"{b} is {MORE_ROBUST} than {a}", f"mean scores {of_b} and {of_a}"
        return f"{where}{names} ({means}, p = {row['p_holm']:.2g})."
    if row["verdict"] == CANNOT_TELL:
        reasons = " ".join(row["reasons"])
        return f"{where}{CANNOT_TELL} whether {a} or {b} is more robust ({means}). {reasons}"
    return (
        f"{where}{row['verdict']} between {a} and {b} ({means}; a difference of "
        f"{_number(row['detectable'])} would have been found four times in five)."
    )


def _verdict_of_ends(row: Any) -> str:
    """Say what brackets tell, with the means of both ends, the winner's first."""
    a, b, reasons = row["a"], row["b"], " ".join(row["reasons"])
    winner, loser, order = (b, a, "ba") if row["more_robust"] == b else (a, b, "ab")
    of_lower, of_upper = (
        f"{end} ends {' and '.join(_number(row[f'{before}mean_{side}']) for side in order)}"
        for end, before in _ENDS.items()
    )
    if row["verdict"].startswith(MORE_ROBUST):
        which = row["verdict"].removeprefix(MORE_ROBUST + " ")
        found = (
            f"{winner} is {MORE_ROBUST} than {loser}, {which} (mean {of_lower}, p = "
            f"{row['p_holm']:.2g}; mean {of_upper}, p = {row['upper_p_holm']:.2g}). {reasons}"
        )
        return found.strip()
    if row["verdict"] == NO_DIFFERENCE:
        return (
            f"{NO_DIFFERENCE} between {a} and {b} (mean {of_lower}; mean {of_upper}; differences "
            f"of {_number(row['detectable'])} and {_number(row['upper_detectable'])} would have "
            "been found four times in five)."
        )
    means = f"(mean {of_lower}; mean {of_upper})"
    return f"{CANNOT_TELL} whether {a} or {b} is more robust {means}. {reasons}"


def _cautions(pairs: pd.DataFrame) -> Iterator[str]:
    """Say each caution once, with the norms and estimators that it is of."""
    told = pairs[["norm", "estimator", "cautions"]].explode("cautions").dropna()
    for text, rows in told.groupby("cautions", sort=False):
        where = dict.fromkeys(
            f"{_norm(p)}, {estimator}"
            for p, estimator in zip(rows["norm"], rows["estimator"], strict=True)
        )
        yield f"{text} ({'; '.join(where)})"


def _numbers(rows: pd.DataFrame, title: str, level: str, end: str) -> Section:
    """Quantities down, norms across: of scores, or of one end of brackets."""
    before = _ENDS.get(end, "")

    def interval(name: str) -> list[str]:
        name = before + name
        return [
            # No blank within the brackets: terminals shall not break them.
            f"{_number(row[name])} ({_number(row[f'{name}_low'])},{_number(row[f'{name}_high'])})"
            if row[name] == row[name]
            else ""
            for _, row in rows.iterrows()
        ]

    def plain(name: str, text: Any) -> list[str]:
        return [text(value) for value in rows[before + name]]

    table = [
        ["mean A", *interval("mean_a")],
        ["mean B", *interval("mean_b")],
        ["mean A - mean B", *interval("difference")],
        ["mean A / mean B", *interval("ratio")],
        ["median A", *interval("median_a")],
        ["median B", *interval("median_b")],
        ["median of A / B", *interval("median_ratio")],
        ["A higher", *plain("share_a_higher", _share)],
        ["B higher", *plain("share_b_higher", _share)],
        ["Wilcoxon p, Holm", *plain("p_holm", lambda p: "" if p != p else f"{p:.2g}")],
        ["rank correlation", *plain("rank_correlation", _number)],
        ["Kendall's tau", *plain("kendall_tau", _number)],
        ["detectable", *plain("detectable", _number)],
        ["all images: A - B", *interval("all_difference")],
    ]
    first = rows.iloc[0]
    right = (
        f"On {first['n_both_right']} both models are right: these count. A alone is right on "
        f"{first['n_only_a_right']}, B alone on {first['n_only_b_right']}; in the last line those "
        "count, with a score of 0 where a model is wrong."
    )
    if not (rows["n_labelled"] > 0).any():
        right = "All of them count, since there are no labels."
    if end == UPPER:
        table.insert(0, ["images", *(f"{n:.0f}" for n in rows["upper_n"])])
        right += " Upper ends are compared where a flip of both models was found."
    lines = [f"{first['n']} images have scores of all models. {right} {level} intervals."]
    return Section(title, lines, ["", *map(_norm, rows["norm"])], table)


def _models(models: pd.DataFrame) -> Section:
    shares = ["accuracy", "capped", "fallback", "masked", "contradicted"]
    head = ["model", "p", "scores", "mean", "right", "= R", "no fit", "masked", "contradicted"]
    lines = [
        "The mean is over all images, with 0 where the model is wrong; the shares behind it are of "
        "those where it is right."
    ]
    upper = "upper_mean" in models
    if upper:
        lines.append("Of brackets it is the mean lower end; that of the upper ends, where there is "
                     "a flip, stands in a column of its own.")  # fmt: skip
        head += ["upper mean", "no flip"]
    rows = [
        [
            row["model"],
            f"{row['norm']:g}",
            row["estimator"],
            _number(row["mean"]),
            *(_share(row[name]) for name in shares),
            *([_number(row["upper_mean"]), _share(row["no_flip"])] if upper else []),
        ]
        for _, row in models.iterrows()
    ]
    return Section("Each model", lines, head, rows)


def _classes(rows: pd.DataFrame, title: str, end: str) -> Section:
    largest = rows.groupby("label")["n"].max().sort_values(ascending=False, kind="stable")
    shown = sorted(largest.index[:_CLASSES])
    norms = list(dict.fromkeys(rows["norm"]))
    at = {(row["label"], row["norm"]): row for _, row in rows.iterrows()}
    table = []
    for label in shown:
        first = at[label, norms[0]]
        right = f"{_share(first['accuracy_a'])}, {_share(first['accuracy_b'])}"
        cells = [_class_cell(at[label, p], _ENDS.get(end, "")) for p in norms if (label, p) in at]
        table.append([str(label), str(first["n_both_right"]), right, *cells])
    what = f"{end} ends" if end else "scores"
    lines = [f"Mean {what} of A and B where both are right; in brackets p, where it is tested."]
    if len(largest) > len(shown):
        lines.append(f"The {len(shown)} most frequent of {len(largest)} classes.")
    return Section(title, lines, ["class", "n", "right: A, B", *map(_norm, norms)], table)


def _class_cell(row: Any, before: str) -> str:
    tested = row[f"{before}p_holm"]
    p = "" if tested != tested else f" ({tested:.2g})"
    return f"{_number(row[f'{before}mean_a'])}, {_number(row[f'{before}mean_b'])}{p}"


def _moved(rows: pd.DataFrame, title: str) -> Section:
    import pandas as pd

    shown = rows.groupby("norm", sort=False).head(_IMAGES)
    upper = "upper_a" in rows and bool(rows["upper_a"].notna().any())
    table = [
        [
            _norm(row["norm"]),
            row["image"] or str(row["image_id"]),
            "" if pd.isna(row["label"]) else str(row["label"]),
            *(_number(row[name]) for name in ("score_a", "score_b")),
            *(_number(row[name]) for name in ("upper_a", "upper_b") if upper),
        ]
        for _, row in shown.astype({"label": object}).iterrows()
    ]
    heads = ["A, lower", "B, lower", "A, upper", "B, upper"] if upper else ["A", "B"]
    return Section(title, (), ["norm", "image", "class", *heads], table)


def _dropped(dropped: pd.DataFrame) -> Section:
    once = dropped.drop_duplicates(["image_id", "model", "reason"])
    counts = Counter(zip(once["model"], once["reason"], strict=True))
    lines = [f"{n} because of {model}: {reason}." for (model, reason), n in counts.items()]
    return Section("Images left out", lines)


def markdown(parts: Sequence[Section]) -> str:
    """Write sections as Markdown."""
    return "\n".join(_markdown(part) for part in parts)


def _markdown(part: Section) -> str:
    lines = [f"### {part.title}", ""]
    several = len(part.lines) > 1 or not part.rows
    lines += [f"- {line}" if several else line for line in part.lines]
    if part.rows:
        table = [list(part.head), ["---"] * len(part.head), *part.rows]
        lines += ["", *(f"| {' | '.join(map(_cell, row))} |" for row in table)]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
