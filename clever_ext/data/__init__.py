"""Where pictures come from: sources of records, and the way from a record to pixels.

`open_images` lists what a path holds, `select` takes a part of it, `resolve` makes class numbers of
its labels, and `load` or a `Loader` reads the pixels. Nothing here knows a model or a score.
"""

from .contents import other_contents
from .decoding import load
from .imagenet import imagenet_class_names, package_folder
from .label_files import read_label_map, read_labels
from .loading import Loaded, Loader, Pending
from .numbering import resolve
from .opening import open_images
from .preprocessing import Preprocessing, Sides, check_image_size, scale_size
from .records import ImageRecord, ImageSource, image_id
from .samples import sample_pictures
from .selection import select

__all__ = [
    "ImageRecord",
    "ImageSource",
    "Loaded",
    "Loader",
    "Pending",
    "Preprocessing",
    "Sides",
    "check_image_size",
    "image_id",
    "imagenet_class_names",
    "load",
    "open_images",
    "other_contents",
    "package_folder",
    "read_label_map",
    "read_labels",
    "resolve",
    "sample_pictures",
    "scale_size",
    "select",
]
