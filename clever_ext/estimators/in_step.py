"""How many rows a search works on at a time, by the memory that their points take."""

from __future__ import annotations

import math

from ..machine import memory
from .subjects import Subjects

#: Bytes that the points of rows in step may take on a CPU.
_BYTES = 2**29
#: Of a GPU's memory that is left, the share that they may take: passes need the rest.
_SHARE = 0.25


def rows_in_step(subjects: Subjects, points: int, lanes: int = 1) -> int:
    """Return how many rows are worked on in step.

    On a GPU they fill device batches, as many as the power of two that there is memory for: a
    little more memory or less, and so another number, would round in another way.

    Args:
        subjects: The images; the engine must be ready.
        points: Buffers of one point that a row has.
        lanes: Points of a row that go through the model in one look.
    """
    image = subjects.batch.images[0]
    each = points * image.numel() * image.element_size()
    if not image.is_cuda:
        return max(1, _BYTES // each)
    left = int(_SHARE * memory.left_on(image.device))
    return rows_on_gpu(left, each, lanes, subjects.engine.plan.device_batch)


def rows_on_gpu(left: int, each: int, lanes: int, device_batch: int) -> int:
    """Return how many rows of so many bytes each fit, in whole device batches where one fits.

    Args:
        left: Bytes.
        each: Bytes of a row.
        lanes: Of a row.
        device_batch: Lanes that go through the model at once.
    """
    filling = math.lcm(device_batch, lanes) // lanes  # rows whose lanes fill batches
    batches = left // (each * filling)
    if batches == 0:
        return max(1, left // each)
    return int(filling * 2 ** (batches.bit_length() - 1))
