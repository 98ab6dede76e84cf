"""Arguments as people hold them, made plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, SupportsIndex

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .errors import CleverError


class SupportsArray(Protocol):
    """An array: of NumPy, torch, pandas or another library."""

    def __array__(self) -> Any: ...


Arrays = SupportsArray | Sequence[SupportsArray]
#: Whole numbers, such as labels and classes. A text is none of these, though it is a sequence.
Integers = SupportsArray | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]

#: Characters of a value that a message shows.
_SHOWN = 120


def shown(value: Any) -> str:
    """Return what a message shows of a value that was given."""
    try:
        text = repr(value)
    except Exception:  # whatever a class of the user's raises, or an integer of too many digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_array(value: Any) -> bool:
    """Tell whether something is an array or tensor with axes."""
    return isinstance(value, (np.ndarray, Tensor)) and value.ndim > 0


def is_several(value: Any) -> bool:
    """Tell whether an argument holds several values; text and an array's own number are one."""
    if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
        return False
    return not isinstance(value, (np.ndarray, Tensor)) or is_array(value)


def number(value: Any, text: bool = False) -> float:
    """Return a real number as a float; NaN for what is none.

    Args:
        value: Any. An array or tensor without axes is a number, True is none.
        text: Whether digits are one too.
    """
    wrong = (bool, np.bool_, bytes, bytearray) if text else (bool, np.bool_, bytes, bytearray, str)
    if isinstance(value, wrong) or is_array(value):
        return math.nan
    if str(getattr(value, "dtype", "")).removeprefix("torch.").startswith(("complex", "bool")):
        return math.nan
    try:
        return float(value)
    except Exception:  # whatever a class raises, and integers beyond the largest float
        return math.nan


def check_share(name: str, value: Any) -> float:
    """Return a number between 0 and 1.

    Raises:
        CleverError: it is none.
    """
    share = number(value)
    if not 0 < share < 1:
        raise CleverError(
            f"{name}={shown(value)} is no share",
            "a number between 0 and 1",
            f"give {name}=0.05, 0.95 or so",
        )
    return share


def check_flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        CleverError: it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise CleverError(
            f"{name}={shown(value)} is neither True nor False",
            "True or False",
            f"give {name}=True, or leave it out",
        )
    return bool(value)


def integers(values: Any) -> npt.NDArray[np.int64] | None:
    """Return integers as an array of int64; None for anything else, or where some are hidden."""
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except Exception:  # ragged lists, and tensors that hold no plain values
        return None
    if array.dtype.kind not in "iu" or np.ma.is_masked(values):
        return None
    if array.size and array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        return None
    return array.astype(np.int64)


def check_name(name: str, value: Any) -> str | None:
    """Return a text, or None.

    Raises:
        CleverError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise CleverError(f"{name}={shown(value)} is no text", "a text", "leave it out")
    return value
