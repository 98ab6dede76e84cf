"""Damages real pictures, and makes files that look like pictures, by a seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from clever_ext.data import sample_pictures

Random = np.random.Generator

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True)
class Damaged:
    """A file that was damaged.

    Attributes:
        name: Its name, which tells the damage.
        content: Its bytes.
        damage: What was done to it.
    """

    name: str
    content: bytes
    damage: str


def damaged_pictures(count: int, seed: int, first: int = 0) -> Iterator[Damaged]:
    """Damage pictures, each by its number alone, going through all the kinds of damage."""
    kinds = list(DAMAGES)
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        damage = kinds[number % len(kinds)]
        form, content = originals()[rng.integers(len(originals()))]
        content = DAMAGES[damage](rng, content)
        ending = rng.choice(list(ENDINGS.values())) if damage == "other ending" else ENDINGS[form]
        yield Damaged(f"{number:05d}-{damage.replace(' ', '-')}.{ending}", content, damage)


@cache
def originals() -> list[tuple[str, bytes]]:
    """Real photographs as JPEG (as they came, and progressive), PNG and WebP of both kinds."""
    found = []
    for record in sample_pictures()[:6]:
        content = record.place.read()
        found.append(("JPEG", content))
        with Image.open(io.BytesIO(content)) as image:
            small = image.convert("RGB").resize((160, 120))
        for form, options in [
            ("JPEG", {"progressive": True, "exif": exif(6)}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
        ]:
            found.append((form, encoded(small, form, **options)))
    others = small.quantize(16), small.convert("L"), small.convert("CMYK"), small.convert("RGBA")
    for image, form in zip(others, ("PNG", "PNG", "JPEG", "PNG"), strict=True):
        found.append((form, encoded(image, form)))
    frames = {"save_all": True, "append_images": [small.rotate(90)]}
    return [*found, ("WEBP", encoded(small, "WEBP", **frames)), ("PNG", deep_png(small))]


def encoded(image: Image.Image, form: str, **options) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    """EXIF data with an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file, with the checksum that it must have."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG file of a header and given chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def deep_png(image: Image.Image) -> bytes:
    """A picture with 16 bits a sample."""
    samples = np.asarray(image).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    return png(*image.size, 16, 2, chunk(b"IDAT", zlib.compress(rows)))


# ---------------------------------------------------------------- kinds of damage


def truncated(rng: Random, content: bytes) -> bytes:
    return content[: rng.integers(len(content))]


def flipped_bits(rng: Random, content: bytes, within: int | None = None) -> bytes:
    values = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, min(len(values), within or len(values)), 2 ** rng.integers(7))
    values[places] ^= np.uint8(1) << rng.integers(0, 8, len(places), dtype=np.uint8)
    return values.tobytes()


def _span(rng: Random, content: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(2 ** rng.uniform(0, 14)))


def zeroed(rng: Random, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:start] + bytes(stop - start) + content[stop:]


