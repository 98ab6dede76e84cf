"""What attacks have found, kept piece by piece in the folder of a validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import durable
from ..errors import CleverError
from ..runs.identity import leaves
from .pair import Floats


class Shape(NamedTuple):
    """How many rows a part has, and the norms in which their flips are measured."""

    rows: int
    norms: list[float]


class Parts:
    """A file of JSON for each attack, norm and piece of rows; each appears whole or not at all.

    Args:
        path: The folder, which is there.
        made: What all of them were made from: the run that was attacked, and the settings.
    """

    def __init__(self, path: Path, made: dict[str, Any]) -> None:
        self.path, self.made = path, made

    def _file(self, attack: str, p: float, piece: int) -> Path:
        return self.path / f"{attack}-l{p:g}-{piece:05d}.json"

    def read(
        self, attack: str, p: float, piece: int, more: dict[str, Any], shape: Shape
    ) -> dict[str, Any] | None:
        """Return a finished part; None: there is none, or it is damaged.

        Args:
            attack: The name of the attack.
            p: The norm that it minimised.
            piece: The number of the piece.
            more: What else the part was made from: its rows, the library; what is left out may be
                any.
            shape: Of its distances.

        Returns:
            Its "distances" [N] of each norm, its "seconds", and what it was "made" from.

        Raises:
            CleverError: it was made otherwise.
        """
        file = self._file(attack, p, piece)
        try:
            part: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            distances = {float(q): _read(values) for q, values in part["distances"].items()}
            made, part["seconds"] = dict(part["made"]), float(part["seconds"])
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None  # missing or damaged: it is made again
        here = json.loads(json.dumps({**self.made, **more}))
        old, new = dict(leaves(made)), dict(leaves(here))
        different = [name for name in new if old.get(name) != new[name]]
        if different:
            said = "; ".join(f"{n} was {old.get(n)}, now it is {new.get(n)}" for n in different)
            raise CleverError(
                f"the attacks in {self.path} were made otherwise: {said}",
                "the same model, pictures, settings and libraries",
                "start it with the settings that it was made with, or choose another --out",
            )
        if not isinstance(made.get("library"), str) or not all(
            len(distances.get(q, ())) == shape.rows and (distances[q] >= 0).all()
            for q in shape.norms
        ):
            return None
        return {**part, "distances": distances}

    def write(
        self,
        attack: str,
        p: float,
        piece: int,
        more: dict[str, Any],
        distances: dict[float, Floats],
        seconds: float,
    ) -> dict[str, Any]:
        """Keep a part, and return it; the arguments are those of `read`, and what it returns.

        Raises:
            CleverError: it cannot be written.
        """
        part = {
            "made": {**self.made, **more},
            "seconds": round(seconds, 3),
            "distances": {f"{q:g}": _written(values) for q, values in distances.items()},
        }
        durable.write(self._file(attack, p, piece), (json.dumps(part) + "\n").encode())
        return {**part, "distances": distances}


def _written(values: Floats) -> list[float | None]:
    """JSON knows no infinity: where there is no flip there is null."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _read(values: list[float | None]) -> Floats:
    return np.array([math.inf if value is None else value for value in values], dtype=np.float64)
