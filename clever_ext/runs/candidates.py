"""Points that others have found for the pictures of a run, such as attacks: from a file."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import ImageRecord, ImageSource
from ..errors import CleverError, few

Array = npt.NDArray[Any]

#: The names of the two arrays of a file that numbers its pictures.
_ID, _POINTS = "image_id", "points"
#: How far points may be outside the range of valid data, in widths of it: rounding.
_SLACK = 1e-4


class Candidates:
    """Points by picture, in the model's units: arrays [M, *shape], or [*shape] where it is one.

    A .npz file has an array for each picture that has points, by the picture's name; or the two
    arrays `image_id` [N] and `points` [N, M, *shape] or [N, *shape]. They are read when they are
    asked for.

    Args:
        path: Of the file.

    Raises:
        CleverError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._file: Any = np.load(self.path, allow_pickle=False)
            self._names: list[str] = sorted(self._file.files)
        except (OSError, ValueError, AttributeError) as error:  # a single array has no files
            raise self._unreadable(error) from error
        self._numbered = set(self._names) == {_ID, _POINTS}
        self._shape: tuple[int, ...] = ()
        self._places: dict[int, Any] = {}  # by picture, once they are checked
        self._counts: dict[int, int] = {}
        self.digest = ""

    def _unreadable(self, error: Exception) -> CleverError:
        return CleverError(
            f"the candidates in {self.path} cannot be read: {error}",
            "a .npz file of numpy, with an array of points for each picture",
            "write it with np.savez(path, **{name: points})",
        )

    def _array(self, name: str) -> Array:
        try:
            array: Array = self._file[name]
        except Exception as error:  # of a damaged archive, or an array of objects
            raise self._unreadable(error) from error
        return array

    def check(self, source: ImageSource, shape: tuple[int, ...], clip: tuple[float, float]) -> None:
        """Read all points once, and refuse what does not suit the pictures.

        Args:
            source: The pictures of the run.
            shape: Of one, as the model gets it.
            clip: Range of valid data.

        Raises:
            CleverError: a picture is unknown, or points have another shape, type or range.
        """
        digest = hashlib.sha256()
        known = {r.image_id if self._numbered else r.name: r.image_id for r in source}
        entries = self._entries()
        unknown = [str(key) for key in entries if key not in known]
        if unknown:
            what = _ID if self._numbered else "names"
            raise CleverError(
                f"the candidates in {self.path} are of pictures that the run does not have: {what} "
                f"{few(unknown)}",
                "pictures of the run, as its columns `image` and `image_id` name them",
                "leave the others out of the file",
            )
        for key, place in entries.items():
            points = self._points(place)
            _check(str(key), points, shape, clip)
            digest.update(f"{key} {points.dtype} {points.shape}".encode())
            digest.update(np.ascontiguousarray(points).data)
            self._places[known[key]] = place
            self._counts[known[key]] = 1 if points.shape == shape else len(points)
        self._shape, self.digest = shape, digest.hexdigest()

    def _entries(self) -> dict[Any, Any]:
        """Return where the points of pictures are, by name or number."""
        if not self._numbered:
            return {name: name for name in self._names}
        ids = self._array(_ID)
        if ids.dtype.kind not in "iu" or ids.shape != self._all.shape[:1] or len({*ids}) < len(ids):
            raise CleverError(
                f"{_ID} in {self.path} is {ids.dtype} of shape {list(ids.shape)}, and {_POINTS} of "
                f"shape {list(self._all.shape)}",
                "an integer for each picture, each once, and as many sets of points",
                "number them as the run's column image_id does",
            )
        return dict(zip(ids.tolist(), range(len(ids)), strict=True))

    @cached_property
    def _all(self) -> Array:
        """The points of a file that numbers its pictures."""
        return self._array(_POINTS)

    def _points(self, place: Any) -> Array:
        points: Array = self._all[place] if self._numbered else self._array(place)
        return points

    @property
    def most(self) -> int:
        """The most points of a picture."""
        return max(self._counts.values(), default=0)

    def words(self, source: ImageSource) -> str:
        """Say how many pictures have points."""
        return (
            f"{sum(self._counts.values()):,} candidates for {len(self._counts):,} of "
            f"{len(source):,} pictures: a search looks at them too"
        )

    def count(self, record: ImageRecord) -> int:
        """Return how many points a picture has."""
        return self._counts.get(record.image_id, 0)

    def of(self, record: ImageRecord) -> Array:
        """Return the points [M, *shape] of a picture that has some."""
        return self._points(self._places[record.image_id]).reshape(-1, *self._shape)


def _check(key: str, points: Array, shape: tuple[int, ...], clip: tuple[float, float]) -> None:
    """Refuse the points of a picture that are not as the model gets it."""
    fits = points.shape == shape or points.shape[1:] == shape
    if points.dtype.kind != "f" or not fits or points.size == 0:
        raise CleverError(
            f"the candidates of {key} are {points.dtype} of shape {list(points.shape)}",
            f"floating-point numbers [{', '.join(map(str, ('M', *shape)))}] in the units of "
            "the model's input, which are pixels in [0, 1]",
            "write them as the model gets them: divide bytes by 255",
        )
    low, high = clip
    slack = _SLACK * (high - low) if np.isfinite(high - low) else 0.0
    least, most = float(points.min()), float(points.max())
    if not (low - slack <= least and most <= high + slack and np.isfinite([least, most]).all()):
        raise CleverError(
            f"the candidates of {key} hold values from {least:.4g} to {most:.4g}",
            f"finite values from {low:g} to {high:g}",
            "write them in the units of the model's input, pixels in [0, 1]; or give --clip",
        )