def shuffled(rng: Random, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return (
        content[:start]
        + rng.permutation(list(content[start:stop])).astype(np.uint8).tobytes()
        + content[stop:]
    )


def doubled(rng: Random, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:stop] + content[start:stop] + content[stop:]


def cut_out(rng: Random, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:start] + content[stop:]


def other_header(rng: Random, content: bytes) -> bytes:
    headers = [other[:32] for _, other in originals()]
    headers += [
        b"GIF89a\xff\xff\xff\xff\xf7\0\0",
        b"BM" + b"\xff" * 40,
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ]
    headers += [b"II*\0\x08\0\0\0\xff\xff", b"8BPS\0\1", b"\0\0\0\x0cjP  \r\n\x87\n", b"SIMPLE  ="]
    header = headers[rng.integers(len(headers))]
    return header + content[len(header) :]


def lying_size(rng: Random, content: bytes) -> bytes:
    """Another width and height in the header, where checksums allow."""
    side = [0, 1, 7, 300, 5_000, 16_383, 30_000, 65_535, 2**31 - 1, 2**32 - 1]
    width, height = (int(rng.choice(side)) for _ in range(2))
    values = bytearray(content)
    if content.startswith(b"\x89PNG"):
        body = struct.pack(">II", width, height) + content[24:29]
        return content[:8] + chunk(b"IHDR", body) + content[33:]
    if content.startswith(b"RIFF"):
        if content[12:16] == b"VP8X":
            values[24:27] = struct.pack("<I", width)[:3]
            values[27:30] = struct.pack("<I", height)[:3]
        elif content[12:16] == b"VP8 ":
            values[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
        else:
            values[21:25] = struct.pack("<I", (width & 0x3FFF) | (height & 0x3FFF) << 14)
        return bytes(values)
    at = next(
        content.find(bytes([0xFF, mark])) for mark in (0xC0, 0xC2) if bytes([0xFF, mark]) in content
    )
    values[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    return bytes(values)


@cache
def bombs() -> list[bytes]:
    """Small files that unpack to much."""
    zeros = zlib.compress(bytes(2**26))
    pixels = chunk(b"IDAT", zeros)
    large = 9_400  # just below Pillow's limit
    most = chunk(b"IDAT", zlib.compress(bytes(large * (large + 1)), 1))
    flat = Image.new("L", (5_000, 5_000))
    return [
        png(large, large, 8, 0, most),
        png(30_000, 30_000, 8, 6, pixels),
        png(64, 64, 8, 0, chunk(b"zTXt", b"a\0\0" + zeros), pixels),
        png(64, 64, 8, 0, chunk(b"iCCP", b"a\0\0" + zeros), pixels),
        png(1, 89_000_000, 1, 0, pixels),
        *(encoded(flat, form) for form in ("JPEG", "WEBP", "GIF")),
    ]


def nonsense_exif(rng: Random, content: bytes) -> bytes:
    """EXIF data of random bytes, of tags that point anywhere, or of a wild orientation."""
    body = rng.bytes(int(rng.integers(1, 400)))
    kind = rng.integers(4)
    if kind == 0:
        tags = b"MM\0*\0\0\0\x08" + struct.pack(">H", 40) + body
    elif kind == 1:  # a directory that is its own successor
        entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
        tags = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + struct.pack(">I", 8)
    elif kind == 2:
        entries = [
            struct.pack(
                ">HHII",
                int(rng.integers(2**16)),
                int(rng.integers(14)),
                *rng.integers(2**32, size=2),
            )
            for _ in range(8)
        ]
        right = struct.pack(">HHIHH", 0x0112, int(rng.integers(14)), 1, int(rng.integers(12)), 0)
        tags = b"MM\0*\0\0\0\x08" + struct.pack(">H", 9) + b"".join([right, *entries]) + b"\0" * 4
    else:
        tags = body
    if content.startswith(b"\x89PNG"):
        return content[:33] + chunk(b"eXIf", tags) + content[33:]
    with Image.open(io.BytesIO(content)) as image:
        form = image.format
        if form == "WEBP":
            return encoded(image.convert("RGB"), "WEBP", exif=tags)
    segment = b"Exif\0\0" + tags
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def no_picture(rng: Random, content: bytes) -> bytes:
    """Files of other kinds, with a picture's ending."""
    choices = [
        b"",
        b"\0" * 1000,
        rng.bytes(1000),
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n{} loop\n",
        encoded(Image.new("RGB", (8, 8)), "TIFF"),
        content[:2],
    ]
    return choices[rng.integers(len(choices))]


DAMAGES: dict[str, Callable[[Random, bytes], bytes]] = {
    "none": lambda _, content: content,
    "truncated": truncated,
    "flipped bits": flipped_bits,
    "flipped bits in front": lambda rng, content: flipped_bits(rng, content, 200),
    "zeroed": zeroed,
    "shuffled": shuffled,
    "doubled": doubled,
    "cut out": cut_out,
    "other header": other_header,
    "other ending": lambda _, content: content,
    "lying size": lying_size,
    "bomb": lambda rng, _: bombs()[rng.integers(len(bombs()))],
    "nonsense exif": nonsense_exif,
    "no picture": no_picture,
}
