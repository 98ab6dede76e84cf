"""How passes are to be made: what was asked for, what trials chose, and what is remembered."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

from .preparation import check_options


@dataclass(frozen=True)
class Asked:
    """What the user asked for.

    Attributes:
        options: Names of `preparation.OPTIONS`.
        automatic: Whether others may be added.
        device_batch: How many points go through the model at once, or "auto".
    """

    options: tuple[str, ...]
    automatic: bool
    device_batch: int | str

    @classmethod
    def of(cls, prepare: Any, device_batch: int | str) -> Asked:
        """Read `prepare`, as `clever_score` takes it.

        Raises:
            CleverError: it names something else, or two options that exclude each other.
        """
        return cls(*check_options(prepare), device_batch)


@dataclass(frozen=True)
class Choice:
    """How passes are made, by what trials found to be fastest, and for how many gradients so."""

    options: tuple[str, ...]
    device_batch: int
    batched_backward: bool
    n_gradients: float = math.inf


#: What trials found for each model, by its `id`, as long as it lives, and by the kind of work: to
#: score it again takes no new ones. Models may be neither hashed nor compared.
_remembered: dict[int, tuple[weakref.ref[Any], dict[Any, Choice]]] = {}


def remembered_of(model: Any) -> dict[Any, Choice]:
    """Return the choices that are remembered for a model, by the kind of work; to be added to."""
    key = id(model)
    try:
        alive = weakref.ref(model, lambda _: _remembered.pop(key, None))
    except TypeError:  # a callable that cannot be remembered
        return {}
    return _remembered.setdefault(key, (alive, {}))[1]
