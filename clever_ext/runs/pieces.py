"""How the pictures of a run are cut into pieces, each of which becomes one part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.utils.flop_counter import FlopCounterMode

from ..errors import CleverError
from ..estimators.subjects import Subjects
from ..estimators.table import gradients_of_image
from ..inputs.settings import Settings

T = TypeVar("T")

#: Floating-point operations of a piece: half a minute of a few CPU cores, a second of a GPU. What
#: is lost when a process is killed is a piece at most.
_OPERATIONS = {"cpu": 2**43, "cuda": 2**45}
#: Passes forward that a gradient is worth, and operations of an element's sample and norm.
_PASSES, _OF_ELEMENT = 3, 20
#: Pictures of a piece at most, their gradients and bytes: two pieces are in memory at a time.
_IMAGES, _GRADIENTS, _BYTES = 1024, 2**18, 2**26


@dataclass(frozen=True)
class Pieces:
    """The division of a run.

    Attributes:
        n_images: Pictures of the whole.
        size: Pictures of a piece.
        shard: (i, n): which pieces this run scores: i, i + n, i + 2n and so on. The whole: (0, 1).
    """

    n_images: int
    size: int
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        first, n = self.shard
        if not 0 <= first < n:
            raise CleverError(
                f"shard is {self.shard}",
                "(i, n) with 0 <= i < n, such as (0, 4) to (3, 4)",
                "number the shards from 0",
            )

    @property
    def count(self) -> int:
        """Pieces of the whole."""
        return -(-self.n_images // self.size)

    @property
    def numbers(self) -> range:
        """The pieces of this run."""
        return range(self.shard[0], self.count, self.shard[1])

    def places(self, number: int) -> range:
        """Return the places of a piece's pictures in the listing."""
        first = number * self.size
        return range(first, min(first + self.size, self.n_images))

    def records(self, source: Sequence[T], number: int) -> list[T]:
        """Return a piece's pictures."""
        return [source[place] for place in self.places(number)]

    def images(self, numbers: Sequence[int] | range) -> int:
        """Return how many pictures some pieces have."""
        return sum(len(self.places(number)) for number in numbers)

    def to_json(self) -> dict[str, Any]:
        """Return what `run.json` says of it."""
        return {"images": self.n_images, "size": self.size, "shard": list(self.shard)}

    @classmethod
    def of(cls, description: dict[str, Any]) -> Pieces:
        """Read it from what `run.json` says."""
        of_run = description["pieces"]
        first, n = of_run["shard"]
        return cls(of_run["images"], of_run["size"], (first, n))


def piece_size(subjects: Subjects, settings: Settings) -> int:
    """Choose how many pictures make a piece, by what one of them costs.

    Operations are counted, not timed: the same command must cut the same pieces everywhere.

    Args:
        subjects: One picture, in an engine that has checked the model.
        settings: Of the scores.
    """
    images, engine = subjects.batch.images, subjects.engine
    with engine.running(images.device), FlopCounterMode(display=False) as counter:
        engine.own.oracle.logits(images)
    of_gradient = _PASSES * counter.get_total_flops() + _OF_ELEMENT * images.numel()
    affordable = _OPERATIONS[images.device.type] // of_gradient
    each = gradients_of_image(settings, subjects.n_targets)
    kept = 0
    if settings.keep_witness:  # two points of each row, as float64, until one of them is chosen
        kept = 16 * images.numel() * subjects.n_targets * len(settings.balls)
    size = min(min(affordable, _GRADIENTS) // each, _BYTES // (images.nbytes + kept), _IMAGES)
    return max(1, int(size))
