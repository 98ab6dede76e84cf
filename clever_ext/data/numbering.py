"""Which class number each label is, once the model is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import CleverError
from ..findings import Finding
from .class_folders import WORDNET_ID
from .label_files import key_of
from .records import ImageRecord, ImageSource, Label

ORDERS = {
    "number": "each number is its class",
    "names": "by the names of the model's classes",
    "text": "numbered by their names in alphabetical order, as torchvision's ImageFolder does",
    "rank": "numbered from 0 in the order of the numbers",
}
"""Ways to make class numbers of labels; see `resolve`."""

_BY_MAP = "label map"


def resolve(
    source: ImageSource, n_classes: int, class_names: Sequence[str] | None = None
) -> ImageSource:
    """Turn the labels of pictures into class numbers, once the model is known.

    Labels are looked up in the label map, if there is one. Else numbers are taken as they are; but
    where the data names its classes, and the model's have all of these names, by the names. WordNet
    ids and names are looked up among the model's class names; and WordNet ids count in their sorted
    order, as ImageNet's classes do, if there are just as many of them as the model has classes. A
    subset of ImageNet's folders would be numbered wrongly so: it is refused.

    `source.label_order` chooses otherwise: "number", "names", "text" (the place among the names in
    alphabetical order, where torchvision's `ImageFolder` puts a folder) or "rank" (the place among
    the numbers).

    Args:
        source: The pictures.
        n_classes: Number of the model's logits, K.
        class_names: Name of each logit, where they are known.

    Returns:
        The source with labels that are None or integers in [0, K), with findings that say how they
        were read, and with `readings` of what else they may mean.

    Raises:
        CleverError: If a label has no number, or one out of range.
    """
    labels = {record.label: record for record in source if record.label is not None}
    if not labels:
        return source.read_as({}, ())
    if source.label_map and max(source.label_map.values()) >= n_classes:
        raise CleverError(
            f"the label map names the class {max(source.label_map.values())}",
            f"classes from 0 to {n_classes - 1}: the model has {n_classes}",
            "give the label map of this model; a heading or an empty line in it counts as a class",
        )
    names = _numbers_by_name(class_names)
    others = _orders(source, n_classes, names)
    used = _used(source, n_classes, others)
    if used in others:
        numbers = {label: others[used][label] for label in labels}
    else:
        numbers = {
            label: _number(record, source, n_classes, names, "rank" in others)
            for label, record in labels.items()
        }
    readings = {used: numbers}
    for name, other in {} if used == _BY_MAP else others.items():
        read = {label: other[label] for label in labels}
        if read not in readings.values():
            readings[name] = read
    return source.read_as(readings, [*_said(source, used, names)])


def _numbers_by_name(class_names: Sequence[str] | None) -> dict[str, int | None] | None:
    """Class numbers by name; None for a name that several classes have."""
    if class_names is None:
        return None
    numbers: dict[str, int | None] = {}
    for number, name in enumerate(class_names):
        numbers[key_of(name)] = None if key_of(name) in numbers else number
    return numbers


def _orders(
    source: ImageSource, n_classes: int, names: Mapping[str, int | None] | None
) -> dict[str, dict[Label, int]]:
    """The class numbers of all the labels in each order that gives them some."""
    texts: dict[Label, str] = {name: name for name in source.classes}
    texts.update(source.numbers.items())
    called = {**texts, **_called(source)}
    found: dict[str, Mapping[Label, int | None]] = {
        "names": {label: (names or {}).get(key_of(name)) for label, name in called.items()}
    }
    complete = len(texts) == n_classes
    if not source.classes:
        found["number"] = {number: number for number in source.numbers}
        all_numbers = list(source.numbers) if complete else list(range(1, n_classes + 1))
        found["rank"] = {number: rank for rank, number in enumerate(all_numbers)}
    all_texts = texts.values() if complete else map(str, range(n_classes))
    if complete or not source.classes:
        places = {text: place for place, text in enumerate(sorted(all_texts))}
        found["text"] = {label: places.get(text) for label, text in texts.items()}
    return {
        name: {label: numbers[label] for label in texts}  # type: ignore[misc]
        for name, numbers in found.items()
        if all(0 <= _or_none(numbers.get(label)) < n_classes for label in texts)
    }


def _or_none(number: int | None) -> int:
    return -1 if number is None else number


def _called(source: ImageSource) -> dict[Label, str]:
    """What the data calls its class numbers."""
    return dict(enumerate(source.label_names or ()))


def _used(source: ImageSource, n_classes: int, orders: Mapping[str, object]) -> str:
    """The order in which labels count: the one that was asked for, or the usual one."""
    asked, names = source.label_order, source.label_names
    if asked is not None and asked not in orders:
        raise CleverError(
            f"the {len(source.classes) + len(source.numbers)} classes of the labels cannot be "
            f"read as {asked!r} ({ORDERS[asked]}) for the {n_classes} classes of the model",
            f"an order that suits them: {', '.join(orders) or 'none does'}",
            "leave --label-order out, or give a label map (--label-map FILE)",
        )
    if asked is not None:
        return asked
    if source.label_map is not None:
        return _BY_MAP
    if (source.classes or names is not None) and "names" in orders:
        return "names"
    if not source.classes and names is not None and len(names) != n_classes:
        raise CleverError(
            f"the data has {len(names)} classes, {names[0]!r} the first, and the model has "
            f"{n_classes}, which are not called so",
            "the classes of the model, or names of them",
            "give a label map (--label-map FILE) with these names; say --label-order number if "
            "the numbers are the model's, or --labels none to score without labels",
        )
    ids = bool(source.classes) and all(map(WORDNET_ID.fullmatch, source.classes))
    return "text" if ids and not source.numbers else "number"


def _said(
    source: ImageSource, used: str, names: Mapping[str, int | None] | None
) -> Iterator[Finding]:
    """How labels were read, and what is doubtful about it."""
    ways = {**ORDERS, _BY_MAP: "by the label map"}
    yield Finding("labels", f"labels are read as {used!r}: {ways[used]}")
    if used != "number" or source.label_order is not None:
        return
    if source.in_folders and list(source.numbers) != list(range(len(source.numbers))):
        yield Finding(
            "labels",
            f"the folders' names are {len(source.numbers)} numbers, and not 0 to "
            f"{len(source.numbers) - 1}: each is taken as the number of its class",
            "say --label-order number if that is right, text if the model was trained with "
            "torchvision's ImageFolder on these folders, rank if they count from another number",
        )
    firsts = {n: (names or {}).get(_first_name(each)) for n, each in _called(source).items()}
    found = [(here, there) for here, there in firsts.items() if there is not None]
    if sum(here == there for here, there in found) < len(found) / 2:
        here, there = next(pair for pair in found if pair[0] != pair[1])
        yield Finding(
            "labels",
            f"the data numbers its classes otherwise than the model: {_called(source)[here]!r} is "
            f"{here} there, and {there} here; the numbers are taken as they are",
            "give a label map (--label-map FILE) with the names, or say --label-order number",
        )


def _first_name(names: str) -> str:
    """The first of several names for one class, as in "tench, Tinca tinca"."""
    return key_of(names.partition(",")[0])


def _number(
    record: ImageRecord,
    source: ImageSource,
    n_classes: int,
    names: Mapping[str, int | None] | None,
    can_rank: bool,
) -> int:
    """Class number of a picture's label."""
    label, known = record.label, source.label_map
    assert label is not None
    maps_numbers = any(each.isdecimal() for each in known or ())
    if known is not None and not maps_numbers:
        label = _called(source).get(label, label)
    key = key_of(label)
    are_ids = all(map(WORDNET_ID.fullmatch, source.classes))
    number: int | None = None
    if isinstance(label, int) and not maps_numbers:
        number = label
    elif known is not None:
        number, why = known.get(key), f"the label map has {len(known)} others"
    elif names is not None and key in names:
        number, why = names[key], "it is the name of several classes"
    elif are_ids and len(source.classes) == n_classes:
        number = source.classes.index(str(label))
    elif are_ids:
        why = f"{len(source.classes)} WordNet ids for {n_classes} classes do not tell the order"
    elif names is None:
        why = "the model's class names are not known"
    else:
        why = "it is none of the model's class names"
    if number is None:
        raise CleverError(
            f"the label {label!r} of {record.name!r} has no known class number: {why}",
            "class numbers, labels in the label map, or names of the model's classes",
            "give a label map (--label-map FILE: one WordNet id or name a line, in the order of "
            "the model's classes), or --labels none to score without labels",
        )
    if not 0 <= number < n_classes:
        rank = "say --label-order rank if these, in order, are its classes; " if can_rank else ""
        raise CleverError(
            f"the label {label!r} of {record.name!r} is class {number}",
            f"a class from 0 to {n_classes - 1}: the model has {n_classes}",
            f"{rank}give the labels or the label map of this model, or --labels none to score "
            "without",
        )
    return number
