"""Options that name pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data import ImageSource


def add_images(command: argparse.ArgumentParser) -> None:
    """Add what names pictures, their labels, and how they are read."""
    images = command.add_argument_group("pictures")
    images.add_argument(
        "--images",
        required=True,
        metavar="PATH",
        help="folder of pictures; .tar shards or .parquet or .arrow tables, as a folder, a file "
        "or a pattern; or an array in a .npy, .npz or .safetensors file",
    )
    images.add_argument(
        "--include", default="*", metavar="PATTERN", help="of the names to take, e.g. 'n0144*'"
    )
    images.add_argument("--split", metavar="NAME", help="of several in a folder, e.g. val or test")
    images.add_argument(
        "--no-follow-links",
        dest="follow_links",
        action="store_false",
        help="leave out linked folders, and refuse links out of the folder: of pictures of others",
    )
    images.add_argument(
        "--image-column", metavar="NAME", help="column or array of the pictures, among several"
    )
    images.add_argument(
        "--label-column",
        metavar="NAME",
        help="column, array or key of the labels, among several; with --labels, in that file",
    )
    images.add_argument(
        "--label-pattern",
        metavar="REGEX",
        help=r"searched in names; its first group is the class, e.g. '_(\d+)\.jpg$'",
    )
    images.add_argument(
        "--labels",
        metavar="FILE",
        help=".csv, .tsv, .txt, .json or .jsonl with the label of each name, .npy with those of an "
        "array, or none",
    )
    images.add_argument(
        "--label-map",
        metavar="FILE",
        help="WordNet ids or names in the order of the model's classes, one a line or as JSON",
    )
    images.add_argument(
        "--label-order",
        choices=("number", "names", "text", "rank"),
        help="how labels become class numbers without a map: as they are, by the names of the "
        "model's classes, in alphabetical order as torchvision's ImageFolder, or in numeric order",
    )
    images.add_argument("--limit", type=int, metavar="N", help="take the first N")
    images.add_argument(
        "--sample", type=int, metavar="N", help="take N at random, always the same ones"
    )
    images.add_argument("--sample-seed", type=int, default=0, metavar="SEED")
    images.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that read pictures; 0 reads them in the main one (default: 1)",
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
