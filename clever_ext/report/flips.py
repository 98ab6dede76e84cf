"""The nearest flips of a run that kept them, as pictures beside those that they were made from."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .reading import Run
from .thumbnails import SIDE, encode, read_pictures

if TYPE_CHECKING:
    import pandas as pd
    import torch

#: What the page's scripts show of flips, by image id and norm.
Flips = Mapping[tuple[int, float], dict[str, Any]]

#: Changes of pixels that are none, and the share of the others that is not cut off.
_ROUNDING, _SHOWN = 1e-6, 0.98
_COLUMNS = ("image_id", "norm", "predicted", "target", "status", "nearest_flip", "witness")


def make_flips(run: Run, wanted: Collection[int]) -> Flips:
    """Draw the nearest flips of a run of brackets; nothing of a run that kept none.

    The difference is drawn around grey, as much larger as is told, and only where the picture can
    be read again.

    Args:
        run: The run.
        wanted: Image ids.
    """
    settings = run.result.metadata.get("settings", {})
    shape = tuple(settings.get("shape", ()))
    kept = run.brackets and settings.get("keep_witness", False)
    if not kept or len(shape) != 3 or shape[0] not in (1, 3):
        return {}
    nearest = _nearest(run, wanted)
    found, _ = read_pictures(run.result, {image for image, _ in nearest})
    pictures = dict(found)
    return {
        (image, norm): _drawn(run, row, shape, pictures.get(image))
        for (image, norm), row in nearest.items()
    }


def _nearest(run: Run, wanted: Collection[int]) -> dict[tuple[int, float], pd.Series[Any]]:
    """Return the row of the nearest flip, for each image and norm that has one."""
    found: dict[tuple[int, float], pd.Series[Any]] = {}
    for table in run.tables(_COLUMNS):
        kept = table[table["image_id"].isin(list(wanted)) & (table["witness"].map(len) > 0)]
        rows = kept.sort_values("nearest_flip", kind="stable")
        for _, row in rows.drop_duplicates(["image_id", "norm"]).iterrows():
            found[int(row["image_id"]), float(row["norm"])] = row
    return found


def _drawn(
    run: Run, row: pd.Series[Any], shape: tuple[int, ...], picture: torch.Tensor | None
) -> dict[str, Any]:
    import torch

    flip = torch.from_numpy(np.array(row["witness"], dtype=np.float32)).view(shape)
    drawn: dict[str, Any] = {
        "predicted": run.class_name(row["predicted"]),
        "target": run.class_name(row["target"]),
        "distance": f"{row['nearest_flip']:.4g}",
        "norm": f"{row['norm']:g}",
        "flip": encode(flip),
    }
    if picture is None or picture.shape != flip.shape:
        return drawn
    difference = flip - picture
    factor = _factor(difference.numpy())
    apart = -(-max(shape[1:]) // SIDE)  # of pixels that change up and down no mean would be left
    return drawn | {
        "picture": encode(picture),
        "difference": encode(0.5 + factor * difference[:, ::apart, ::apart]),
        "factor": f"{factor:g}",
    }


def _factor(difference: npt.NDArray[np.float32]) -> float:
    """Return 1, 2 or 5 times a power of ten, so that most changes nearly fill half of the range.

    A few pixels may change far more than all others, which would be grey beside them.
    """
    changes = np.abs(difference)
    changes = changes[changes > _ROUNDING]
    if len(changes) == 0:
        return 1.0
    room = 0.5 / float(np.quantile(changes, _SHOWN))
    power = 10.0 ** math.floor(math.log10(room))
    return power * max(step for step in (1, 2, 5) if step * power <= room * (1 + 1e-9))
