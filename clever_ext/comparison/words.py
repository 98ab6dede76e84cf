"""A comparison in words and tables: what the terminal, Markdown and reports show alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .tables import Tables
from .verdict import CANNOT_TELL, MORE_ROBUST

if TYPE_CHECKING:
    import pandas as pd

#: Classes, and images of each norm, that are shown; the tables of the comparison have all.
_CLASSES, _IMAGES = 20, 3
_PAIR = ["estimator", "a", "b"]


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
        labelled = bool((rows["n_labelled"] > 0).any())
        found.append(_numbers(rows, _title(key), level, labelled))
    found.append(_models(comparison.models))
    for key, rows in comparison.by_class.groupby(_PAIR, sort=False):
        if rows["p_value"].notna().any():  # classes of a few images each say nothing
            found.append(_classes(rows, f"{_title(key)}: by class"))
    for key, rows in comparison.moved.groupby(_PAIR, sort=False):
        found.append(_moved(rows, f"{_title(key)}: images that differ most"))
    if len(comparison.dropped):
        found.append(_dropped(comparison.dropped))
    return found


def _title(key: Any) -> str:
    estimator, a, b = key
    return f"{a} (A) against {b} (B), {estimator}"


def _norm(p: float) -> str:
    return f"p = {p:g}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def _share(value: float) -> str:
    return "" if value != value else f"{100 * value:.3g} %"


def _verdict(row: Any) -> str:
    where = f"{_norm(row['norm'])}, {row['estimator']}: "
    a, b = row["a"], row["b"]
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


def _cautions(pairs: pd.DataFrame) -> Iterator[str]:
    """Say each caution once, with the norms and estimators that it is of."""
    told = pairs[["norm", "estimator", "cautions"]].explode("cautions").dropna()
    for text, rows in told.groupby("cautions", sort=False):
        where = dict.fromkeys(
            f"{_norm(p)}, {estimator}"
            for p, estimator in zip(rows["norm"], rows["estimator"], strict=True)
        )
        yield f"{text} ({'; '.join(where)})"


def _numbers(rows: pd.DataFrame, title: str, level: str, labelled: bool) -> Section:
    """Quantities down, norms across."""

    def interval(name: str) -> list[str]:
        return [
            # No blank within the brackets: terminals shall not break them.
            f"{_number(row[name])} ({_number(row[f'{name}_low'])},{_number(row[f'{name}_high'])})"
            if row[name] == row[name]
            else ""
            for _, row in rows.iterrows()
        ]

    def plain(name: str, text: Any) -> list[str]:
        return [text(value) for value in rows[name]]

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
    if not labelled:
        right = "All of them count, since there are no labels."
    lines = [f"{first['n']} images have scores of all models. {right} {level} intervals."]
    return Section(title, lines, ["", *map(_norm, rows["norm"])], table)


def _models(models: pd.DataFrame) -> Section:
    shares = ["accuracy", "capped", "fallback", "masked", "contradicted"]
    rows = [
        [
            row["model"],
            f"{row['norm']:g}",
            row["estimator"],
            _number(row["mean"]),
            *(_share(row[name]) for name in shares),
        ]
        for _, row in models.iterrows()
    ]
    lines = [
        "The mean is over all images, with 0 where the model is wrong; the shares behind it are of "
        "those where it is right."
    ]
    head = ["model", "p", "scores", "mean", "right", "= R", "no fit", "masked", "contradicted"]
    return Section("Each model", lines, head, rows)


def _classes(rows: pd.DataFrame, title: str) -> Section:
    largest = rows.groupby("label")["n"].max().sort_values(ascending=False, kind="stable")
    shown = sorted(largest.index[:_CLASSES])
    norms = list(dict.fromkeys(rows["norm"]))
    at = {(row["label"], row["norm"]): row for _, row in rows.iterrows()}
    table = []
    for label in shown:
        first = at[label, norms[0]]
        right = f"{_share(first['accuracy_a'])}, {_share(first['accuracy_b'])}"
        cells = [_class_cell(at[label, p]) for p in norms if (label, p) in at]
        table.append([str(label), str(first["n_both_right"]), right, *cells])
    lines = ["Mean scores of A and B where both are right; in brackets p, where it is tested."]
    if len(largest) > len(shown):
        lines.append(f"The {len(shown)} most frequent of {len(largest)} classes.")
    return Section(title, lines, ["class", "n", "right: A, B", *map(_norm, norms)], table)


def _class_cell(row: Any) -> str:
    p = "" if row["p_holm"] != row["p_holm"] else f" ({row['p_holm']:.2g})"
    return f"{_number(row['mean_a'])}, {_number(row['mean_b'])}{p}"


def _moved(rows: pd.DataFrame, title: str) -> Section:
    import pandas as pd

    shown = rows.groupby("norm", sort=False).head(_IMAGES)
    table = [
        [
            _norm(row["norm"]),
            row["image"] or str(row["image_id"]),
            "" if pd.isna(row["label"]) else str(row["label"]),
            _number(row["score_a"]),
            _number(row["score_b"]),
        ]
        for _, row in shown.astype({"label": object}).iterrows()
    ]
    return Section(title, (), ["norm", "image", "class", "A", "B"], table)


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
