"""What a validation returns: figures of each score, the rows behind them, and words."""

from __future__ import annotations

import io
import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import durable
from ..estimators.tables import MASKING
from ..findings import Finding
from ..markup import as_html
from ..results import plot
from .figures import NEAR, Against, against

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: The scores by their columns in `Validation.rows`, in the order of the table.
SCORES = {
    "first_order": "first order",
    "lower": "lower end of the bracket",
    "clever": "the paper's",
    "upper": "upper end of the bracket",
}
#: What has found a nearest flip besides an attack of its norm.
BRACKET, OTHER_NORMS = "bracket", "flips of other norms"
#: Pictures from which something can be said of a score.
_FEW = 10
#: A rank correlation that orders pictures, and the share of a good upper end that is near.
_ORDERS, _MOST = 0.9, 0.9
#: A ratio that two digits tell from 1.
_SEEN = 1.01
#: The share of pictures on which attacks have to come as near as the bracket to confirm it.
_CONFIRM = 0.5
#: How far an attack without gradients may end, in nearest flips, and still rival one with them.
_NO_RIVAL = 2.0


@dataclass(frozen=True, eq=False)
class Validation:
    """Scores of a network beside the nearest flips that are known.

    Attributes:
        rows: A row for each image, target and norm: the scores `first_order`, `lower`, `clever`,
            `upper` with their gradients, the distance that each attack has found (inf: none), the
            `nearest` of all and by what it was found. Rows that are not `attacked` have none.
        attacks: What came of each attack: rows, flips, of how many it came within 5 % of the
            nearest, its median distance over the nearest, seconds.
        findings: What was left out, and what went wrong.
    """

    rows: pd.DataFrame
    attacks: pd.DataFrame
    findings: list[Finding] = field(default_factory=list)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each norm and score, over the pictures of which a flip is known.

        Each picture counts once, by its smallest score and its nearest flip over the targets.
        `above`: of how many pictures the score is above that flip, so that it promises too much;
        `near`: of how many it is within 5 %; `ratio`, `low`, `high`: the median, smallest and
        largest of score / flip; `spearman`: their rank correlation; `gradients`: of a row, median.
        """
        import pandas as pd

        told = []
        for p in self.norms:
            pictures = self.pictures(p)
            rows = self._attacked(p)
            for column, name in SCORES.items():
                found = against(pictures[column], pictures["nearest"])
                spent = "lower_gradients" if column == "upper" else f"{column}_gradients"
                figures = {"norm": p, "score": name, "pictures": found.n, **_figures(found)}
                told.append({**figures, "gradients": rows[spent].median()})
        return pd.DataFrame(told)

    @property
    def norms(self) -> list[float]:
        """The norms, in order."""
        return [float(p) for p in self.rows["norm"].dropna().unique()]

    def _attacked(self, norm: float) -> pd.DataFrame:
        return self.rows[self.rows["attacked"] & (self.rows["norm"] == norm)]

    def pictures(self, norm: float) -> pd.DataFrame:
        """Return the smallest of each score and the nearest flip of each attacked picture.

        The column `attacks` has the nearest flip of attacks alone.
        """
        rows = self._attacked(norm)
        ran = [each for each in self.attacks["attack"].unique() if each in rows]
        theirs = rows.reindex(columns=[*ran, OTHER_NORMS]).fillna(math.inf).min(axis=1)
        groups = rows.assign(attacks=theirs).groupby("image_id", sort=False)
        return groups[[*SCORES, "attacks", "nearest"]].agg(_smallest)

    def words(self) -> list[str]:
        """Say what the figures mean: sentences."""
        said = [sentence for p in self.norms for sentence in self._of_norm(p)]
        pictures = self.rows.drop_duplicates("image_id")
        attacked = self.rows.loc[self.rows["attacked"], "image_id"].nunique()
        if attacked < len(pictures):
            wrong = int((pictures["status"] == "misclassified").sum())
            rest = len(pictures) - attacked - wrong
            parts = [f"{wrong} misclassified"] * bool(wrong) + [f"{rest} without a score"] * bool(
                rest
            )
            said.append(f"Left out: {' and '.join(parts)} of {len(pictures)} pictures.")
        flagged = int(self._flagged.sum())
        if flagged:
            said.append(
                f"{flagged} of {int(self.rows['attacked'].sum())} rows have a flag of gradient "
                "masking: their scores say nothing. Nearer flips than their upper ends may well "
                "exist, so that ratios to the nearest are larger than they seem. clever-ext check "
                "says what to do."
            )
        return said

    @property
    def _flagged(self) -> pd.Series[bool]:
        signs = self.rows["flags"].fillna("").str.contains("|".join(MASKING))
        flagged: pd.Series[bool] = signs & self.rows["attacked"]
        return flagged

    def _of_norm(self, p: float) -> Iterator[str]:
        pictures, of = self.pictures(p), f"p = {p:g}"
        known = int(np.isfinite(pictures["nearest"]).sum())
        if known < len(pictures):
            yield f"{of}: no flip is known of {len(pictures) - known} of {len(pictures)} pictures."
        if known < _FEW:
            yield (
                f"{of}: too few pictures with a flip ({known}) to say which score can be "
                f"believed; take {_FEW} or more."
            )
        else:
            yield from self._of_scores(p, of)
        yield from self._of_masking(p, of)

    def _of_scores(self, p: float, of: str) -> Iterator[str]:
        figures = self.table[self.table["norm"] == p].to_dict("records")
        scores = [each for each in figures if each["score"] != SCORES["upper"]]
        [upper] = [each for each in figures if each["score"] == SCORES["upper"]]
        never = [str(each["score"]) for each in scores if not each["above"]]
        if never:
            yield f"{of}: never above a known flip: {_joined(never)}."
        above = [
            f"{each['score']} on {each['above']} of {each['pictures']} (up to "
            f"{each['high']:{'.2f' if each['high'] >= _SEEN else '.3f'}} times)"
            for each in scores
            if each["above"]
        ]
        if above:
            yield f"{of}: above the nearest flip, too high to be believed there: {_joined(above)}."
        orders = [str(each["score"]) for each in scores if each["spearman"] >= _ORDERS]
        which = _joined(orders) if orders else "none"
        yield f"{of}: scores that rank pictures nearly as their nearest flips do: {which}."
        yield from self._of_upper(p, of, upper)

    def _of_upper(self, p: float, of: str, upper: dict[Hashable, Any]) -> Iterator[str]:
        """Say whether the bracket's own flips can be believed."""
        pictures = self.pictures(p)
        reached = int((pictures["attacks"] <= (1 + NEAR) * pictures["upper"]).sum())
        near, n = upper["near"], upper["pictures"]
        said = f"{of}: the bracket's own flip is within 5 % of the nearest on {near} of {n}"
        if not (self.attacks["norm"] == p).any():
            yield f"{of}: no attack of this norm has run, so that little stands beside the bracket."
        elif near >= _MOST * n and reached >= _CONFIRM * n:
            yield f"{said}: its upper end can be believed."
        elif near >= _MOST * n:
            yield (
                f"{said}, but attacks came as near on {reached} alone and confirm little: give "
                "them more gradients, with another folder."
            )
        elif (self._flagged & (self.rows["norm"] == p)).any() or self._unforeseen(p):
            yield f"{said}: gradients are hidden, and more of them will not help."
        else:
            yield f"{said}: give the bracket more gradients, with another folder."

    def _blind(self, p: float) -> tuple[list[str], list[str]]:
        """Return the attacks of a norm that see answers alone, and those that follow gradients."""
        ran = self.attacks[self.attacks["norm"] == p]
        by_gradients = ran["by_gradients"].astype(bool)
        return ran.loc[~by_gradients, "attack"].tolist(), ran.loc[by_gradients, "attack"].tolist()

    def _unforeseen(self, p: float) -> int:
        """Count the rows of a norm whose nearest flip only an attack without gradients has met."""
        blind, others = self._blind(p)
        rows = self._attacked(p)
        theirs, ours = (rows[each].min(axis=1) for each in (blind, ["upper", *others]))
        return int((theirs * (1 + NEAR) < ours).sum())

    def _of_masking(self, p: float, of: str) -> Iterator[str]:
        """Say whether an attack that sees answers alone came nearer than those by gradients."""
        blind, _ = self._blind(p)
        rows = self._attacked(p)
        if not blind or rows.empty:
            return
        n, which = self._unforeseen(p), f"{_joined(blind)}, which sees answers"
        far = float((rows[blind].min(axis=1) / rows["nearest"]).median())
        if n:
            yield (
                f"{of}: on {n} of {len(rows)} rows {which} alone, came nearer than all that follow "
                "gradients: gradients are masked there, and scores made of them are too high."
            )
        elif far <= _NO_RIVAL:
            yield f"{of}: {which} alone, came nearer on no row, and ends {far:.2f} times as far."
        else:
            yield (
                f"{of}: {which} alone, ends far off ({far:.3g} times the nearest flip): too weak "
                "to tell whether gradients are masked."
            )

    def figures(self) -> tuple[list[str], list[list[str]]]:
        """Return the table's head and rows as texts."""
        head = ["norm", "score", "above the flip", "score / flip", "range", "order", "within 5 %"]
        rows = []
        for row in self.table.to_dict("records"):
            is_flip = row["score"] == SCORES["upper"]  # one that is known: it cannot be wrong
            rows.append([
                f"{row['norm']:g}",
                str(row["score"]),
                "" if is_flip else f"{row['above']} of {row['pictures']}",
                f"{row['ratio']:.2f}",
                f"{row['low']:.2f}-{row['high']:.2f}",
                f"{row['spearman']:.2f}",
                f"{row['near']} of {row['pictures']}",
                f"{row['gradients']:,.0f}",
            ])  # fmt: skip
        return [*head, "gradients"], rows

    def plot(self, norm: float | None = None, ax: Axes | None = None) -> Axes:
        """Draw each score against the nearest flip of its picture; above the line it is wrong.

        Args:
            norm: Which norm's; None: the first.
            ax: Where to draw; None makes a figure.

        Returns:
            The axes; save with `.figure.savefig(path)`.

        Raises:
            CleverError: matplotlib is missing.
        """
        p = self.norms[0] if norm is None else float(norm)
        pictures = self.pictures(p)
        scores = {name: pictures[column].to_numpy() for column, name in SCORES.items()}
        ax = plot.against(pictures["nearest"].to_numpy(), scores, ax)
        ax.set_xlabel(f"nearest flip that is known (p = {p:g})")
        return ax

    def save(self, path: str | Path) -> None:
        """Write the rows as a Parquet file; it appears whole or not at all."""
        sink = io.BytesIO()
        self.rows.to_parquet(sink, index=False)
        durable.write(Path(path), sink.getvalue())

    def __repr__(self) -> str:
        head, rows = self.figures()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*lines, *self.words(), "figures: .table; rows: .rows; .attacks; .plot()"])

    def _repr_html_(self) -> str:
        return as_html("Scores beside the nearest known flips", self.words(), *self.figures())


def _figures(found: Against) -> dict[str, Any]:
    names = ("above", "near", "ratio", "low", "high", "spearman")
    return {name: getattr(found, name) for name in names}


def _smallest(values: pd.Series[float]) -> float:
    """Return the smallest; NaN where one is: a picture lacks a score if one of its targets does."""
    return float(values.min(skipna=False))


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
