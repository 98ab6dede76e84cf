"""Attacks the rows of a run piece by piece; finished pieces are kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import ImageSource
from ..data.loading import Loader
from ..errors import in_short
from ..findings import Finding
from ..results.result import NO_TARGET, CleverResult
from ..runs.description import choice_of
from ..runs.scorer import Scorer
from .attacks import Attack, Chosen, distances_of, of_norm
from .pair import Work, nearest_starts
from .parts import Parts, Shape

if TYPE_CHECKING:
    import pandas as pd

#: Rows of a piece at most, where the model takes as many points at once.
_ROWS = 64
#: Where attacks may begin besides: other pictures, noise and shades of grey.
_PICTURES, _NOISE, _SHADES = 32, 16, 5


def attackable(table: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows of a result can be attacked: the network is right there, and has a target."""
    left_out = table["status"].isin(("misclassified", "error", NO_TARGET))
    margin = table["margin"].to_numpy(dtype=np.float64)
    found: pd.Series[bool] = ~left_out & np.isfinite(margin) & (margin > 0)
    return found


@dataclass
class Attacking:
    """Attacks on the rows of a run of brackets.

    Attributes:
        run: The rows of the run, and its description.
        scorer: The model, and how pictures become its input.
        source: The pictures.
        chosen: The attacks.
        gradients: Of each, for each row.
        out: The folder that keeps what they find.
        loader: Of the pictures.
        tell: What is called with what is done.
        findings: What went wrong.
    """

    run: CleverResult
    scorer: Scorer
    source: ImageSource
    chosen: Chosen
    gradients: int
    out: Path
    loader: Loader
    tell: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)

    def found(self) -> Iterator[pd.DataFrame]:
        """Yield what each attack has found of each piece, finished pieces first read.

        Attacks that are not chosen, but that the folder keeps, count too. The columns are
        `image_id`, `target`, `by` (the norm that the attack minimised), `attack`, `library`,
        `norm`, `distance`, and `seconds`, those of the piece on its first row.
        """
        made = {"run": self.run.metadata["run_id"], "gradients": self.gradients}
        parts, table = Parts(self.out, made), self.run.table
        with frozen(self.scorer.model.model):
            for p in self.norms:
                rows = table[attackable(table) & (table["norm"] == p)]
                for piece, start in enumerate(range(0, len(rows), self.size)):
                    some = rows.iloc[start : start + self.size]
                    yield from self._piece(parts, p, piece, some)

    @cached_property
    def norms(self) -> list[float]:
        """The norms of the run."""
        return [float(p) for p in self.run.metadata["settings"]["norms"]]

    @cached_property
    def size(self) -> int:
        """Rows of a piece: no more than the run has sent through the model at once."""
        return min(_ROWS, choice_of(self.run.metadata).device_batch)

    def _piece(
        self, parts: Parts, p: float, piece: int, rows: pd.DataFrame
    ) -> Iterator[pd.DataFrame]:
        known = rows["nearest_flip"].to_numpy(dtype=np.float64)
        shape = Shape(len(rows), self.norms)
        work = None
        for attack in of_norm(p):
            more = {"rows": _digest(rows)}
            if attack in self.chosen.attacks:
                more["library"] = self.chosen.versions[attack.library]
            part = parts.read(attack.name, p, piece, more, shape)
            if part is None and attack not in self.chosen.attacks:
                continue
            if part is None:
                work = self._work(rows) if work is None else work
                distances, seconds = self._attacked(attack, work, p, known)
                if distances is None:
                    continue
                part = parts.write(attack.name, p, piece, more, distances, seconds)
            yield from (_table(rows, p, attack, q, part) for q in self.norms)

    def _attacked(self, attack: Attack, work: Work, p: float, known: Any) -> tuple[Any, float]:
        """Attack rows; None in the place of distances where the attack raises."""
        begin = time.monotonic()
        try:
            found = distances_of(attack, work, p, self.norms, self.gradients, known)
        except Exception as error:  # whatever the code of others raises on this model
            said = f"{attack.name} failed on {len(known)} rows of p = {p:g} ({in_short(error)})"
            fix = "leave it out by --attacks; it is tried again when the command goes on"
            self.findings.append(Finding("model", said, fix))
            return None, 0.0
        seconds = time.monotonic() - begin
        n_found = int(np.isfinite(found[p]).sum())
        flips = f"{n_found} of {len(known)} rows have a flip"
        self.tell(f"{attack.name}, p = {p:g}: {flips}, {seconds:.1f} s")
        return found, seconds

    def _work(self, rows: pd.DataFrame) -> Work:
        x = self._pictures(rows["image_id"].tolist())
        pairs = torch.from_numpy(rows[["predicted", "target"]].to_numpy(dtype=np.int64))
        pairs, model = pairs.to(x.device), self.scorer.model.model
        starts = nearest_starts(model, x, pairs, self._among.to(x), 1)
        return Work.of(model, x, pairs[:, 0], pairs[:, 1], starts)

    @cached_property
    def _among(self) -> Tensor:
        """Points at which attacks may begin: some pictures, noise, and shades of grey."""
        table = self.run.table
        known = table.loc[attackable(table), "image_id"].unique()[:_PICTURES]
        pictures = self._pictures(known.tolist())
        shape = pictures.shape[1:]
        noise = torch.rand(_NOISE, *shape, generator=torch.Generator().manual_seed(0))
        shades = torch.linspace(0, 1, _SHADES).reshape(-1, *[1] * len(shape)).expand(-1, *shape)
        return torch.cat([pictures, noise.to(pictures), shades.to(pictures)])

    def _pictures(self, image_ids: list[int]) -> Tensor:
        """Return pictures [N, *shape] as the model gets them; one may be asked for several times.

        Raises:
            CleverError: one cannot be read any more.
        """
        once = list(dict.fromkeys(image_ids))
        loaded = self.loader.submit([self._records[each] for each in once]).result()
        failed = [each.error for each in loaded if each.error is not None]
        if failed:
            raise failed[0]
        x = self.scorer.batch(loaded, labels=False).images
        place = {each: n for n, each in enumerate(once)}
        return x[[place[each] for each in image_ids]]

    @cached_property
    def _records(self) -> dict[int, Any]:
        return {record.image_id: record for record in self.source}


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let attacks leave no gradients behind in a model's parameters."""
    asked = [each for each in model.parameters() if each.requires_grad]
    for each in asked:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in asked:
            each.requires_grad_(True)


def _digest(rows: pd.DataFrame) -> str:
    """Name the rows of a piece."""
    text = rows[["image_id", "predicted", "target"]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _table(
    rows: pd.DataFrame, p: float, attack: Attack, q: float, part: dict[str, Any]
) -> pd.DataFrame:
    once = [part["seconds"] if q == p else 0.0] + [0.0] * (len(rows) - 1)
    return rows[["image_id", "target"]].assign(
        by=p, attack=attack.name, library=part["made"]["library"], norm=q,
        distance=part["distances"][q], seconds=once,
    )  # fmt: skip
