"""Figures that a notebook shows.

They are made without pyplot, which needs no display and opens no window. So no notebook knows of
them, and each says itself how it looks. IPython asks for it where one is the last thing of a cell.
"""

from __future__ import annotations

import io
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


class ShownAxes(Axes):
    """Axes in such a figure, of which a notebook shows the whole."""

    def _repr_png_(self) -> bytes:
        return cast(ShownFigure, self.figure)._repr_png_()
