"""Which of several names, of columns, arrays or keys, holds pictures or their labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..errors import CleverError
from .splits import splits_in

_LABELS = frozenset({
    "label", "labels", "class", "classes", "cls", "target", "targets", "y", "category",
    "categories", "wnid", "wnids", "synset", "synsets", "truth", "groundtruth", "gt",
})  # fmt: skip
_OTHER = frozenset({
    "predicted", "prediction", "predictions", "pred", "preds", "score", "scores", "confidence",
    "prob", "probs", "probability", "probabilities", "logit", "logits", "weight", "weights",
    "num", "n", "count", "counts",
})  # fmt: skip
#: Beside such columns, "y" is a place in a picture.
_COORDINATES = re.compile(r"(?i)x|z|w|h|[xy][ _-]?(\d|min|max|center|centre)|c[xy]|[xy]c")
_PICTURES = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpg", "jpeg",
    "png", "webp", "x", "pixel", "pixels",
})  # fmt: skip
_FILES = (
    "filename", "file name", "file", "filepath", "file path", "path", "image path", "img path",
    "image name", "img name", "image file", "image filename", "image", "img", "picture", "photo",
    "images", "name", "key", "image id", "img id", "id",
)  # fmt: skip
"""Heads of a column of names, the likeliest first."""


def _words(name: str) -> list[str]:
    """The words of a name: "fineLabel", "fine_label" and "fine label" have the same two."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+", name)
    return [word.lower() for word in found]


def label_like(name: str) -> bool:
    """Whether a name says that labels are there; what a model predicted is none, nor a count.

    >>> [label_like(each) for each in ("fine_label", "classId", "y", "predicted_class", "year")]
    [True, True, True, False, False]
    >>> label_like("num_classes")
    False
    """
    words = set(_words(name))
    return bool(words & _LABELS) and not words & _OTHER


def labels_among(names: Iterable[str]) -> list[str]:
    """The names that say that labels are there, among those that stand together.

    >>> labels_among(["y", "split"]), labels_among(["x", "y"])
    (['y'], [])
    """
    names = list(names)
    places = any(_COORDINATES.fullmatch(name.strip()) for name in names)
    return [
        name
        for name in names
        if label_like(name) and not (places and set(_words(name)) & _LABELS == {"y"})
    ]


def is_heading(line: str) -> bool:
    """Whether a line heads a list of labels, rather than being one of them."""
    words = _words(line)
    plain = _LABELS | {"name", "names", "id", "ids", "index", "idx", "number"}
    return bool(words) and all(word in plain for word in words)


def picture_like(name: str) -> bool:
    """Whether a name says that pictures are there."""
    return bool(set(_words(name)) & _PICTURES)


def name_column(heads: Sequence[str]) -> str | None:
    """The column that names pictures, by its head; None where none has such a head."""
    ranks = {" ".join(_words(head)): head for head in reversed(heads)}
    return next((ranks[name] for name in _FILES if name in ranks), None)


UNUSED = ""
"""As the column of labels that is asked for: none, since labels are had from elsewhere."""


def label_column(
    names: Iterable[str], asked: str | None, where: str, picture: str = ""
) -> str | None:
    """The name under which labels are; None where none looks like it.

    "label" is it, else the only name that is `label_like`.

    Args:
        names: To choose from.
        asked: The one that was asked for, or `UNUSED`.
        where: What has these names, for a message.
        picture: The name under which the pictures are.

    Raises:
        CleverError: If the one that was asked for is not there, or several would do.
    """
    names = list(names)
    if asked == UNUSED:
        return None
    if asked is not None:
        return _asked(names, asked, where, "label")
    like = labels_among(names)
    plain = [name for name in like if name.strip().lower() == "label"]
    if len(like) > 1 and len(plain) != 1:
        likely = next((name for name in like if splits_in(name) & splits_in(picture)), like[0])
        raise CleverError(
            f"{where} has several that may be labels: {', '.join(map(repr, like))}",
            "one of them, chosen",
            f"choose it: --label-column {likely} (in Python: label_column={likely!r}); "
            "or --labels none to score without labels",
        )
    found = plain or like
    return found[0] if found else None


def picture_column(
    names: Iterable[str], asked: str | None, where: str, only_like: bool = False
) -> str | None:
    """The name under which pictures are; None where there is none.

    "image" or "images" is it, else the only name that is `picture_like`, else the only one.

    Args:
        names: Those that may hold pictures, by their types.
        asked: The one that was asked for.
        where: What has these names, for a message.
        only_like: Do not take a name that is not `picture_like`.

    Raises:
        CleverError: If the one that was asked for is not there, or several would do.
    """
    names = list(names)
    if asked is not None:
        return _asked(names, asked, where, "image")
    like = [name for name in names if picture_like(name)]
    plain = [name for name in like if name.strip().lower() in ("image", "images", "x")]
    for found in (plain, like, [] if only_like else names):
        if len(found) == 1:
            return found[0]
        if found:
            raise CleverError(
                f"{where} has several that may be the pictures: {', '.join(map(repr, found))}",
                "one of them, chosen",
                f"choose it: --image-column {found[0]} (in Python: image_column={found[0]!r})",
            )
    return None


def _asked(names: Sequence[str], asked: str, where: str, role: str) -> str:
    if asked not in names:
        raise CleverError(
            f"{where} has no {asked!r} for --{role}-column",
            "one of " + (", ".join(map(repr, names)) or "none, as there is nothing that fits"),
            "name one of these, or leave the option out",
        )
    return asked
