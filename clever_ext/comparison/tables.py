"""What a comparison found, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Tables:
    """The numbers of a comparison, as `Comparison` explains them."""

    names: tuple[str, ...]
    confidence: float
    pairs: pd.DataFrame
    models: pd.DataFrame
    by_class: pd.DataFrame
    moved: pd.DataFrame
    dropped: pd.DataFrame
