"""How the pictures of a run are cut into pieces, each of which becomes one part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..inputs import Settings

T = TypeVar("T")

#: Gradients of a piece: few enough that little is lost with it, enough to fill the device batches.
_GRADIENTS = 2**14
#: Pictures of a piece at most, and their bytes: two pieces are in memory at a time.
_IMAGES, _BYTES = 256, 2**26


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


def piece_size(settings: Settings, n_targets: int, image_bytes: int) -> int:
    """Choose how many pictures make a piece, from what is known before the first gradient.

    Nothing measured goes into it: the same command must cut the same pieces everywhere.
    """
    each = gradients_per_image(settings, n_targets)
    return max(1, min(_GRADIENTS // each, _BYTES // max(1, image_bytes), _IMAGES))


def gradients_per_image(settings: Settings, n_targets: int) -> int:
    """Return the most gradients that a picture takes; a race or a tolerance may spend fewer."""
    limited = settings.estimator == "steepest" or settings.tolerance is not None
    of_row = settings.max_gradients if limited else settings.n_batches * settings.batch_samples
    return of_row * n_targets * len(settings.balls)
