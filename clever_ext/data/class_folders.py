"""Labels from the names of the folders that pictures lie in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CleverError
from .splits import KINDS, splits_differ

WORDNET_ID = re.compile(r"n\d{8}")

#: Folders of these names hold pictures of any class.
_GENERAL = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpegimages",
    "data", "all",
})  # fmt: skip


@dataclass(frozen=True)
class FolderLabels:
    """What the folders say of their pictures.

    Attributes:
        labels: The name of the folder of its class for each picture, or None.
        why: Where labels are None, why.
        deeper: How many pictures lie deeper than in the folder of their class, where others do not.
    """

    labels: list[str] | None
    why: str = ""
    deeper: int = 0


def labels_of_folders(paths: Sequence[str]) -> FolderLabels:
    """Read the classes of pictures from the folders that they lie in.

    The class is the one folder of a path that has a WordNet id as its name; without ids, the first
    folder in which the paths differ, as torchvision's `ImageFolder` has it; or the one folder that
    all lie in.

    Args:
        paths: Of the pictures, with forward slashes, relative to what was opened.

    Raises:
        CleverError: If folders look like classes and it cannot be told which: some pictures lie
            beside them, or they are splits, or there are several levels of them.
    """
    folders = [path.split("/")[:-1] for path in paths]
    lead = _shared(folders)
    below = [each[lead:] for each in folders]
    _refuse_splits({each[0] for each in below if each}, "the folders")
    if any(WORDNET_ID.fullmatch(name) for each in folders for name in each):
        return FolderLabels(_by_wordnet_ids(paths, folders))
    if not any(below):
        return _of_one_folder(folders[0], len(paths))
    beside = [path for path, each in zip(paths, below, strict=True) if not each]
    first = {each[0] for each in below if each}
    if beside:
        if len(first) > 1 and len(below) > 2 * len(beside):
            raise _mixed(beside, len(below), f"in {len(first)} folders such as {min(first)!r}")
        return FolderLabels(
            None, f"{len(beside)} of {len(below)} lie beside the folders of the others"
        )
    second = {each[1] for each in below if len(each) > 1}
    _refuse_splits(second, "the folders of each class")
    deeper = sum(len(each) > 1 for each in below)
    if deeper == len(below) and len(second) > 1 and len(first) > 1:
        raise CleverError(
            f"the pictures lie in folders of folders, as {paths[0]!r}: either may be the class",
            "folders of classes with the pictures in them",
            "give the folder whose sub-folders are the classes, give the labels in a file "
            "(--labels FILE), or score without labels (--labels none)",
        )
    of_concern = deeper if deeper < len(below) else 0
    return FolderLabels([each[0] for each in below], deeper=of_concern)


def _shared(folders: Sequence[list[str]]) -> int:
    """How many of their first folders all paths share."""
    first, last = min(folders), max(folders)
    pairs = enumerate(zip(first, last, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(last)))


def _refuse_splits(names: set[str], where: str) -> None:
    kinds = {KINDS[name.lower()] for name in names if name.lower() in KINDS}
    if len(kinds) > 1:
        raise splits_differ(kinds, where)


def _by_wordnet_ids(paths: Sequence[str], folders: Sequence[Sequence[str]]) -> list[str]:
    found = [{name for name in each if WORDNET_ID.fullmatch(name)} for each in folders]
    without = [path for path, ids in zip(paths, found, strict=True) if not ids]
    if without:
        raise _mixed(without, len(paths), "in folders with WordNet ids")
    several = next((path for path, ids in zip(paths, found, strict=True) if len(ids) > 1), None)
    if several is not None:
        raise CleverError(
            f"{several!r} lies in folders of several WordNet ids",
            "one of them, the class",
            "give the folder whose sub-folders are the classes, or the labels in a file (--labels)",
        )
    return [min(ids) for ids in found]


def _of_one_folder(folders: Sequence[str], n_pictures: int) -> FolderLabels:
    """All pictures lie in one folder, which is a class unless its name says otherwise."""
    names = [name for name in folders if name.lower() not in _GENERAL | KINDS.keys()]
    if len(names) == 1:
        return FolderLabels([names[0]] * n_pictures)
    return FolderLabels(None, "all lie in one folder")


def _mixed(others: Sequence[str], n_pictures: int, where: str) -> CleverError:
    lie = "lies" if len(others) == 1 else "lie"
    return CleverError(
        f"{n_pictures - len(others)} of {n_pictures} pictures lie {where}, and {len(others)} {lie} "
        f"elsewhere, {others[0]!r} the first: it has no class",
        "each picture in the folder of its class, or none",
        "move the others away, take the pictures in folders only (--include '*/*', or a pattern of "
        "the folders' names), or score without labels (--labels none)",
    )
