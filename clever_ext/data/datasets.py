"""Pictures that Python holds already: tensors, lists, torch's and Hugging Face's data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import CleverError, in_short
from .columns import UNUSED, label_column, picture_column
from .records import ImageRecord, Listing, known_labels

KIND = "dataset"
"""What a listing of such pictures is called; they are read in the process that holds them."""

#: Axes of a picture with channels; parts of an item that has a label.
_COLOURED, _LABELLED = 3, 2
#: Items of which the labels are held against those that their data set tells, about.
_COMPARED = 8


@dataclass(frozen=True, eq=False)
class Item:
    """The picture of one item.

    Attributes:
        items: What holds it; not copied.
        index: Which one.
        key: The name of the picture in it, where an item is a dictionary.
    """

    items: Any
    index: int
    key: str | None = None

    def read(self) -> bytes | npt.NDArray[Any] | Image.Image:
        """Return the picture's file, its pixels or Pillow's picture.

        Raises:
            CleverError: If it is none of these.
        """
        item = self.items[self.index]
        if self.key is not None:
            item = item[self.key]
        elif _is_pair(item):
            item = item[0]
        return _picture(item, self.index)


def _picture(value: Any, index: int) -> bytes | npt.NDArray[Any] | Image.Image:
    if isinstance(value, Mapping):  # Hugging Face's picture, not decoded
        content = value.get("bytes")
        value = Path(value["path"]).read_bytes() if content is None else content
    if isinstance(value, (bytes, Image.Image)):
        return value
    of_torch = hasattr(value, "detach")
    if of_torch:
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    try:
        values = np.asarray(value)
        if of_torch and values.dtype == np.uint8 and values.ndim == _COLOURED:
            values = np.moveaxis(values, 0, -1)  # torch has channels first
        levels = values.ndim == _COLOURED - 1 or (
            values.ndim == _COLOURED and values.shape[-1] in (1, 3, 4)
        )
        fits = levels if values.dtype == np.uint8 else values.ndim and values.dtype.kind == "f"
        if not fits:
            raise TypeError(f"{values.dtype} of shape {list(values.shape)}")
    except (ValueError, TypeError) as error:
        raise CleverError(
            f"item {index} holds no picture: {type(value).__name__} ({in_short(error)})",
            "a picture of Pillow; floating-point numbers [channels, height, width]; or 8-bit "
            "levels, [height, width, channels] in NumPy and [channels, height, width] in torch",
            "give such pictures, with the class behind them: (picture, class)",
        ) from error
    return np.ascontiguousarray(values)


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) > 0


def is_held(pictures: object) -> bool:
    """Tell whether Python may hold pictures so: a name is none, nor is a plain dictionary."""
    a_name = isinstance(pictures, (str, bytes))
    if a_name or (isinstance(pictures, Mapping) and not hasattr(pictures, "column_names")):
        return False
    return hasattr(pictures, "__iter__") or hasattr(pictures, "__getitem__")


def list_held(pictures: Any, split: str | None, picture: str | None, label: str | None) -> Listing:
    """List pictures that Python holds.

    The place of a picture is its name and its id, so that its samples are those that `clever_score`
    draws for the same pictures in a tensor.

    Args:
        pictures: A tensor or an array [N, *shape]; a list of pictures or of (picture, class); a
            map-style data set of torch, or a DataLoader of one; a data set of Hugging Face.
        split: Which of the data sets of a dictionary.
        picture: The column of the pictures, where it was asked for.
        label: That of the labels.

    Raises:
        CleverError: If they cannot be listed.
    """
    items = _of_split(_of_loader(pictures), split)
    n = _length(items)
    if hasattr(items, "features") and hasattr(items, "column_names"):
        found = _hugging_face(items, picture, label)
    else:
        found = _map_style(items, n, picture, label)
    places, labels, names, labels_from = found
    kind = f"{type(items).__module__.partition('.')[0]}.{type(items).__name__}"
    return Listing(
        KIND,
        [
            ImageRecord(str(index), index, each, places(index))
            for index, each in enumerate([None] * n if labels is None else known_labels(labels, n))
        ],
        labels_from=labels_from,
        why="the data set has none beside the pictures",
        fix="give pairs of picture and label, or cx.open_images(pictures, labels=[...])",
        label_names=names,
        facts=(f"{n} {kind}",),
    )


_Found = tuple[Callable[[int], Item], Sequence[Any] | None, Sequence[str] | None, str]


def _of_loader(pictures: Any) -> Any:
    """Return the data set behind a DataLoader that gives each of its items, as they are, once."""
    from torch.utils import data

    if not isinstance(pictures, data.DataLoader):
        return pictures
    sampler: Any = pictures.sampler
    kind: Any = type(sampler)
    everything: Any = pictures.dataset if kind is data.SequentialSampler else None
    if kind is data.RandomSampler and not sampler.replacement:
        everything = sampler.data_source
    batches: Any = pictures.batch_sampler
    batched = batches is None or (type(batches) is data.BatchSampler and batches.sampler is sampler)
    n = _length(pictures.dataset)
    whole = everything is pictures.dataset and batched and len(sampler) == n
    left_out = pictures.drop_last and n % (pictures.batch_size or 1)
    plain = pictures.collate_fn is data.default_collate or batches is None
    if not plain or not whole or left_out:
        raise CleverError(
            "the DataLoader "
            + ("has a collate_fn of its own" if not plain else "takes a part of its data set"),
            "one that gives each item of its data set as it is, once",
            "give the data set that it reads, or torch.utils.data.Subset of it",
        )
    return pictures.dataset


def _of_split(pictures: Any, split: str | None) -> Any:
    if not isinstance(pictures, Mapping):
        if split is None:
            return pictures
        raise CleverError(
            f"split is {split!r}, and there is one data set", "no split", "leave it out"
        )
    known = ", ".join(map(repr, pictures))
    if split is None and len(pictures) == 1:
        return next(iter(pictures.values()))
    if split not in pictures:
        raise CleverError(
            f"there are several data sets, and split is {split!r}",
            f"one of {known}",
            "say which, such as split='test'",
        )
    return pictures[split]


def _length(items: Any) -> int:
    try:
        n = len(items) if hasattr(items, "__getitem__") else None
    except TypeError:  # of torch's data sets that are but streams
        n = None
    if n is None:
        raise CleverError(
            f"{type(items).__name__} has no length, or cannot be read in any order",
            "a list, an array or a data set with a length, whose items can be had by their number",
            "collect its items in a list",
        )
    if n == 0:
        raise CleverError("there are no pictures", "at least one", "check the data set")
    return n


def _hugging_face(items: Any, picture: str | None, label: str | None) -> _Found:
    """Read a data set as it is stored: what transforms would make of the pictures is not wanted."""
    features = items.features
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    fit = [name for name in kinds if kinds[name] in ("Image", "Array2D", "Array3D")]
    fit += [name for name in kinds if getattr(features[name], "dtype", None) == "binary"]
    where = f"the data set with the columns {', '.join(map(repr, kinds))}"
    column = picture_column(fit, picture, where)
    if column is None:
        raise CleverError(
            f"{where} has no column of pictures",
            "one of the type Image",
            "cast it with cast_column",
        )
    others = [name for name in kinds if name != column]
    labels = label_column(others, label, where, column)
    stored = items.with_format(None)
    if kinds[column] == "Image":  # its bytes are decoded as those of files are
        stored = stored.cast_column(column, type(features[column])(decode=False))
    elif kinds[column].startswith("Array"):
        stored = items.with_format("numpy")
    stored = stored.select_columns(column)
    found = None if labels is None else items.with_format(None).select_columns(labels)[:][labels]
    names = None if labels is None else getattr(features[labels], "names", None)
    return lambda index: Item(stored, index, column), found, names, f"the column {labels!r}"


def _map_style(items: Any, n: int, picture: str | None, label: str | None) -> _Found:
    first = _item(items, 0)
    if isinstance(first, Mapping) and "bytes" not in first:
        return _dictionaries(items, n, first, picture, label)
    if picture is not None or label not in (None, UNUSED):
        raise CleverError(
            f"the items are {type(first).__name__}, which have no columns",
            "image_column and label_column of data sets with columns",
            "leave them out; labels can be given as a list (labels=[...])",
        )
    place, what = (lambda index: Item(items, index)), "the data set's own"
    if isinstance(items, (list, tuple)) and len(set(map(_is_pair, items))) > 1:
        raise CleverError(
            "some items are (picture, class), and some are not",
            "a class for every picture, or for none",
            "give all of them one",
        )
    if label == UNUSED or not _is_pair(first) or len(first) < _LABELLED:
        return place, None, None, what
    known = _targets(items, n)
    some = range(0, n, max(1, n // _COMPARED))
    if known is None or any(_other(_item(items, k)[1], known[k]) for k in some):
        return place, [_item(items, index)[1] for index in range(n)], None, what
    return place, known, _classes(items), what


def _dictionaries(
    items: Any, n: int, first: Mapping[str, Any], picture: str | None, label: str | None
) -> _Found:
    may_be = [name for name in first if picture == name or _may_be_picture(first[name])]
    key = picture_column(may_be, picture, "an item")
    others = [name for name in first if name != key]
    of_item = label_column(others, label, "an item", key or "")
    labels = None if of_item is None else [_item(items, index)[of_item] for index in range(n)]
    names = None if of_item is None else _classes(items, of_item)
    return lambda index: Item(items, index, key), labels, names, f"the entry {of_item!r}"


def _may_be_picture(value: Any) -> bool:
    held = isinstance(value, (bytes, Image.Image, Mapping))
    return held or len(getattr(value, "shape", ())) >= _COLOURED - 1


def _item(items: Any, index: int) -> Any:
    try:
        return items[index]
    except Exception as error:  # the user's code runs here
        raise CleverError(
            f"item {index} of the pictures cannot be read ({in_short(error)})",
            "pictures and classes by their number",
            "mend the data set, or give a list",
        ) from error


def _other(label: Any, known: Any) -> bool:
    """Tell whether an item has another label than the data set tells."""
    try:
        return bool(label != known)
    except (ValueError, RuntimeError):  # of labels that are no numbers
        return True


def _targets(items: Any, n: int) -> Sequence[Any] | None:
    """Return the labels that a data set tells without reading a picture, as torchvision's do."""
    from torch.utils import data  # for whoever has such data sets torch is there

    kind: Any = type(items)
    if kind is data.Subset:
        inner = _targets(items.dataset, len(items.dataset))
        return None if inner is None else [inner[index] for index in items.indices]
    if kind is data.ConcatDataset:
        parts = [_targets(each, len(each)) for each in items.datasets]
        return None if None in parts else [label for part in parts for label in part or ()]
    if kind is data.TensorDataset:
        return list(items.tensors[1].tolist())
    known = getattr(items, "targets", None)
    if known is None or not hasattr(known, "__len__") or len(known) != n:
        return None
    return known.tolist() if hasattr(known, "tolist") else list(known)


def _classes(items: Any, column: str = "") -> Sequence[str] | None:
    """Return the names of the classes of a data set, or of that which it is a part of."""
    from torch.utils import data

    kind: Any = type(items)
    if kind is data.Subset:
        return _classes(items.dataset, column)
    if kind is data.ConcatDataset:
        first, *rest = (_classes(each, column) for each in items.datasets)
        return first if all(each == first for each in rest) else None
    if hasattr(items, "features") and hasattr(items, "column_names"):
        names = getattr(items.features.get(column), "names", None)
    else:
        names = getattr(items, "classes", None)
    texts = isinstance(names, (list, tuple)) and all(isinstance(each, str) for each in names)
    return list(names) if names and texts else None
