"""Small copies of the pictures, as the network saw them, to put into the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ..errors import CleverError
from ..results.result import CleverResult

if TYPE_CHECKING:
    import torch

#: Height and width of a thumbnail in pixels; a smaller picture keeps its own.
SIDE = 128
#: Pictures up to this side are stored without loss: it costs little, and each pixel can be seen.
_LOSSLESS = 48


@dataclass(frozen=True)
class Thumbnails:
    """Small pictures, and what kept others out.

    Attributes:
        images: Data URI of each image id that has one.
        note: Why some or all are missing; empty where none is.
    """

    images: dict[int, str]
    note: str


def make_thumbnails(result: CleverResult, wanted: Collection[int]) -> Thumbnails:
    """Make thumbnails of a run's pictures, from where the run read them.

    Args:
        result: Of a run whose metadata says how to open its pictures again.
        wanted: Image ids.
    """
    pictures, note = read_pictures(result, wanted)
    images = {number: encode(pixels) for number, pixels in pictures}
    missing = len(set(wanted) - set(images))
    return Thumbnails(
        images, note or (f"Pictures without a thumbnail: {missing}." if missing else "")
    )


def read_pictures(
    result: CleverResult, wanted: Collection[int]
) -> tuple[Iterator[tuple[int, torch.Tensor]], str]:
    """Read a run's pictures again, as the model saw them: ids with [C, H, W] in [0, 1].

    Args:
        result: Of a run whose metadata says how to open its pictures again.
        wanted: Image ids.

    Returns:
        Those that can be read and shown, and why there are none, or nothing.
    """
    arguments = result.metadata.get("data", {}).get("arguments")
    given = result.metadata.get("preprocessing")
    if arguments is None or given is None:
        return iter(()), "No thumbnails: the run does not say where its pictures are."
    from ..data import Preprocessing, load, open_images

    try:
        preprocessing = Preprocessing(**given)
        records = [each for each in open_images(**arguments) if each.image_id in wanted]
    except CleverError as error:
        return (
            iter(()),
            f"No thumbnails: the pictures are not where they were ({error.wrong}).",
        )

    def read() -> Iterator[tuple[int, torch.Tensor]]:
        for record in records:
            try:
                pixels = load(record, preprocessing)
            except CleverError:
                continue  # its row says what is wrong with it
            if pixels.dim() == 3 and len(pixels) in (1, 3):
                yield record.image_id, pixels

    return read(), ""


def encode(pixels: torch.Tensor) -> str:
    """Write a picture into a data URI.

    Args:
        pixels: [3, H, W] or [1, H, W] in [0, 1].
    """
    from PIL import Image

    array = pixels.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    image.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=70, lossless=max(image.size) <= _LOSSLESS)
    return "data:image/webp;base64," + b64encode(buffer.getvalue()).decode()
