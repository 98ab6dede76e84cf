"""Options that name pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data import ImageSource


def add_images(command: argparse.ArgumentParser, limit: int | None = None) -> None:
    """Add what names pictures, their labels, and how they are read.

    Args:
        command: Of which they are options.
        limit: How many pictures it takes where nothing else is asked for; None: all.
    """
    group = command.add_argument_group("pictures and labels")
    _add_pictures(group, "all" if limit is None else f"{limit}, without --sample")
    _add_labels(group)


def _add_pictures(images: argparse._ArgumentGroup, usual: str) -> None:
    images.add_argument(
        "--images",
        required=True,
        metavar="PATH",
        help="folder of pictures, of .tar shards, or of .parquet or .arrow tables; one such "
        "archive or table, or a pattern of several; or an array: .npy, .npz or .safetensors",
    )
    images.add_argument(
        "--include",
        default="*",
        metavar="PATTERN",
        help="use pictures whose names match, e.g. 'n0144*'",
    )
    images.add_argument(
        "--split",
        metavar="NAME",
        help="use one split, e.g. val or test; needed where archives or tables are of several "
        "(default: all of the folder)",
    )
    images.add_argument(
        "--limit", type=int, metavar="N", help=f"use the first N pictures (default: {usual})"
    )
    images.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="use N random pictures, the same ones each time (default: all)",
    )
    images.add_argument(
        "--sample-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="another seed takes another sample",
    )
    images.add_argument(
        "--no-follow-links",
        dest="follow_links",
        action="store_false",
        help="skip linked folders, and refuse links that lead out of the folder: for pictures "
        "that you do not trust",
    )
    images.add_argument(
        "--image-column",
        metavar="NAME",
        help="column or array of the pictures (default: the one that fits, if only one does)",
    )
    images.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that read pictures; 0: the main process reads them",
    )


def _add_labels(labels: argparse._ArgumentGroup) -> None:
    labels.add_argument(
        "--labels",
        metavar="FILE",
        help="labels by name: .csv, .tsv, .txt, .json or .jsonl; labels of an array: .npy; or "
        "none (default: those in the data, else the names of folders)",
    )
    labels.add_argument(
        "--label-column",
        metavar="NAME",
        help="column, array or key of the labels; with --labels, in that file (default: the one "
        "that fits, if only one does)",
    )
    labels.add_argument(
        "--label-pattern",
        metavar="REGEX",
        help=r"regular expression searched in the names; its first group is the class, e.g. "
        r"'_(\d+)\.jpg$' (default: none)",
    )
    labels.add_argument(
        "--label-map",
        metavar="FILE",
        help="the model's classes in order, as WordNet ids or names, one a line or as JSON "
        "(default: none)",
    )
    labels.add_argument(
        "--label-order",
        choices=("number", "names", "text", "rank"),
        help="how labels become class numbers. number: they are the numbers; names: by the "
        "names of the model's classes; text: in alphabetical order, as torchvision's ImageFolder "
        "does; rank: 0, 1, ... in numeric order if every class is there, else each number less "
        "one (default: what fits the labels; check says which)",
    )


def open_from(args: argparse.Namespace) -> ImageSource:
    """Open the pictures that the arguments of `add_images` name.

    Raises:
        CleverError: There are none, or an option does not suit them.
    """
    from ..data import open_images, select

    source = open_images(
        args.images,
        include=args.include,
        label_pattern=args.label_pattern,
        labels=args.labels,
        label_map=args.label_map,
        label_order=args.label_order,
        split=args.split,
        image_column=args.image_column,
        label_column=args.label_column,
        follow_links=args.follow_links,
    )
    return select(source, args.limit, args.sample, args.sample_seed)
